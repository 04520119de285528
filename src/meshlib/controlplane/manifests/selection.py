"""Whom a policy of ``security.istio.io`` speaks to."""

import re
from collections.abc import Iterator
from typing import Annotated

import msgspec

from .piece import Flaw, Piece, Text

_GROUP = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)?")
_KIND = re.compile(r"[a-zA-Z](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")


class Selector(Piece, frozen=True):
    """``type.istio.io`` WorkloadSelector; without labels everybody of the namespace is meant."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)

    def rules(self) -> Iterator[Flaw]:
        for key, value in self.match_labels.items():
            if not key or "*" in key or "*" in value:
                yield Flaw(("matchLabels", key), "a selector takes no wildcard and no empty key")


class TargetRef(Piece, frozen=True):
    """``type.istio.io`` PolicyTargetReference: gateways and waypoints, by name."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    group: Annotated[str, msgspec.Meta(max_length=253)] = ""
    namespace: str = ""

    def rules(self) -> Iterator[Flaw]:
        if not _GROUP.fullmatch(self.group):
            yield Flaw(("group",), f"{self.group!r} is not an API group")
        if not _KIND.fullmatch(self.kind):
            yield Flaw(("kind",), f"{self.kind!r} is not a kind")
        if self.namespace:
            yield Flaw(("namespace",), "a policy cannot speak to another namespace")


class Selecting(Piece, frozen=True):
    """What the three kinds of policy share."""

    selector: Selector | None = None

    @property
    def labels(self) -> dict[str, str]:
        return {} if self.selector is None else self.selector.match_labels


class Targeting(Selecting, frozen=True):
    target_ref: TargetRef | None = None
    target_refs: Annotated[tuple[TargetRef, ...], msgspec.Meta(max_length=16)] = ()

    @property
    def is_for_waypoints(self) -> bool:
        """It speaks to gateways and waypoints alone, of which there are none here."""
        return self.target_ref is not None or bool(self.target_refs)

    def rules(self) -> Iterator[Flaw]:
        said = (self.selector is not None, self.target_ref is not None, bool(self.target_refs))
        if sum(said) > 1:
            yield Flaw((), "only one of selector, targetRef and targetRefs may be set")


def no_empty(texts: tuple[str, ...], *path: str | int) -> Iterator[Flaw]:
    for index, text in enumerate(texts):
        if not text:
            yield Flaw((*path, index), "must not be empty")


__all__ = ["Selecting", "Selector", "TargetRef", "Targeting", "Text", "no_empty"]
