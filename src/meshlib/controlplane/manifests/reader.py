"""YAML text → plain values that know their place.

Only what a manifest needs is understood. Aliases, anchors, tags and merge keys
are refused (an alias bomb of 300 bytes fills the memory), and so are duplicate
keys, of which PyYAML would silently keep the last. Scalars are read nearly as in
YAML 1.2: ``on``, ``NO`` and ``12:30:45`` are texts.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from ...errors import Place
from .marks import Node

MAX_DEPTH = 64
MAX_DOCUMENT = 1_000_000
MAX_DOCUMENTS = 1000

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]{0,29})\.[0-9]*|(0|[1-9][0-9]{0,29})(?=[eE]))"
    r"([eE][-+]?[0-9]{1,3})?"
)
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class Unreadable(Exception):  # noqa: N818 - it is what the text is
    def __init__(self, place: Place, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = place
        self.why = why


def read(text: str, file: str) -> Iterator[Node]:
    """Each document of the text, in order; raises :class:`Unreadable` at the first bad one."""
    try:
        yield from _Reader(text, file).documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise Unreadable(place, error.problem or "not YAML") from None
    except yaml.reader.ReaderError as error:
        line, column = _line_and_column(text, error.position)
        raise Unreadable(Place(file, line, column), f"not YAML: {error.reason}") from None
    except UnicodeEncodeError as error:
        line, column = _line_and_column(text, error.start)
        raise Unreadable(Place(file, line, column), f"not YAML: {error.reason}") from None


def _line_and_column(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


class _Reader:
    """Builds nodes straight from the parser's events, so limits hold before anything grows."""

    def __init__(self, text: str, file: str) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[Any] = yaml.parse(text, Loader=loader)
        self._text = text
        self._file = file
        self._start = 0

    def documents(self) -> Iterator[Node]:
        count = 0
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue  # the stream's own start and end, and those of documents
            count += 1
            if count > MAX_DOCUMENTS:
                raise self._refuse(event, f"more than {MAX_DOCUMENTS} documents: split the file")
            self._start = self._index(event)
            node = self._node(self._next(), depth=1)
            if node.value is not None:
                yield node

    def _next(self) -> Any:
        event = next(self._events)
        if self._index(event) - self._start > MAX_DOCUMENT:
            raise self._refuse(event, f"document larger than {MAX_DOCUMENT:,} characters")
        return event

    def _index(self, event: Any) -> int:
        return int(event.end_mark.index)

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            raise self._refuse(event, "aliases are refused; write the value out")
        if event.anchor is not None:
            raise self._refuse(event, "anchors are refused; write the value out")
        if event.tag is not None:
            raise self._refuse(event, f"tags are refused: {event.tag}")
        if depth > MAX_DEPTH:
            raise self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, depth)
        mark = event.start_mark
        corner = self._corner(event) if event.style == "|" else None
        return Node(_scalar(event), mark.line + 1, mark.column + 1, corner=corner)

    def _corner(self, event: Any) -> tuple[int, int]:
        """Of a block, whose lines stand in the file as they are but for being indented."""
        start = event.start_mark
        lines = self._text[start.index : event.end_mark.index].splitlines()[1:]
        pairs = zip(lines, str(event.value).splitlines(), strict=False)
        indents = (len(line) - len(held) for line, held in pairs if held.strip())
        return start.line + 1, next(indents, 0)

    def _mapping(self, start: Any, depth: int) -> Node:
        children: dict[str | int, Node] = {}
        keys: dict[str | int, tuple[int, int]] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event)
            if key in keys:
                line = keys[key][0]
                raise self._refuse(event, f"duplicate key {key!r}, first seen on line {line}")
            keys[key] = (event.start_mark.line + 1, event.start_mark.column + 1)
            children[key] = self._node(self._next(), depth + 1)
        value = {key: child.value for key, child in children.items()}
        mark = start.start_mark
        return Node(value, mark.line + 1, mark.column + 1, children, keys)

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._refuse(event, "a key must be a plain text")
        if event.anchor is not None or event.tag is not None:
            raise self._refuse(event, "anchors and tags are refused")
        if event.implicit[0] and event.value == "<<":
            raise self._refuse(event, "merge keys are refused; write the fields out")
        return str(event.value)

    def _sequence(self, start: Any, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        mark = start.start_mark
        values = [item.value for item in items]
        return Node(values, mark.line + 1, mark.column + 1, dict(enumerate(items)))

    def _refuse(self, event: Any, why: str) -> Unreadable:
        mark = event.start_mark
        return Unreadable(Place(self._file, mark.line + 1, mark.column + 1), why)


def _scalar(event: Any) -> str | int | float | bool | None:
    text = str(event.value)
    if not event.implicit[0]:  # quoted or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
