"""Reading JSON objects so that what is wrong has an address."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from ..errors import Problem


def is_json(value: object) -> bool:
    """What a ``google.protobuf.Struct`` can say, too."""
    match value:
        case None | bool():
            return True
        case str():
            return is_unicode(value)
        case int() | float():
            return isfinite(value) if isinstance(value, float) else value.bit_length() < 1000
        case Mapping():
            return all(isinstance(name, str) and is_json(name) for name in value) and all(
                map(is_json, value.values())
            )
        case list() | tuple():
            return all(map(is_json, value))
        case _:
            return False


def is_unicode(text: str) -> bool:
    """Without halves of surrogate pairs, which JSON can write and protobuf cannot."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


class Fields:
    """The fields of one JSON object; keys that nobody asks for are ignored."""

    def __init__(self, parsed: Mapping[str, Any], where: str, problems: list[Problem]) -> None:
        self._parsed = parsed
        self._where = where
        self._problems = problems

    def blame(self, name: str, what: str) -> None:
        self._problems.append(Problem(self._path(name), what))

    def names(self) -> tuple[str, ...]:
        return tuple(self._parsed)

    def seconds(self, name: str, default: float) -> float:
        """A duration as protobuf's JSON writes it: "600s"."""
        text = self.text(name)
        try:
            seconds = float(text.removesuffix("s")) if text else default
        except ValueError:
            seconds = -1.0
        if seconds > 0 and (not text or text.endswith("s")):
            return seconds
        self.blame(name, f'must be a duration like "600s", not {text!r}')
        return default

    def text(self, name: str, default: str = "") -> str:
        value = self._parsed.get(name)
        if value is None:
            return default
        if isinstance(value, str):
            if not is_unicode(value):
                self.blame(name, f"{value!r} is not Unicode")
            return value
        self.blame(name, f"must be a string, not {value!r}")
        return default

    def required_text(self, name: str) -> str:
        if self._parsed.get(name) in (None, ""):
            self.blame(name, "must be set")
        return self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """The strings of a list; what else is in it is for other clients."""
        return tuple(each for each in self._list(name) if isinstance(each, str))

    def object(self, name: str) -> Mapping[str, Any]:
        value = self._parsed.get(name)
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return dict(value)
        self.blame(name, f"must be an object, not {value!r}")
        return {}

    def json(self, name: str) -> Mapping[str, Any]:
        value = self.object(name)
        for key, each in value.items():
            if not is_json({key: each}):
                self.blame(name, f"{key!r} is not what JSON can say")
        return value

    def child(self, name: str) -> "Fields":
        return Fields(self.object(name), self._path(name), self._problems)

    def objects(self, name: str) -> list["Fields"]:
        return list(self._objects(name))

    def _objects(self, name: str) -> Iterator["Fields"]:
        for index, each in enumerate(self._list(name)):
            if isinstance(each, Mapping):
                yield Fields(each, f"{self._path(name)}[{index}]", self._problems)
            else:
                self.blame(f"{name}[{index}]", f"must be an object, not {each!r}")

    def _list(self, name: str) -> list[Any]:
        value = self._parsed.get(name)
        if value is None or isinstance(value, list | tuple):
            return list(value or ())
        self.blame(name, f"must be a list, not {value!r}")
        return []

    def _path(self, name: str) -> str:
        separator = " " if self._where.endswith(":") else "."
        return f"{self._where}{separator}{name}"
