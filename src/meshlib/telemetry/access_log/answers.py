"""How a call ended, in Envoy's words: flags, details, gRPC status."""

import re

from ...dataplane import CallEnded, Cause, Response
from ...dataplane.statuses import http_to_grpc
from ..details import details_of, flags_of

LONG_FLAGS = {
    "LH": "FailedLocalHealthCheck",
    "UH": "NoHealthyUpstream",
    "UT": "UpstreamRequestTimeout",
    "LR": "LocalReset",
    "UR": "UpstreamRemoteReset",
    "UF": "UpstreamConnectionFailure",
    "UC": "UpstreamConnectionTermination",
    "UO": "UpstreamOverflow",
    "NR": "NoRouteFound",
    "DI": "DelayInjected",
    "FI": "FaultInjected",
    "RL": "RateLimited",
    "UAEX": "UnauthorizedExternalService",
    "RLSE": "RateLimitServiceError",
    "DC": "DownstreamConnectionTermination",
    "URX": "UpstreamRetryLimitExceeded",
    "SI": "StreamIdleTimeout",
    "IH": "InvalidEnvoyRequestHeaders",
    "DPE": "DownstreamProtocolError",
    "UMSDR": "UpstreamMaxStreamDurationReached",
    "RFCF": "ResponseFromCacheFilter",
    "NFCF": "NoFilterConfigFound",
    "DT": "DurationTimeout",
    "UPE": "UpstreamProtocolError",
    "NC": "NoClusterFound",
    "OM": "OverloadManagerTerminated",
    "DF": "DnsResolutionFailed",
    "DO": "DropOverLoad",
    "DR": "DownstreamRemoteReset",
    "UDO": "UnconditionalDropOverload",
}

GRPC_NAMES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound"),
    *("AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition"),
    *("Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss"),
    "Unauthenticated",
)
GRPC_SNAKES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
FAILED = {Cause.TIMEOUT: 4, Cause.DEADLINE: 4, Cause.CANCELLED: 1, Cause.LOCAL: 13}
"""The status that a gRPC caller sees of a failure without one of its own; 14 of the others."""

_REASON = re.compile(r"\{[^|{}]*\|(.*)\}", re.DOTALL)
_SPACES = re.compile(r"\s")


def flags(event: CallEnded) -> tuple[str, ...]:
    return flags_of(event.record, event.outcome)


def short_flags(event: CallEnded) -> str:
    return ",".join(flags_of(event.record, event.outcome)) or "-"


def long_flags(event: CallEnded) -> str:
    return ",".join([LONG_FLAGS[flag] for flag in flags(event)]) or "-"


def grpc_status(event: CallEnded) -> int | None:
    """``None`` of calls that are not gRPC's."""
    outcome = event.outcome
    if not event.record.request.is_grpc:
        return None
    if outcome.grpc_status is not None:
        return outcome.grpc_status
    if isinstance(outcome, Response):
        return 0 if outcome.status == 200 else http_to_grpc(outcome.status)
    return FAILED.get(outcome.cause, 14)


def grpc_camel(event: CallEnded) -> str | None:
    return _named(GRPC_NAMES, grpc_status(event))


def grpc_snake(event: CallEnded) -> str | None:
    return _named(GRPC_SNAKES, grpc_status(event))


def _named(names: tuple[str, ...], status: int | None) -> str | None:
    if status is None:
        return None
    return names[status] if 0 <= status < len(names) else str(status)


def details(event: CallEnded) -> str | None:
    """Why the answer is what it is, as Envoy has it, spaces and all."""
    return details_of(event) or None


def details_in_one_word(event: CallEnded) -> str | None:
    found = details_of(event)
    if found.isidentifier():  # most are one word
        return found
    return _SPACES.sub("_", found) or None


def transport_failure(event: CallEnded) -> str | None:
    """Why there was no connection to the endpoint, as the details have it."""
    if isinstance(event.outcome, Response) and not event.record.details:
        return None
    reason = _REASON.search(details_of(event))
    return None if reason is None else _SPACES.sub("_", reason[1])
