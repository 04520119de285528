"""A format, compiled to what makes a line of a call."""

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from ...dataplane import CallEnded, Whereabouts
from ...dataplane.routing.formatting import plain
from ...errors import ConfigError, Problem
from ...model import Struct, Value
from ...model.format import FormatError
from ...model.log_format import parse_log_format
from .operators import reader
from .values import Read, as_json, written

Line = Callable[[CallEnded], str]
"""With its end of line, as the format has it."""


class _Missing:
    """A field that is left out."""


MISSING = _Missing()


def compile_text(text: str, whereabouts: Whereabouts, *, omit_empty_values: bool = False) -> Line:
    """Raises :class:`ConfigError`, which names the operator that nobody can fill in."""
    pieces = tuple(_pieces(text, "text_format", whereabouts))
    return _joined(pieces, "" if omit_empty_values else "-")


def compile_json(
    template: Struct, whereabouts: Whereabouts, *, omit_empty_values: bool = False
) -> Line:
    """A lone operator keeps its type; what is missing is null, or left out."""
    compiled = Compiled(whereabouts, omit_empty_values=omit_empty_values)
    fields = compiled.struct(template, "json_format")
    return lambda event: as_json(fields(event)) + "\n"


class Compiled:
    """The values of one JSON format, or of attributes: all judged by the same rules."""

    def __init__(self, whereabouts: Whereabouts, *, omit_empty_values: bool) -> None:
        self._whereabouts = whereabouts
        self._omits = omit_empty_values

    def struct(self, template: Struct, path: str) -> Read:
        order = sorted(template.fields, key=itemgetter(0))
        fields = tuple((name, self._value(each, f"{path}.{name}")) for name, each in order)

        def read(event: CallEnded) -> dict[str, Any]:
            found = ((name, value(event)) for name, value in fields)
            return {name: value for name, value in found if value is not MISSING}

        return read

    def _value(self, template: Value, path: str) -> Read:
        match template:
            case str():
                return self._text(template, path)
            case Struct():
                return self.struct(template, path)
            case tuple():
                return self._list(template, path)
            case bool() | None:
                # Envoy takes texts, numbers, structs and lists of these.
                raise ConfigError(Problem(path, f"a format has no value such as {template!r}"))
            case _:
                number = plain(template)
                return lambda _: number

    def _list(self, template: tuple[Value, ...], path: str) -> Read:
        items = tuple(self._value(each, f"{path}[{i}]") for i, each in enumerate(template))
        return lambda event: [v for item in items if (v := item(event)) is not MISSING]

    def _text(self, text: str, path: str) -> Read:
        pieces = tuple(_pieces(text, path, self._whereabouts))
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            lone = pieces[0]
            return _or_missing(lone) if self._omits else lone
        return _joined(pieces, "" if self._omits else "-", escape=_in_json)


def _or_missing(read: Read) -> Read:
    def present(event: CallEnded) -> Any:
        found = read(event)
        return MISSING if found is None else found

    return present


def _in_json(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)


def _pieces(text: str, path: str, whereabouts: Whereabouts) -> Iterator[str | Read]:
    try:
        parts = parse_log_format(text)
        for part in parts:
            yield part if isinstance(part, str) else reader(part, whereabouts)
    except FormatError as error:
        raise ConfigError(Problem(path, str(error))) from None
    except ConfigError as error:
        raise ConfigError(
            *(Problem(f"{path}: {p.where}", p.what) for p in error.problems)
        ) from None


def _joined(
    pieces: tuple[str | Read, ...], empty: str, escape: Callable[[Any], str] = written
) -> Line:
    def line(event: CallEnded) -> str:
        made = []
        for piece in pieces:
            if isinstance(piece, str):
                made.append(piece)
            else:
                value = piece(event)
                made.append(empty if value is None else escape(value))
        return "".join(made)

    return line
