"""One document of the source: what it says, who it is, and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ...errors import Place
from .marks import Marks

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Generic[S]):
    kind: str
    name: str
    namespace: str
    spec: S
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    marks: Marks = field(compare=False, repr=False)

    @property
    def place(self) -> Place:
        return self.marks.place()

    def place_of(self, *path: str | int) -> Place:
        """Where a field of the spec stands: ``place_of("http", 0, "route")``."""
        return self.marks.place(("spec", *path))

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
