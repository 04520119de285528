"""Header values with ``%…%`` in them, compiled once and filled in per call."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from typing import TYPE_CHECKING, Protocol

from ...clock import Clock
from ...model import Metadata, Struct, Value
from ...model.format import Operator, parse_format
from ..message import Headers, Request, first

if TYPE_CHECKING:
    from ..events import CallRecord

OTHER = "other"
"""Calls that match none of a host's virtual clusters."""
DEFAULT_TIME = "%Y-%m-%dT%H:%M:%S.%3fZ"
NANOSECONDS = 1_000_000_000
_DIGITS = tuple(f"{number:03}" for number in range(1000))
_TIME_PIECE = re.compile("%([0-9]?)f|%.|[^%]+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What a value may tell of where it is filled in; ``wall_clock`` in seconds of the epoch."""

    hostname: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    wall_clock: Clock = float
    clock: Clock = float


@dataclass(slots=True)
class Facts:
    """What values are filled in from. ``request`` has the headers that the levels before left;
    ``response`` is empty as long as there is none."""

    request: Request
    record: "CallRecord | None"
    response: Headers = ()


Filler = Callable[[Facts], str | None]
"""``None``: there is nothing to fill in."""


class Recorded(Protocol):
    """Whatever knows the call: facts for headers, or the event of its end."""

    @property
    def record(self) -> "CallRecord | None": ...


@dataclass(frozen=True, slots=True)
class Format:
    """Pieces that make a value; what is missing is left out, as Envoy does in headers."""

    pieces: tuple[str | Filler, ...]

    def __call__(self, facts: Facts) -> str:
        filled = (p if isinstance(p, str) else p(facts) or "" for p in self.pieces)
        return "".join(filled)


def compile_format(text: str, whereabouts: Whereabouts) -> str | Format:
    """A plain value as it is. Raises :class:`FormatError`."""
    parts = parse_format(text)
    if not any(isinstance(part, Operator) for part in parts):
        return "".join(str(part) for part in parts)
    return Format(tuple(p if isinstance(p, str) else _shortened(p, whereabouts) for p in parts))


def _shortened(operator: Operator, whereabouts: Whereabouts) -> Filler:
    fill = filler(operator, whereabouts)
    length = operator.max_length
    if length is None:
        return fill

    def cut(facts: Facts) -> str | None:
        value = fill(facts)
        return None if value is None else value[:length]

    return cut


def filler(operator: Operator, whereabouts: Whereabouts) -> Filler:
    argument = operator.argument
    match operator.name:
        case "REQ":
            return _request_header(*argument.lower().split("?"))
        case "RESP":
            return _response_header(*argument.lower().split("?"))
        case "DYNAMIC_METADATA":
            name, *path = argument.split(":")
            return lambda f: _text(metadata_value(f.request.dynamic_metadata, name, path))
        case "METADATA":
            _, name, *path = argument.split(":")
            return lambda f: _text(metadata_value(_route_metadata(f), name, path))
        case "START_TIME":
            return _start_time(argument or DEFAULT_TIME, whereabouts)
        case "ENVIRONMENT":
            # Read at once, and Envoy then writes a dash for what is missing.
            value = whereabouts.environment.get(argument, "-")
            return lambda _: value
        case "HOSTNAME":
            return lambda _: whereabouts.hostname or None
        case name:
            return _OF_A_CALL[name]


def _request_header(name: str, other: str = "") -> Filler:
    def fill(facts: Facts) -> str | None:
        found = first_value(facts.request, name)
        return first_value(facts.request, other) if found is None and other else found

    return fill


def _response_header(name: str, other: str = "") -> Filler:
    def fill(facts: Facts) -> str | None:
        found = first(facts.response, name)
        return first(facts.response, other) if found is None and other else found

    return fill


def first_value(request: Request, name: str) -> str | None:
    """Of a header, or of a pseudo-header, which Envoy calls ``host`` by another name."""
    if name == "host":
        name = ":authority"
    found = request.first(name)
    return request.header(name) if found is None and name[:1] == ":" else found


def _start_time(text: str, whereabouts: Whereabouts) -> Filler:
    written = TimeFormat(text)

    def fill(facts: Facts) -> str:
        record = facts.record
        passed = whereabouts.clock() - record.started if record is not None else 0.0
        return written(whereabouts.wall_clock() - passed)

    return fill


class TimeFormat:
    """``strftime`` in UTC, with ``%s`` (seconds of the epoch) and ``%3f`` (3 digits of them).

    All but those digits is made once a second: many calls begin in the same one.
    """

    def __init__(self, text: str) -> None:
        self._pieces = tuple(_TIME_PIECE.finditer(text))
        self._latest = -1, [(0, "")]

    def __call__(self, moment: float) -> str:
        second, parts = self._latest
        rest = moment - second
        if not 0.0 <= rest < 1.0:
            second = floor(moment)
            rest = moment - second
            parts = self._parts_of(second)
            self._latest = second, parts
        number = int(rest * NANOSECONDS)
        # Python's own ways to fill up with zeros take ten times as long.
        digits = (
            _DIGITS[number // 1_000_000] + _DIGITS[number // 1000 % 1000] + _DIGITS[number % 1000]
        )
        made = ""
        for length, text in parts:
            made += digits[:length] + text
        return made

    def _parts_of(self, second: int) -> list[tuple[int, str]]:
        """So many digits of the fraction, and the text that follows them."""
        parts = [(0, "")]
        for piece in self._pieces:
            if piece[1] is not None:
                parts.append((int(piece[1] or 9), ""))
            else:
                length, text = parts[-1]
                parts[-1] = length, text + _of_second(piece[0], second)
        return parts


def _digits(number: int) -> str:
    """Nine of them; Python's own ways to fill up with zeros take several times as long."""
    most, rest = divmod(number, 1_000_000)
    return _DIGITS[most] + _DIGITS[rest // 1000] + _DIGITS[rest % 1000]


def _of_second(piece: str, second: int) -> str:
    if piece[0] != "%":
        return piece
    return str(second) if piece == "%s" else datetime.fromtimestamp(second, UTC).strftime(piece)


def metadata_value(metadata: Metadata | None, name: str, path: list[str]) -> Value:
    """``path`` below a filter's struct; the struct itself where there is none."""
    found: Value = None
    if metadata is not None:
        found = next((struct for key, struct in metadata.filter_metadata if key == name), None)
    for key in path:
        found = found.get(key) if isinstance(found, Struct) else None
    return found


def _text(value: Value) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(plain(value), separators=(",", ":"))


def plain(value: Value) -> object:
    match value:
        case Struct(fields):
            return {name: plain(each) for name, each in fields}
        case tuple():
            return [plain(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _route_metadata(facts: Facts) -> Metadata | None:
    route = facts.record.route if facts.record is not None else None
    return None if route is None else route.config.metadata


def _route_name(facts: Recorded) -> str | None:
    route = facts.record.route if facts.record is not None else None
    return None if route is None else route.config.name or None


def _forwarded(facts: Recorded) -> "CallRecord | None":
    """``None``: the call has not come as far as its cluster."""
    record = facts.record
    return None if record is None or record.cluster is None else record


def _virtual_cluster(facts: Recorded) -> str | None:
    """By the request as the caller made it; where the host has names but none for this call, Envoy
    has nothing to say."""
    record = _forwarded(facts)
    if record is None or record.route is None:
        return None
    name = record.route.virtual_cluster(record.request)
    return None if name in ("", OTHER) else name


def _upstream_cluster(facts: Recorded) -> str | None:
    destination = facts.record.destination if facts.record is not None else None
    return None if destination is None or destination.cluster is None else destination.name


def _upstream_host(facts: Recorded) -> str | None:
    endpoint = facts.record.endpoint if facts.record is not None else None
    return None if endpoint is None else endpoint.key


def _attempts(facts: Recorded) -> str:
    """Told before the first as if it had begun."""
    record = _forwarded(facts)
    return "0" if record is None else str(max(1, record.attempts))


def _protocol(facts: Facts) -> str:
    return "HTTP/2" if facts.request.is_grpc else "HTTP/1.1"


def _caller(facts: Facts) -> str | None:
    return facts.request.source or None


def caller_address(request: Request) -> str | None:
    """The caller's address without its port; ``None`` where the caller is this process."""
    host, colon, port = request.source.rpartition(":")
    found = host if colon and port.isdigit() and not host.endswith(":") else request.source
    return found.strip("[]") or None


def _caller_port(facts: Facts) -> str | None:
    port = facts.request.source.rpartition(":")[2]
    return port if port.isdigit() else None


def _caller_host(facts: Facts) -> str | None:
    return caller_address(facts.request)


OF_A_RECORD: dict[str, Callable[[Recorded], str | None]] = {
    "ROUTE_NAME": _route_name,
    "UPSTREAM_CLUSTER": _upstream_cluster,
    "UPSTREAM_HOST": _upstream_host,
    "VIRTUAL_CLUSTER_NAME": _virtual_cluster,
}
_OF_A_CALL: dict[str, Filler] = {
    **OF_A_RECORD,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": _caller,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": _caller_host,
    "DOWNSTREAM_REMOTE_ADDRESS": _caller,
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _caller_host,
    "DOWNSTREAM_REMOTE_PORT": _caller_port,
    "PROTOCOL": _protocol,
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": _attempts,
}
