"""What one client wants of one type, and was sent, at which version.

The same for both encodings of xDS: they differ in how names are asked for (:meth:`ask`,
:meth:`ask_delta`) and in whether it can be told that something is gone.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .discovery import WILDCARD, DeltaRequest, Nack, Request
from .versions import PackedResource, PackedType

Names = Iterable[str]


@dataclass(slots=True)
class TypeSubscription:
    """``legacy``: a first request that names nothing asks for everything (LDS and CDS).

    ``tells_removals``: absence can be told, in that a response holds everything or names it.
    ``pending`` are the names in which what there is differs from what was sent; ``unanswered``
    those asked for and not answered yet; ``brought`` those that the client knew when its stream
    began; ``asked``: an answer is owed, even an empty one; ``beats``: word is owed of
    those that live on; ``spurned``: what was refused, as far as is known.
    """

    type_url: str
    legacy: bool = False
    tells_removals: bool = False
    names: set[str] = field(default_factory=set)
    listed: tuple[str, ...] | None = None
    wildcard: bool = False
    begun: bool = False
    named_before: bool = False
    unanswered: set[str] = field(default_factory=set)
    brought: set[str] = field(default_factory=set)
    asked: bool = False
    beats: bool = False
    sent: dict[str, PackedResource] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    seen: PackedType | None = None
    nonce: str = ""
    sent_version: str = ""
    sent_names: tuple[str, ...] = ()
    in_flight: bool = False
    has_answered: bool = False
    acked_version: str = ""
    nack: Nack | None = None
    spurned: dict[str, PackedResource] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """The client has taken in, or refused, all that there is."""
        return not (self.in_flight or self.pending)

    def selects(self, name: str) -> bool:
        return self.wildcard or name in self.names

    # What is wanted

    def ask(self, request: Request, *, restarted: bool) -> None:
        """Take in the list of names of a request."""
        if not restarted and request.names == self.listed:
            return  # an answer says it all again: with thousands of clients that counts
        self.listed = request.names
        asked = set(request.names)
        self.named_before = self.named_before or bool(asked)
        if restarted and request.version:
            self.brought |= asked
        wildcard = WILDCARD in asked or (self.legacy and not self.named_before)
        asked.discard(WILDCARD)
        new = asked if restarted else asked - self.names
        all_anew = wildcard and (restarted or not self.wildcard)
        narrowed = self.wildcard and not wildcard
        gone = self.names - asked
        self.names, self.wildcard = asked, wildcard
        self.asked = self.asked or bool(new) or all_anew
        self.unanswered = (self.unanswered | new) & asked
        self._forget(self.sent.copy() if restarted else new)
        self.weigh(None if restarted or all_anew or narrowed else new | gone)

    def ask_delta(self, request: DeltaRequest) -> None:
        """Take in what is wanted beside, and no longer."""
        first, self.begun = not self.begun, True
        wanted, unwanted = set(request.subscribe), set(request.unsubscribe)
        wildcard = self.wildcard and WILDCARD not in unwanted
        wildcard = wildcard or WILDCARD in wanted or (self.legacy and first and not wanted)
        turned = wildcard != self.wildcard
        self.asked = self.asked or (turned and wildcard)
        self.wildcard = wildcard
        # Beside a wildcard, a name given up is one whose fate the client must be told (xDS,
        # "Unsubscribing from Resources").
        dropped = self.names & unwanted
        wanted.discard(WILDCARD)
        self.names = (self.names - unwanted) | wanted
        told = self.unanswered | wanted | dropped
        self.unanswered = {name for name in told if self.selects(name)}
        self._forget(wanted | dropped)
        for name, version in request.initial_versions.items() if first else ():
            if self.selects(name):
                self.sent[name] = PackedResource(self.type_url, name, version, None)
                self.unanswered.discard(name)
                self.brought.add(name)
        self.weigh(None if first or turned else wanted | dropped)

    def send_again(self, names: Names) -> None:
        """What was sent of these counts as lost."""
        lost = self.sent.keys() & set(names)
        self._forget(lost)
        self.weigh(lost)

    def _forget(self, names: Names) -> None:
        for name in names:
            self.sent.pop(name, None)

    # What there is

    def publish(self, offered: PackedType) -> None:
        if offered is self.seen:
            return
        changes = offered.changes_since(self.seen)
        self.seen = offered
        self.weigh(changes)

    def weigh(self, names: Names | None) -> None:
        """Find out which of these names (of all, for ``None``) are to be spoken of."""
        if self.seen is None:
            return
        offered: Mapping[str, PackedResource] = self.seen.resources
        if names is None:
            everything = offered.keys() if self.wildcard else self.names
            names = {*everything, *self.sent, *self.pending}
        for name in names:
            wanted = self.selects(name)
            there = offered.get(name) if wanted else None
            if there is None and not (wanted and self.tells_removals):
                self.sent.pop(name, None)
            if there != self.sent.get(name):
                self.pending.add(name)
                continue
            self.pending.discard(name)
            if there is not None:  # of what a client brought along, only the version was known
                self.sent[name] = there

    def send(self, names: Names) -> tuple[PackedResource, ...]:
        """Count these as told; returns those of them that exist."""
        assert self.seen is not None
        told = []
        for name in names:
            resource = self.seen.resources.get(name)
            if resource is None:
                self.sent.pop(name, None)
            else:
                self.sent[name] = resource
                told.append(resource)
            self.pending.discard(name)
        return tuple(told)

    def living(self) -> tuple[PackedResource, ...]:
        """What the client has and would forget."""
        return tuple(
            one
            for name, one in sorted(self.sent.items())
            if one.ttl is not None and self.spurned.get(name) != one
        )

    # What was said to it

    def answer(self, error: str | None) -> Nack | None:
        """Take in an ACK or a NACK of the last response."""
        if not self.in_flight:
            return None
        self.in_flight, self.has_answered = False, True
        if error is None:
            self.acked_version = self.sent_version
            self.nack = self._still_refused()
            return None
        content = [self.sent[name] for name in self.sent_names if name in self.sent]
        named = [resource for resource in content if _names(error, resource.name)]
        self.nack = Nack(
            type_url=self.type_url,
            version=self.sent_version,
            text=error,
            refused=tuple(named or content),
            is_precise=bool(named) or len(content) == 1,
        )
        self.spurned |= {resource.name: resource for resource in self.nack.refused}
        return self.nack

    def _still_refused(self) -> Nack | None:
        """What was refused stays so until other content of it was accepted, or it is gone."""
        if self.nack is None or not self.nack.is_precise:
            return None
        still = any(
            self.sent.get(resource.name) == resource and resource.name not in self.sent_names
            for resource in self.nack.refused
        )
        return self.nack if still else None


def _names(text: str, name: str) -> bool:
    if name not in text:
        return False
    return re.search(rf"(?<![\w.|-]){re.escape(name)}(?![\w|-])", text) is not None
