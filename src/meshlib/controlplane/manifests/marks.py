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


@dataclass(frozen=True, slots=True)
class Node:
    """One YAML node: its plain value, and where it and its children stand (from 1)."""

    value: Any
    line: int
    column: int
    children: Mapping[str | int, "Node"] = field(default_factory=dict)
    keys: Mapping[str | int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class YamlMarks:
    file: str
    root: Node

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        node = self.root
        line, column = node.line, node.column
        for depth, step in enumerate(path):
            child = node.children.get(step)
            if child is None:
                break
            line, column = child.line, child.column
            if key and depth == len(path) - 1:
                line, column = node.keys.get(step, (line, column))
            node = child
        return Place(self.file, line, column)


@dataclass(frozen=True, slots=True)
class PlainMarks:
    """A manifest that was given as a dict: its fields are named instead of located."""

    name: str

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        return Place(f"{self.name}: {dotted(path)}" if path else self.name)


@dataclass(frozen=True, slots=True)
class EnclosedMarks:
    """A part of a larger document, such as one item of a ``List``."""

    outer: Marks
    prefix: Path

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        return self.outer.place((*self.prefix, *path), key=key)


@dataclass(frozen=True, slots=True)
class BareMarks:
    """A manifest that is its own ``spec``, as Istio writes the MeshConfig."""

    outer: Marks

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        return self.outer.place(path[1:] if path[:1] == ("spec",) else path, key=key)


@dataclass(frozen=True, slots=True)
class OpaqueMarks:
    """A text inside a field: everything in it stands where the field stands."""

    at: Place

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        return self.at


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
