"""gRPC's statuses as outcomes, and outcomes as gRPC's errors."""

from collections.abc import Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from ..dataplane import Cause, Deliver, Failure, Headers, Outcome, Response, Send
from ..dataplane.statuses import http_to_grpc
from ..errors import CallError, CallReport
from ..model import Address
from ._binary import STATUS_DETAILS, BinaryMetadata
from ._grpc_introduction import listen
from ._grpc_request import headers_of, responded
from ._tls_lines import REVOKED

CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

NO_CONNECTION = ("failed to connect to all addresses", "errors resolving ")
"""How gRPC core begins its words when no connection could be made."""

BROKEN = (
    "Stream removed (",
    "Socket closed",
    "recvmsg:",
    "GOAWAY received",
    "Connection reset",
    REVOKED,
)
"""How gRPC core begins its words when a connection or a stream broke, and ours when we cut it."""

REFUSED_STREAM = "RST_STREAM with error code 7"
CANCELLED_STREAM = "RST_STREAM with error code 8"

_UNIMPLEMENTED = 12
FAILURE_TO_GRPC = {Cause.TIMEOUT: 4, Cause.DEADLINE: 4, Cause.CANCELLED: 1, Cause.LOCAL: 13}
"""Other failures without a status of their own are UNAVAILABLE."""

NATIVE_CAUSES = frozenset({Cause.REFUSED, Cause.RESET, Cause.CANCELLED, Cause.LOCAL})
"""Failures that are shown as gRPC itself reports them: the words of a server may look alike."""


LOCALLY_CANCELLED = "Locally cancelled by application!"
LATE = 0.005
"""Seconds by which gRPC core's timers may run ahead of the mesh's clock."""

OK = Response(200, (), 0)

RETRY_INFO = "x-meshlib-retry-info-ms"
"""The trailer as which the core hears of ``google.rpc.RetryInfo``."""

READY_BACKOFF = (0.05, 1.6, 1.0)
"""First wait, factor and longest wait of a ``wait_for_ready`` call that found nobody."""

UNREACHED = frozenset({Cause.CONNECT, Cause.NO_ENDPOINT})


def judge(
    status: int,
    details: str,
    *,
    native: object,
    address: Address | None,
    is_ready: Callable[[], bool],
    is_late: Callable[[], bool],
) -> Outcome:
    """What the end of an attempt says.

    An application may send any words with its status, so words alone never make a connection
    failure: the channel must be without connection, and the words must name the endpoint.
    """
    if status == 0:
        return Response(200, (), 0, b"", native)
    if status == 4 and is_late():
        return Failure(Cause.TIMEOUT, details, 4, native)
    if details.startswith(NO_CONNECTION) and status == 14:
        if _names(address, details) and not is_ready():
            return Failure(Cause.CONNECT, details, 14, native)
        return Response(200, (), status, b"", native)
    if details.startswith(BROKEN):
        if status == 1 and CANCELLED_STREAM in details and is_late():
            # The server's timer was first: gRPC core judges that by a moment that it keeps.
            return Failure(Cause.TIMEOUT, details, 4, native)
        cause = Cause.REFUSED if REFUSED_STREAM in details else Cause.RESET
        return Failure(cause, details, status, native)
    return Response(200, (), status, b"", native)


def witnessed(
    outcome: Outcome, error: Any, binary: BinaryMetadata | None, send: Send | None
) -> Outcome:
    """A failed attempt with what its server said beside the status, if it was reached at all."""
    if isinstance(outcome, Failure) and outcome.cause is Cause.CONNECT and send is not None:
        meter = send.request.meter
        assert meter is not None
        meter.secured, meter.server_principal = False, ""
    trailing = error.trailing_metadata() or ()
    if send is not None and send.endpoint is not None and send.endpoint.asks:
        listen(send.endpoint, trailing, ok=False)
    trailers = headers_of(trailing)
    if binary is not None:
        for key, value in trailing:
            if key == STATUS_DETAILS and (delay := binary.retry_delay(value)) is not None:
                trailers = (*trailers, (RETRY_INFO, str(int(delay * 1000))))
    outcome.trailers = trailers
    if isinstance(outcome, Response):
        outcome.headers = headers_of(error.initial_metadata() or ())
    return outcome


def _names(address: Address | None, details: str) -> bool:
    """The words name the very endpoint; a DNS name shows up only as its addresses."""
    if address is None or not is_ip(address.host):
        return True
    return f"{address}:" in details


def is_ip(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def grpc_status(outcome: Outcome) -> int:
    """The status code that a caller sees."""
    match outcome:
        case Failure():
            if outcome.grpc_status is not None:
                return outcome.grpc_status
            return FAILURE_TO_GRPC.get(outcome.cause, 14)
        case Response():
            if outcome.grpc_status is not None:
                return outcome.grpc_status
            if 300 <= outcome.status < 400:
                return _UNIMPLEMENTED
            return http_to_grpc(outcome.status)


def report(deliver: Deliver) -> CallReport:
    made = deliver.record.report(deliver.outcome)
    outcome = deliver.outcome
    if isinstance(outcome, Response) and outcome.grpc_status is None:
        words = outcome.body.decode("utf-8", "replace") or f"unexpected HTTP {outcome.status}"
        object.__setattr__(made, "detail", words)
    return made


class MeshRpcError(grpc.RpcError, grpc.Call, grpc.Future, CallError):  # type: ignore[type-arg]
    """A synchronous call that the mesh failed; like grpcio's errors it is the ended call too."""

    def __init__(self, code: grpc.StatusCode, report: CallReport, headers: Headers = ()) -> None:
        CallError.__init__(self, report)
        self._status = code
        self._headers = headers

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return str(self.mesh)

    def debug_error_string(self) -> str:
        return f"{self._status.name}:{self.mesh}"

    def initial_metadata(self) -> Any:
        return self._headers

    def trailing_metadata(self) -> Any:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any:
        return None

    def cancel(self) -> Any:
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def cancelled(self) -> bool:
        return self._status is grpc.StatusCode.CANCELLED

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> Any:
        raise self

    def exception(self, timeout: float | None = None) -> Any:
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        return self.__traceback__

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        fn(self)

    def __str__(self) -> str:
        return self.debug_error_string()

    def __reduce__(self) -> Any:
        return type(self), (self._status, self.mesh, self._headers)


class AioMeshRpcError(grpc.aio.AioRpcError, CallError):
    """An asynchronous call that the mesh failed."""

    def __init__(self, code: grpc.StatusCode, report: CallReport, headers: Headers = ()) -> None:
        CallError.__init__(self, report)
        self._status = code
        self._headers = headers

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return str(self.mesh)

    def debug_error_string(self) -> str:
        return f"{self._status.name}:{self.mesh}"

    def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(*self._headers)

    def trailing_metadata(self) -> grpc.aio.Metadata:  # type: ignore[override]
        return grpc.aio.Metadata()

    def __str__(self) -> str:
        return self.debug_error_string()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __reduce__(self) -> Any:
        return type(self), (self._status, self.mesh, self._headers)


RANKS = (
    grpc.ChannelConnectivity.READY,
    grpc.ChannelConnectivity.CONNECTING,
    grpc.ChannelConnectivity.IDLE,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    grpc.ChannelConnectivity.SHUTDOWN,
)

MakeError = Callable[[grpc.StatusCode, CallReport, Headers], grpc.RpcError]


def error_for(deliver: Deliver, make: MakeError) -> grpc.RpcError | None:
    """The error that a delivered outcome is to its caller; ``None`` when all is well.

    What a server answered is passed on as the library's own object, with ``.mesh`` attached.
    """
    outcome = deliver.outcome
    native = outcome.native
    if isinstance(outcome, Response):
        if outcome.grpc_status == 0 or (outcome.grpc_status is None and native is not None):
            return None
        if isinstance(native, grpc.RpcError):
            return _passed_on(native, deliver)
    elif isinstance(native, grpc.RpcError) and outcome.cause in NATIVE_CAUSES:
        return _passed_on(native, deliver)
    headers = outcome.headers if isinstance(outcome, Response) else ()
    if deliver.record.respond is not None:
        headers = deliver.record.respond(headers)
    code = CODES.get(grpc_status(outcome), grpc.StatusCode.UNKNOWN)
    return make(code, report(deliver), headers)


def _passed_on(error: grpc.RpcError, deliver: Deliver) -> grpc.RpcError:
    if deliver.record.respond is not None:
        respond_through(error, deliver.record.respond)
    return attach(error, deliver)


def marked(error: Any, deliver: Deliver, make: MakeError) -> grpc.RpcError:
    """The error that ended a stream, with what the mesh knows of its call."""
    outcome = deliver.outcome
    if grpc_status(outcome) != error.code().value[0]:
        return error_for(deliver, make) or error
    return attach(error, deliver)


def attach(error: grpc.RpcError, deliver: Deliver) -> grpc.RpcError:
    error.mesh = deliver.record.report(deliver.outcome)  # type: ignore[attr-defined]
    return error


def respond_through(ended: Any, respond: Callable[[Headers], Headers]) -> None:
    """Let the library's own object of an ended call tell headers as the route changes them."""
    native = ended.initial_metadata

    def initial_metadata() -> Any:
        return responded(native(), respond)

    ended.initial_metadata = initial_metadata


def succeeded(native: Any, trailers: Headers = ()) -> Response:
    """An answer of which more is to be known than that it is :data:`OK`."""
    return Response(200, (), 0, b"", native, trailers)


def started(native: Any) -> Response:
    """A stream has begun: what comes of it shows at its end."""
    return Response(200, (), None, b"", native)


def unreached(deliver: Deliver) -> bool:
    """``wait_for_ready``: no endpoint yet is no reason to fail."""
    outcome = deliver.outcome
    return isinstance(outcome, Failure) and outcome.cause in UNREACHED


def best(states: Iterable[grpc.ChannelConnectivity]) -> grpc.ChannelConnectivity:
    return min(states, key=RANKS.index, default=grpc.ChannelConnectivity.IDLE)
