"""What the shapes of manifests are made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec

from .finding import NOT_ACTED_ON, SCHEMA, UNSUPPORTED, Severity
from .marks import Path


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing wrong with one field; ``path`` starts at the piece that reports it."""

    path: Path
    message: str
    hint: str = ""
    code: str = SCHEMA
    at_key: bool = False
    severity: Severity = "error"


class Piece(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A mapping of a manifest. Fields are Istio's, in camelCase on the outside."""

    NOT_YET: ClassVar[frozenset[str]] = frozenset()
    """Fields that Istio knows and meshlib does not act on yet: refused, by name."""
    OF_PROXIES: ClassVar[frozenset[str]] = frozenset()
    """Fields for what is not there: accepted, and told to have no effect."""
    ELSEWHERE: ClassVar[frozenset[str]] = frozenset()
    """Fields that only Kubernetes itself acts on: accepted, without meaning for the mesh."""

    def rules(self) -> Iterator[Flaw]:
        """What no single field can tell."""
        return iter(())


def of_proxies(*path: str | int) -> Flaw:
    said = "has no effect: it is for proxies or for Kubernetes, of which there are none here"
    return Flaw(path, said, code=NOT_ACTED_ON, at_key=True, severity="info")


def not_yet(*path: str | int, what: str = "") -> Flaw:
    return Flaw(path, f"{what or path[-1]} is not supported yet", code=UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Form:
    """Marks a text field that is read further: ``duration`` or ``regex``."""

    name: str


Duration = Annotated[float, Form("duration")]
"""Written as in Go (``1m30s``, ``0.5s``), kept in seconds."""

Regex = Annotated[str, Form("regex")]
"""RE2 syntax."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
