"""Header values as Envoy's configuration writes them: ``%NAME%`` is filled in, ``%%`` is "%"."""

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%")
_HEADER = re.compile(r":?[!#$&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TIME = re.compile(r"%(?:[1-9]?f|[AaBbCcDdeFgGHhIjklMmnpRrSsTtUuVWwYyZz%])")
MAX_DIGITS = 9

NEVER, OPTIONAL, REQUIRED = "never", "optional", "required"

SUPPORTED = {
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": NEVER,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": NEVER,
    "DOWNSTREAM_REMOTE_ADDRESS": NEVER,
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": NEVER,
    "DOWNSTREAM_REMOTE_PORT": NEVER,
    "DYNAMIC_METADATA": REQUIRED,
    "ENVIRONMENT": REQUIRED,
    "HOSTNAME": NEVER,
    "METADATA": REQUIRED,
    "PROTOCOL": NEVER,
    "REQ": REQUIRED,
    "RESP": REQUIRED,
    "ROUTE_NAME": NEVER,
    "START_TIME": OPTIONAL,
    "UPSTREAM_CLUSTER": NEVER,
    "UPSTREAM_HOST": NEVER,
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": NEVER,
    "VIRTUAL_CLUSTER_NAME": NEVER,
}
"""The operators that are filled in, and whether each takes an argument."""

_SHORTENED = frozenset({"DYNAMIC_METADATA", "ENVIRONMENT", "METADATA", "REQ", "RESP"})


class FormatError(ValueError):
    """A text that stands for nothing; the message names the operator."""


@dataclass(frozen=True, slots=True)
class Operator:
    """``%NAME(argument):max_length%``; ``argument`` "" and ``max_length`` ``None`` where unsaid."""

    name: str
    argument: str = ""
    max_length: int | None = None


Judge = Callable[[str, str | None, str | None], Operator]
"""Of a name, an argument and a length, as they were written."""


def is_header_name(text: str) -> bool:
    """May a header be called so? A colon before it makes it one of HTTP/2's own."""
    return _HEADER.fullmatch(text) is not None


def parse_format(text: str) -> tuple[str | Operator, ...]:
    """The plain pieces and the operators of a text, in order; no two plain ones side by side.

    Raises :class:`FormatError` for what is malformed or not supported.
    """
    if control := _CONTROL.search(text):
        raise FormatError(f"no header has a control character such as {control[0]!r}")
    return parts_of(text, _operator)


def parts_of(text: str, operator: Judge) -> tuple[str | Operator, ...]:
    """The pieces of a text; ``operator`` judges what is asked for. Raises :class:`FormatError`."""
    parts: list[str | Operator] = []
    plain = ""
    position = 0
    while position < len(text):
        mark = text.find("%", position)
        plain += text[position:] if mark < 0 else text[position:mark]
        if mark < 0:
            break
        if text.startswith("%%", mark):
            plain += "%"
            position = mark + 2
            continue
        found = _OPERATOR.match(text, mark)
        if found is None:
            raise FormatError(f"no operator begins at {text[mark : mark + 24]!r}")
        made = operator(*found.groups())
        parts += [plain, made] if plain else [made]
        plain = ""
        position = found.end()
    return (*parts, plain) if plain else tuple(parts)


def literal(text: str) -> str | None:
    """What the text stands for; ``None`` where something would have to be filled in."""
    parts = text.split("%%")
    return None if any("%" in part for part in parts) else "%".join(parts)


def quoted(value: str) -> str:
    """The text that stands for this very value."""
    return value.replace("%", "%%")


def _operator(name: str, argument: str | None, length: str | None) -> Operator:
    made = judged(SUPPORTED, _SHORTENED, name, argument, length)
    _check_argument(name, made.argument)
    return made


def judged(
    supported: Mapping[str, str],
    shortened: Container[str],
    name: str,
    argument: str | None,
    length: str | None,
) -> Operator:
    """An operator that is supported, and takes what it is given; :class:`FormatError` otherwise."""
    takes = supported.get(name)
    if takes is None:
        raise FormatError(f"the operator %{name}% is not supported")
    if takes == NEVER and argument is not None:
        raise FormatError(f"the operator %{name}% takes no argument")
    if takes == REQUIRED and not argument:
        raise FormatError(f"the operator %{name}% needs an argument")
    if length is not None and (name not in shortened or len(length) > MAX_DIGITS):
        raise FormatError(f"the operator %{name}% cannot be cut to {length[:MAX_DIGITS]!r}")
    return Operator(name, argument or "", None if length is None else int(length))


def are_header_names(argument: str) -> bool:
    """One, or one and its stand-in: ``x-first?x-second``."""
    names = argument.split("?")
    return len(names) < 3 and all(_HEADER.fullmatch(each) for each in names)


def is_time(argument: str) -> bool:
    """Does ``%START_TIME(…)%`` take it?"""
    return "%" not in _TIME.sub("", argument)


def _check_argument(name: str, argument: str) -> None:
    match name:
        case "REQ" | "RESP":
            fine = are_header_names(argument)
        case "DYNAMIC_METADATA":
            fine = all(argument.split(":"))
        case "METADATA":
            kind, *path = argument.split(":")
            fine = kind == "ROUTE" and bool(path) and all(path)
        case "START_TIME":
            fine = is_time(argument)
        case _:
            fine = True
    if not fine:
        raise untaken(name, argument)


def untaken(name: str, argument: str) -> FormatError:
    return FormatError(f"the operator %{name}% does not take {argument[:64]!r}")
