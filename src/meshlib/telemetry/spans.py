"""What spans are called and what they say: gRFC A72 for gRPC, semantic conventions for HTTP."""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import count

from opentelemetry.trace import Status, StatusCode

from ..dataplane import FRAME, CallRecord, Cause, Failure, Meter, Outcome, Request, Response
from ..dataplane.events import AttemptFailed, CallEnded, EndpointEjected
from ..dataplane.statuses import http_to_grpc
from .attributes import request_id
from .details import flags_of
from .plain_spans import AnySpan
from .texts import shown, shown_path

Attribute = str | int | float | bool
Attributes = dict[str, Attribute]
Message = tuple[bool, float, int]
"""One of :attr:`Meter.messages`."""

SERVER_ERRORS = frozenset({2, 4, 12, 13, 14, 15})
"""gRPC statuses that are a server's own fault; the others are its caller's."""
CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
EVENTS = {
    Cause.OVERFLOW: "circuit breaker overflow",
    Cause.RATE_LIMITED: "rate limited",
    Cause.RATE_LIMIT_SERVICE: "rate limited",
    Cause.FAULT: "fault injected",
    Cause.DROP_OVERLOAD: "dropped",
    Cause.OVERLOADED: "overloaded",
    Cause.UNAUTHORIZED: "denied",
}
BY_FLAG = {cause.value: event for cause, event in EVENTS.items()}
DELAYED = "DI"
GIVEN_UP = Failure(Cause.CANCELLED, "another attempt was faster", 1)
PORT_DIGITS = 5
METHODS = 256
"""gRPC's, of which it is remembered what they are called."""


def place_of(target: str) -> tuple[str, int | None]:
    host, _, port = target.rpartition(":")
    if host and port.isdecimal() and len(port) <= PORT_DIGITS:
        return shown(host), int(port)
    return shown(target), None


def grpc_names(request: Request) -> tuple[str, str, str]:
    """What the spans of a call, of an attempt, and of a call that came in are called."""
    return _grpc_names(request.path)


@lru_cache(METHODS)
def _grpc_names(path: str) -> tuple[str, str, str]:
    method = shown(path.removeprefix("/"))
    return f"Sent.{method}", f"Attempt.{method}", f"Recv.{method}"


def grpc_attributes(request: Request) -> Mapping[str, Attribute]:
    return _grpc_attributes(request.path, request.target or request.authority)


@lru_cache(METHODS)
def _grpc_attributes(path: str, target: str) -> Mapping[str, Attribute]:
    service, _, method = shown(path.removeprefix("/")).rpartition("/")
    said: Attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    return _placed(said, target)


def client_attributes(request: Request, path_length: int) -> Attributes:
    path = shown_path(request.path, path_length)
    said: Attributes = {
        "http.request.method": request.method,
        "url.full": f"{request.scheme}://{shown(_authority(request))}{path}",
    }
    return _placed(said, request.target)


def server_attributes(request: Request, path_length: int) -> Attributes:
    path, _, query = shown_path(request.path, path_length).partition("?")
    said: Attributes = {
        "http.request.method": request.method,
        "url.path": path,
        "url.scheme": request.scheme,
    }
    if query:
        said["url.query"] = query
    agent = request.header("user-agent")
    if agent:
        said["user_agent.original"] = shown(agent)
    return _placed(_from(request, said), _authority(request))


def _from(request: Request, said: Attributes) -> Attributes:
    if request.source:
        said["client.address"] = place_of(request.source)[0]
    return said


def _authority(request: Request) -> str:
    return request.authority or request.target


def _placed(said: Attributes, target: str) -> Attributes:
    host, port = place_of(target)
    if host:
        said["server.address"] = host
    if port is not None:
        said["server.port"] = port
    return said


@lru_cache(1024)
def peer_attributes(address: str) -> Mapping[str, Attribute]:
    host, port = place_of(address)
    said: Attributes = {"network.peer.address": host, "upstream_address": address}
    if port is not None:
        said["network.peer.port"] = port
    return said


def call_attributes(record: CallRecord, outcome: Outcome) -> Attributes:
    """What the mesh knows of a call, named as Envoy names it where Envoy knows it too."""
    said: Attributes = {"response_flags": ",".join(flags_of(record, outcome)) or "-"}
    if record.cluster is not None:
        said["upstream_cluster.name"] = record.cluster.name
    if record.endpoint is not None:
        said["upstream_address"] = record.endpoint.key
    known = request_id(record)
    if known:
        said["guid:x-request-id"] = shown(known)
    route = record.route
    if route is not None:
        said["meshlib.route"] = route.config.name
        if route.source:
            said["meshlib.rule"] = route.source
    if record.config_version:
        said["meshlib.config_version"] = record.config_version
    if record.details:
        said["meshlib.details"] = shown(record.details)
    return said


def tell_events(
    span: AnySpan, event: CallEnded, at: int, ejections: Iterable[EndpointEjected] = ()
) -> None:
    """What befell the call besides being answered."""
    record = event.record
    own = event.outcome.cause.flags if isinstance(event.outcome, Failure) else ()
    for flag in dict.fromkeys((*record.flags, *own)):
        if flag in BY_FLAG:
            span.add_event(BY_FLAG[flag], {"response_flag": flag}, at)
    if DELAYED in record.flags:
        span.add_event("fault injected", {"response_flag": DELAYED, "delay_s": record.held}, at)
    for ejected in ejections:
        said = {"upstream_address": ejected.endpoint.key, "reason": ejected.reason}
        span.add_event("outlier ejection", said, at)


def tell_messages(
    span: AnySpan, event: AttemptFailed | CallEnded, at: int, now: float, *, served: bool = False
) -> None:
    """gRPC's messages (gRFC A72). ``at`` and ``now`` are one moment: of the epoch, in nanoseconds,
    and on the mesh's clock."""
    for number, (is_request, when, size) in _numbered(messages_of(event)):
        name = "Inbound message" if is_request is served else "Outbound message"
        said = {"sequence-number": number, "message-size": size}
        span.add_event(name, said, at - int((now - when) * 1e9))


def _numbered(messages: Iterable[Message]) -> Iterator[tuple[int, Message]]:
    """Each way by itself."""
    counts = {True: count(), False: count()}
    return ((next(counts[message[0]]), message) for message in messages)


def messages_of(event: AttemptFailed | CallEnded) -> Iterable[Message]:
    meter, outcome = event.record.request.meter, event.outcome
    if meter is None or (isinstance(outcome, Failure) and outcome.cause is Cause.CONNECT):
        return ()
    return alone(meter) if meter.messages is None else meter.messages


def alone(meter: Meter) -> list[Message]:
    """The one message that goes each way, as far as it went."""
    found: list[Message] = []
    if meter.request_messages and meter.request_ended is not None:
        found.append((True, meter.request_ended, meter.request_bytes - FRAME))
    if meter.response_messages and meter.response_began is not None:
        found.append((False, meter.response_began, meter.response_bytes - FRAME))
    return found


def tell_outcome(
    span: AnySpan, request: Request, outcome: Outcome, *, served: bool = False
) -> None:
    if request.is_grpc:
        _tell_grpc(span, outcome, served=served)
    else:
        _tell_http(span, outcome, served=served)


def _tell_grpc(span: AnySpan, outcome: Outcome, *, served: bool) -> None:
    if outcome.grpc_status == 0:
        span.set_attribute("rpc.grpc.status_code", 0)
        return
    status = _grpc_status(outcome)
    name = CODES[status] if 0 <= status < len(CODES) else str(status)
    span.set_attribute("rpc.grpc.status_code", status)
    if status == 0 or (served and status not in SERVER_ERRORS):
        return
    span.set_attribute("error.type", name)
    detail = outcome.detail if isinstance(outcome, Failure) else ""
    span.set_status(Status(StatusCode.ERROR, f"{name}, {shown(detail)}" if detail else name))


def _grpc_status(outcome: Outcome) -> int:
    if outcome.grpc_status is not None:
        return outcome.grpc_status
    if isinstance(outcome, Response):
        return 0 if outcome.status == 200 else http_to_grpc(outcome.status)
    return BY_CAUSE.get(outcome.cause, 14)


BY_CAUSE: Mapping[Cause, int] = {
    Cause.TIMEOUT: 4,
    Cause.DEADLINE: 4,
    Cause.CANCELLED: 1,
    Cause.UNAUTHORIZED: 7,
    Cause.UNCLEAN: 3,
    Cause.LOCAL: 13,
}
"""Where nobody said what gRPC makes of it; all else is 14, UNAVAILABLE."""


def _tell_http(span: AnySpan, outcome: Outcome, *, served: bool) -> None:
    if isinstance(outcome, Failure):
        span.set_attribute("error.type", outcome.cause.name.lower())
        if not (served and outcome.cause is Cause.CANCELLED):
            span.set_status(Status(StatusCode.ERROR, shown(outcome.detail) or outcome.cause.value))
        return
    span.set_attribute("http.response.status_code", outcome.status)
    if outcome.status >= (500 if served else 400):
        span.set_attribute("error.type", str(outcome.status))
        span.set_status(Status(StatusCode.ERROR))
