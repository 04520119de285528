"""What a CA remembers from one start to the next, as one file."""

import secrets

import msgspec

from .credentials import IdentityError
from .slots import LONGEST_TTL, Schedule, Slot
from .spiffe import SpiffeId, TrustDomain
from .store import Store

NAME = "journal.json"
REMEMBERED = LONGEST_TTL + 3600
"""A revoked serial is forgotten after this: whatever had it is dead by then."""


class Federated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM of the roots of another trust domain, none where it is believed no more; ``sequence``
    counts their changes."""

    roots: tuple[str, ...]
    sequence: int


class Journal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``sequence`` counts changes of the bundle; ``revoked`` has for each name the moment.

    ``federated`` are other trust domains whose members are believed.
    """

    version: int = 1
    trust_domain: str
    schedule: Schedule
    slots: tuple[Slot, ...] = ()
    sequence: int = 0
    revoked: dict[str, float] = {}
    federated: dict[str, Federated] = {}

    @classmethod
    def read(cls, store: Store) -> "Journal | None":
        text = store.read(NAME)
        if text is None:
            return None
        try:
            found = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise IdentityError(f"{NAME}: {error}") from error
        if found.version != 1:
            raise IdentityError(f"{NAME}: version {found.version} is not known here")
        TrustDomain(found.trust_domain)  # raises
        return found

    def write(self, store: Store) -> None:
        store.write(NAME, msgspec.json.format(msgspec.json.encode(self)))

    def with_slots(self, slots: tuple[Slot, ...]) -> "Journal":
        """The bundle is another one where other roots are in it."""
        same = {one.name for one in slots} == {one.name for one in self.slots}
        sequence = self.sequence if same else self.sequence + 1
        return msgspec.structs.replace(self, slots=slots, sequence=sequence)

    def with_revoked(self, name: str, now: float) -> "Journal":
        revoked = {one: at for one, at in self.revoked.items() if not _is_over(one, at, now)}
        return msgspec.structs.replace(self, revoked={**revoked, name: now})

    def with_federated(self, domain: str, roots: tuple[str, ...]) -> "Journal":
        before = self.federated.get(domain)
        one = Federated(roots, 1 if before is None else before.sequence + 1)
        return msgspec.structs.replace(self, federated={**self.federated, domain: one})

    def without_revoked(self, name: str) -> "Journal":
        if name not in self.revoked:
            raise IdentityError(f"{name} is not revoked")
        left = {one: at for one, at in self.revoked.items() if one != name}
        return msgspec.structs.replace(self, revoked=left)


def revocable(name: str) -> str:
    """A SPIFFE id, or a serial number as lower-case hex without colons and leading zeros."""
    if "://" in name:
        return str(SpiffeId.parse(name))
    digits = name.replace(":", "").lower().lstrip("0")
    if not digits or any(digit not in "0123456789abcdef" for digit in digits):
        raise IdentityError(f"{name!r} is neither a SPIFFE id nor a serial number in hex")
    return digits


def new_name() -> str:
    """Of a slot; also the name of its file, so it is never made of input."""
    return secrets.token_hex(6)


def _is_over(name: str, since: float, now: float) -> bool:
    return "://" not in name and now >= since + REMEMBERED
