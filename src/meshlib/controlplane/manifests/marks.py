"""Where the fields of a manifest stand in their source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import Place

Path = tuple[str | int, ...]


class Marks(Protocol):
    def place(self, path: Path = (), *, key: bool = False) -> Place:
        """Where the field stands, or its nearest parent that exists; or where its key stands."""
        ...

    def corner(self, path: Path) -> tuple[int, int] | None:
        """Lines above and columns to the left of a text that stands there line by line."""
        ...


@dataclass(frozen=True, slots=True)
class Node:
    """One YAML node: its plain value, and where it and its children stand (from 1)."""

    value: Any
    line: int
    column: int
    children: Mapping[str | int, "Node"] = field(default_factory=dict)
    keys: Mapping[str | int, tuple[int, int]] = field(default_factory=dict)
    corner: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class YamlMarks:
    """``within``: the corner of the text that the document is, in a larger one."""

    file: str
    root: Node
    within: tuple[int, int] = (0, 0)

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        node = self.root
        line, column = node.line, node.column
        for depth, step in enumerate(path):
            name = step if step in node.children else snake(str(step))
            child = node.children.get(name)
            if child is None:
                break
            line, column = child.line, child.column
            if key and depth == len(path) - 1:
                line, column = node.keys.get(name, (line, column))
            node = child
        down, right = self.within
        return Place(self.file, line + down, column + right)

    def corner(self, path: Path) -> tuple[int, int] | None:
        node = self.root
        for step in path:
            if step not in node.children:
                return None
            node = node.children[step]
        return node.corner


def snake(name: str) -> str:
    """``maxPathTagLength`` as protobuf itself has it, and the MeshConfig may."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


@dataclass(frozen=True, slots=True)
class PlainMarks:
    """A manifest that was given as a dict: its fields are named instead of located."""

    name: str

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        return Place(f"{self.name}: {dotted(path)}" if path else self.name)

    def corner(self, path: Path) -> tuple[int, int] | None:
        return None


@dataclass(frozen=True, slots=True)
class EnclosedMarks:
    """A part of a larger document, such as one item of a ``List``."""

    outer: Marks
    prefix: Path

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        return self.outer.place((*self.prefix, *path), key=key)

    def corner(self, path: Path) -> tuple[int, int] | None:
        return self.outer.corner((*self.prefix, *path))


@dataclass(frozen=True, slots=True)
class BareMarks:
    """A manifest that is its own ``spec``, as Istio writes the MeshConfig."""

    outer: Marks

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        return self.outer.place(path[1:] if path[:1] == ("spec",) else path, key=key)

    def corner(self, path: Path) -> tuple[int, int] | None:
        return self.outer.corner(path)


@dataclass(frozen=True, slots=True)
class OpaqueMarks:
    """A text inside a field: everything in it stands where the field stands."""

    at: Place

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        return self.at

    def corner(self, path: Path) -> tuple[int, int] | None:
        return None


def dotted(path: Path) -> str:
    """``spec.http[0].route``"""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif "." in step or "/" in step:
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
    return text
