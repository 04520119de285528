"""Plain values → pieces, field by field, so that one mistake does not hide the next."""

import difflib
import functools
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from ...xds.regex import why_not_re2
from .finding import REGEX, SCHEMA, UNSUPPORTED
from .marks import Path
from .piece import Flaw, Form, Piece, of_proxies

P = TypeVar("P", bound=Piece)

BROKEN: Any = object()
"""Stands for a value whose flaws are already reported."""

UNSET = (types.NoneType, msgspec.UnsetType)
"""Kinds of what an optional field has when nothing is said."""

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d{1,15}(?:\.\d{0,9})?|\.\d{1,9})(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"0|(?:{_DURATION_PART.pattern})+")


def decode(
    value: Any, shape: type[P], path: Path = (), *, snake: bool = False
) -> tuple[P | None, list[Flaw]]:
    """Read a value as a piece; ``None`` when anything in it is wrong.

    ``snake``: names of fields may be written with underscores, too, as protobuf has them.
    """
    decoder = _Decoder(snake=snake)
    piece = decoder.piece(value, shape, path)
    is_wrong = any(flaw.severity == "error" for flaw in decoder.flaws)
    return (None if is_wrong else piece), decoder.flaws


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}?" if close else ""


@functools.cache
def _fields(shape: type[Piece]) -> tuple[tuple[msgspec.structs.FieldInfo, Any], ...]:
    hints = get_type_hints(shape, include_extras=True)
    return tuple((info, hints[info.name]) for info in msgspec.structs.fields(shape))


class _Decoder:
    def __init__(self, *, snake: bool) -> None:
        self.flaws: list[Flaw] = []
        self._snake = snake
        self._wrongs = 0

    def piece(self, value: Any, shape: type[P], path: Path) -> P:
        if not isinstance(value, Mapping):
            self._wrong(path, f"expected a mapping, got {_kind(value)}")
            return BROKEN  # type: ignore[no-any-return]
        before = self._wrongs
        fields = _fields(shape)
        self._unknown_fields(value, shape, path)
        read: dict[str, Any] = {}
        for info, hint in fields:
            name = info.encode_name
            if self._snake and name not in value and info.name in value:
                name = info.name
            given = value.get(name)
            if given is None and not info.required:
                continue  # "field:" without a value is an unset field, as in Kubernetes
            if given is None:
                self._wrong(path, f"{name} is missing")
                continue
            read[info.name] = self._value(given, hint, (*path, name))
        if self._wrongs > before:
            return BROKEN  # type: ignore[no-any-return]
        made = shape(**read)
        for flaw in made.rules():
            self._add(replace(flaw, path=(*path, *flaw.path)))
        return made

    def _unknown_fields(self, value: Mapping[Any, Any], shape: type[Piece], path: Path) -> None:
        fields = _fields(shape)
        known = {info.encode_name for info, _ in fields}
        also = {info.name for info, _ in fields} if self._snake else set()
        for key in value:
            at = (*path, str(key))
            name = _camel(str(key)) if self._snake else key
            if key in known or key in also or name in shape.ELSEWHERE:
                continue
            if name in shape.OF_PROXIES:
                self._add(of_proxies(*at))
            elif name in shape.NOT_YET:
                self._wrong(at, f"{name} is not supported yet", code=UNSUPPORTED, at_key=True)
            else:
                hint = did_you_mean(str(key), known | shape.NOT_YET | shape.OF_PROXIES)
                self._wrong(at, f"unknown field {key!r}", hint, at_key=True)

    def _value(self, value: Any, hint: Any, path: Path) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):  # None means unset, and is dealt with already
            shapes = [shape for shape in arguments if shape not in UNSET]
            if len(shapes) > 1:
                return self._plain(value, hint, path)
            return self._value(value, shapes[0], path)
        if isinstance(hint, type) and issubclass(hint, Piece):
            return self.piece(value, hint, path)
        if origin is tuple:
            return self._items(value, arguments[0], path)
        if origin is dict:
            return self._entries(value, arguments[1], path)
        if origin is Literal:
            return self._choice(value, arguments, path)
        if origin is Annotated and isinstance(arguments[1], Form):
            return self._form(value, arguments[1], path)
        return self._plain(value, hint, path)

    def _items(self, value: Any, shape: Any, path: Path) -> Any:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return self._wrong(path, f"expected a list, got {_kind(value)}")
        return tuple(self._value(item, shape, (*path, i)) for i, item in enumerate(value))

    def _entries(self, value: Any, shape: Any, path: Path) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(path, f"expected a mapping, got {_kind(value)}")
        return {str(key): self._value(v, shape, (*path, str(key))) for key, v in value.items()}

    def _choice(self, value: Any, choices: tuple[str, ...], path: Path) -> Any:
        if value in choices:
            return value
        hint = did_you_mean(str(value), choices) or f"one of {', '.join(choices)}"
        return self._wrong(path, f"{_kind(value)} is not a known value", hint)

    def _form(self, value: Any, form: Form, path: Path) -> Any:
        if not isinstance(value, str):
            return self._wrong(path, f"expected a text, got {_kind(value)}", _quote(value))
        return self._duration(value, path) if form.name == "duration" else self._regex(value, path)

    def _duration(self, text: str, path: Path) -> Any:
        if not _DURATION.fullmatch(text):
            return self._wrong(path, f"{text!r} is not a duration", "such as 5s, 250ms or 1m30s")
        seconds = sum(float(n) * _SECONDS[unit] for n, unit in _DURATION_PART.findall(text))
        if 0 < seconds < 0.001:
            return self._wrong(path, f"{text!r} is shorter than 1ms")
        return round(seconds, 9)

    def _regex(self, text: str, path: Path) -> Any:
        why = why_not_re2(text)
        return self._wrong(path, f"the regex {why}", code=REGEX) if why else text

    def _plain(self, value: Any, hint: Any, path: Path) -> Any:
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            message = str(error).replace("`", "")
            return self._wrong(path, message[0].lower() + message[1:], _quote(value, hint))

    def _wrong(
        self, path: Path, message: str, hint: str = "", code: str = SCHEMA, *, at_key: bool = False
    ) -> Any:
        self._add(Flaw(path, message, hint, code, at_key))
        return BROKEN

    def _add(self, flaw: Flaw) -> None:
        self.flaws.append(flaw)
        self._wrongs += flaw.severity == "error"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float | str):
        return repr(value)[:60]
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) else type(value).__name__


def _quote(value: Any, hint: Any = str) -> str:
    is_text = hint is str or str in get_args(hint)
    if is_text and isinstance(value, bool | int | float):
        return "put it in quotes"
    return ""
