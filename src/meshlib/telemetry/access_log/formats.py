"""A format, compiled to what makes a line of a call."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from ...dataplane import CallEnded, Whereabouts
from ...dataplane.routing.formatting import plain
from ...errors import ConfigError, Problem
from ...model import Struct, Value
from ...model.format import FormatError, Operator
from ...model.log_format import parse_log_format
from .operators import STRUCTURED, reader
from .values import Read, as_json, as_text, one_line

Line = Callable[[CallEnded], str]
"""With its end of line, as the format has it."""


class _Missing:
    """A field that is left out."""


MISSING = _Missing()


def compile_text(text: str, whereabouts: Whereabouts, *, omit_empty_values: bool = False) -> Line:
    """Raises :class:`ConfigError`, which names the operator that nobody can fill in."""
    template, reads = _holes(_parts(text, "text_format"), "text_format", whereabouts)
    template, end = template.rstrip("\n"), template[len(template.rstrip("\n")) :]
    empty = "" if omit_empty_values else "-"

    def line(event: CallEnded) -> str:
        values = [empty if (value := read(event)) is None else value for read in reads]
        made = template % tuple(values)
        if not made.isprintable():
            made = template % tuple([v if isinstance(v, int) else one_line(v) for v in values])
        return made + end

    return line


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

        if not self._omits:
            return lambda event: {name: value(event) for name, value in fields}
        return lambda event: {
            name: found for name, value in fields if (found := value(event)) is not MISSING
        }

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
        parts = _parts(text, path)
        if len(parts) == 1 and isinstance(parts[0], Operator):
            lone = _read(parts[0], path, self._whereabouts)
            return _or_missing(lone) if self._omits else lone
        template, reads = _holes(parts, path, self._whereabouts)
        empty = "" if self._omits else "-"
        return lambda event: (
            template % tuple([empty if (value := read(event)) is None else value for read in reads])
        )


def _or_missing(read: Read) -> Read:
    def present(event: CallEnded) -> Any:
        found = read(event)
        return MISSING if found is None else found

    return present


def _parts(text: str, path: str) -> tuple[str | Operator, ...]:
    try:
        return parse_log_format(text)
    except FormatError as error:
        raise ConfigError(Problem(path, str(error))) from None


def _holes(
    parts: Sequence[str | Operator], path: str, whereabouts: Whereabouts
) -> tuple[str, tuple[Read, ...]]:
    """The text with a ``%s`` in the place of each operator, and what fills these in: with texts,
    whole numbers and ``None``."""
    template, reads = "", []
    for part in parts:
        if isinstance(part, str):
            template += part.replace("%", "%%")
            continue
        read = _read(part, path, whereabouts)
        template += "%s"
        reads.append(_in_text(read) if part.name in STRUCTURED else read)
    return template, tuple(reads)


def _in_text(read: Read) -> Read:
    return lambda event: as_text(read(event))


def _read(operator: Operator, path: str, whereabouts: Whereabouts) -> Read:
    try:
        return reader(operator, whereabouts)
    except ConfigError as error:
        raise ConfigError(
            *(Problem(f"{path}: {p.where}", p.what) for p in error.problems)
        ) from None
