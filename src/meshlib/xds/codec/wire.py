"""Reading messages so that nothing in them is overlooked.

A decoder takes each field it understands out of a :class:`Reader`. What is set but was not taken
is listed as ignored at the end, by path; what is wrong goes to the :class:`Report` while the
decoder carries on with a default, so that one look finds every problem of a resource.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from ...errors import ConfigError, Problem
from ..protos import message_class
from ..regex import why_not_re2

Fields = dict[str, Any]
"""What a message is made of: keyword arguments of its class, messages inside as dicts."""

TYPE_PREFIX = "type.googleapis.com/"
UINT32_MAX = 2**32 - 1
MAX_DURATION = 315_576_000_000
NANOS = 1_000_000_000


class InvalidResourceError(ConfigError):
    """A resource that is refused; ``name`` is "" where not even that could be read."""

    def __init__(self, type_url: str, name: str, *problems: Problem) -> None:
        super().__init__(*problems)
        self.type_url = type_url
        self.name = name


class Report:
    """What the decoding of one resource came upon."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[Problem] = []
        self.readers: list[Reader] = []
        self.dropped: list[str] = []

    def ignored(self) -> tuple[str, ...]:
        unread = (path for reader in self.readers for path in reader.unread())
        return (*self.dropped, *unread)


class Reader:
    """One message, of which each field is taken once."""

    __slots__ = ("_label", "_parent", "_unread", "message", "report")

    def __init__(
        self, message: Any, report: Report, label: str = "", parent: "Reader | None" = None
    ) -> None:
        self.report = report
        self.message = message
        self._label = label
        self._parent = parent
        self._unread: dict[str, Any] = {f.name: value for f, value in message.ListFields()}
        for unknown in _unknown(message):
            self._unread[f"#{unknown.field_number}"] = unknown
        report.readers.append(self)

    @property
    def path(self) -> str:
        above = self._parent.path if self._parent is not None else ""
        return f"{above}.{self._label}" if above and self._label else above or self._label

    def path_of(self, field: str) -> str:
        return f"{self.path}.{field}" if self.path and field else self.path or field

    def problem(self, what: str, field: str = "") -> None:
        path = self.path_of(field)
        where = f"{self.report.where}: {path}" if path else self.report.where
        self.report.problems.append(Problem(where, what))

    def drop(self, field: str = "") -> None:
        """Say that the whole message, or a field already taken, has no effect."""
        if not field:
            self._unread.clear()
        self.report.dropped.append(self.path_of(field))

    def refuse_unread(self) -> None:
        """Take no field for one without effect: each that was not taken is wrong."""
        for field in self._unread:
            self.problem("is not understood", field)
        self._unread.clear()

    def unread(self) -> Iterator[str]:
        return (self.path_of(name) for name in self._unread)

    def has(self, field: str) -> bool:
        return field in self._unread

    def which(self, *fields: str) -> str:
        """The one of ``fields`` that is set, or ""."""
        return next((field for field in fields if field in self._unread), "")

    def skip(self, *fields: str) -> None:
        """Take fields that say nothing that we do not do anyway."""
        for field in fields:
            self._unread.pop(field, None)

    def refuse(self, *fields: str, otherwise: str = "") -> None:
        """Refuse the one of ``fields`` that is set; with none, ``otherwise`` is what is wrong."""
        unsupported = self.which(*fields)
        self.skip(unsupported)
        self.problem("is not supported" if unsupported else otherwise, unsupported)

    def refuse_set(self, *fields: str) -> None:
        """Refuse each of ``fields`` that is set."""
        for field in fields:
            if field in self._unread:
                self.refuse(field)

    def refuse_all(self, *, but: str = "") -> None:
        """Refuse every field that was not taken so far."""
        self.refuse_set(*(field for field in tuple(self._unread) if field != but))

    def text(self, field: str, *, required: bool = False) -> str:
        value: str = self._unread.pop(field, "")
        if required and not value:
            self.problem("must not be empty", field)
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        return tuple(self._unread.pop(field, ()))

    def numbers(self, field: str) -> tuple[int, ...]:
        return tuple(self._unread.pop(field, ()))

    def octets(self, field: str) -> bytes:
        value: bytes = self._unread.pop(field, b"")
        return value

    def flag(self, field: str, default: bool = False) -> bool:
        return bool(self._scalar(field, default))

    def number(self, field: str, default: int = 0, *, low: int = 0, high: int | None = None) -> int:
        value: int = self._scalar(field, default)
        if value < low or (high is not None and value > high):
            limits = f"between {low} and {high}" if high is not None else f"at least {low}"
            self.problem(f"must be {limits}, is {value}", field)
        return value

    def real(self, field: str, default: float = 0.0) -> float:
        value: float = self._scalar(field, default)
        return value

    def optional_number(self, field: str, *, low: int = 0) -> int | None:
        return self.number(field, low=low) if field in self._unread else None

    def percent(self, field: str, default: float | None = None) -> float | None:
        """An ``envoy.type.v3.Percent``: 0 to 100."""
        if field not in self._unread:
            return default
        value: float = self._unread.pop(field).value
        if not 0 <= value <= 100:
            self.problem(f"must be between 0 and 100, is {value}", field)
        return value

    def enum(self, field: str) -> str:
        """The name of an enum value; a number that has none is a problem."""
        descriptor = self.message.DESCRIPTOR.fields_by_name[field]
        names = _enum_names(descriptor.enum_type)
        number = self._unread.pop(field, 0)
        if number not in names:
            self.problem(f"unknown value {number}", field)
        return names.get(number, names[0])

    def optional_seconds(self, field: str, *, positive: bool = False) -> float | None:
        if field not in self._unread:
            return None
        duration = self._unread.pop(field)
        total: int = duration.seconds * NANOS + duration.nanos
        if total < 0 or duration.nanos < 0:
            self.problem("must not be negative", field)
        elif duration.nanos >= NANOS or duration.seconds > MAX_DURATION:
            self.problem("is not a valid duration", field)
        elif positive and not total:
            self.problem("must be > 0", field)
        return total / NANOS

    def seconds(self, field: str, default: float, *, positive: bool = False) -> float:
        value = self.optional_seconds(field, positive=positive)
        return default if value is None else value

    def regex(self, field: str) -> str:
        """An ``envoy.type.matcher.v3.RegexMatcher``."""
        matcher = self.child(field)
        matcher.skip("google_re2")
        regex = matcher.text("regex", required=True)
        refusal = why_not_re2(regex)
        if refusal:
            matcher.problem(refusal, "regex")
        return regex

    def child(self, field: str) -> "Reader":
        """The message in ``field``; an empty one where it is not set."""
        self._unread.pop(field, None)
        return Reader(getattr(self.message, field), self.report, field, self)

    def optional_child(self, field: str) -> "Reader | None":
        return self.child(field) if field in self._unread else None

    def children(self, field: str, label: Callable[[Any], str] = lambda _: "") -> list["Reader"]:
        """The messages in ``field``, called by ``label`` where that gives a name."""
        return [
            self.item(field, label(message) or index, message)
            for index, message in enumerate(self.messages(field))
        ]

    def item(self, field: str, key: object, message: Any) -> "Reader":
        return Reader(message, self.report, f"{field}[{key}]", self)

    def messages(self, field: str) -> Sequence[Any]:
        """The bare messages in ``field``, for who sees to all of their fields himself."""
        found: Sequence[Any] = self._unread.pop(field, ())
        return found

    def entries(self, field: str) -> dict[str, Any]:
        return dict(self._unread.pop(field, {}))

    def taken(self, field: str) -> Any:
        """The bare message in ``field``; ``None`` where it is not set."""
        return self._unread.pop(field, None)

    def extension(self, field: str) -> tuple[str, "Reader | None"]:
        """The type name of the ``Any`` in ``field`` and its message, if that can be read."""
        return self.opened(self.taken(field), field)

    def opened(self, packed: Any, label: str) -> tuple[str, "Reader | None"]:
        if packed is None:
            return "", None
        type_name = packed.type_url.rpartition("/")[2]
        try:
            message = message_class(type_name).FromString(packed.value)
        except KeyError:
            return type_name, None
        except DecodeError:
            self.problem(f"is not a valid {type_name}", label)
            return type_name, None
        return type_name, Reader(message, self.report, label, self)

    def _scalar(self, field: str, default: Any) -> Any:
        value = self._unread.pop(field, default)
        return getattr(value, "value", value)  # of a wrapper message, what is in it


@dataclass(frozen=True, slots=True)
class Codec:
    """How one kind of resource crosses the border; ``room`` is its word in a Snapshot."""

    room: str
    type_url: str
    name_field: str
    encode: Callable[[Any], Fields]
    decode: Callable[[Reader], Any]

    @property
    def message_name(self) -> str:
        return self.type_url.removeprefix(TYPE_PREFIX)


@dataclass(frozen=True, slots=True)
class FilterCodec:
    """How the configuration of one kind of filter crosses the border."""

    type_name: str
    encode: Callable[[Any], Fields]
    decode: Callable[[Reader], Any]


def duration(seconds: float | None) -> Fields | None:
    if seconds is None:
        return None
    # The sign refuses a text, which would else be repeated a thousand million times.
    whole, nanos = divmod(round(+seconds * NANOS), NANOS)
    return {"seconds": whole, "nanos": nanos}


def wrapped(value: float | None) -> Fields | None:
    """A ``UInt32Value`` and its kin, or a ``Percent``."""
    return None if value is None else {"value": value}


def packed(message_name: str, fields: Fields) -> Any:
    """A message inside an ``Any``; map entries must be contiguous, so bytes are stable."""
    return message_class("google.protobuf.Any")(
        type_url=TYPE_PREFIX + message_name,
        value=message_class(message_name)(**fields).SerializeToString(deterministic=True),
    )


def ads() -> Fields:
    return {"ads": {}, "resource_api_version": "V3"}


def from_ads(source: Reader) -> None:
    """Check that a ``ConfigSource`` is the stream that the resource itself came by (A27)."""
    if not source.which("ads", "self"):
        source.problem("must be ads or self")
    source.skip("ads", "self", "resource_api_version")


def _unknown(message: Message) -> Sequence[Any]:
    """Fields on the wire that are newer than our protos."""
    unknown: Sequence[Any] = cast(Any, UnknownFieldSet)(message)
    return unknown


@cache
def _enum_names(enum_type: Any) -> dict[int, str]:
    return {value.number: value.name for value in enum_type.values}
