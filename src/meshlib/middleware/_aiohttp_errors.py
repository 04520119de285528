"""What failed, in the core's words and in aiohttp's."""

import aiohttp

from ..dataplane import CallRecord, Cause, Failure
from ..errors import CallError


class MeshConnectionError(CallError, aiohttp.ClientConnectionError):
    """The mesh could not send a call: no route, no endpoint, overflow, blocked …"""


class MeshTimeoutError(CallError, aiohttp.ServerTimeoutError):
    """A call took longer than its route allows."""


NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)
LATE = frozenset({Cause.TIMEOUT, Cause.DEADLINE})
BROKEN = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientOSError,
    aiohttp.ClientResponseError,
    aiohttp.ClientPayloadError,
    OSError,
)


def cause_of(error: Exception) -> Cause | None:
    """The cause that an exception stands for; ``None``: none of the network's.

    A bare ``TimeoutError`` is the caller's own limit (``ClientTimeout.total``).
    """
    match error:
        case _ if isinstance(error, NEVER_CONNECTED):
            return Cause.CONNECT
        case aiohttp.ClientConnectionResetError():
            return Cause.REFUSED  # aiohttp found the connection closed before it wrote
        case aiohttp.ServerTimeoutError():
            return Cause.TIMEOUT
        case TimeoutError():
            return None
        case _ if isinstance(error, BROKEN):
            return Cause.RESET
        case aiohttp.ClientConnectionError():
            return Cause.LOCAL  # the body could not be made, or the connector is closed
        case _:
            return None


def error_of(failure: Failure, record: CallRecord) -> Exception:
    """aiohttp's own exception where there is one, with ``.mesh``; else one of ours.

    A broken connection after several attempts is ours, too: aiohttp would answer its own by
    making the whole call once more.
    """
    report = record.report(failure)
    native = failure.native
    if not isinstance(native, Exception):
        late = failure.cause in LATE
        return MeshTimeoutError(report) if late else MeshConnectionError(report)
    if record.attempts == 1 or failure.cause is not Cause.RESET:
        native.mesh = report  # type: ignore[attr-defined]
        return native
    error = MeshConnectionError(report)
    error.__cause__ = native
    return error
