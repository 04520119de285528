"""Why an answer is what it is, by Envoy's response flags and response code details."""

import errno
import os

from ..dataplane import CallEnded, CallRecord, Cause, Failure, Outcome, Response
from ..model.telemetry import RESPONSE_FLAGS

JUDGED = "rbac_access_denied"
VIA_UPSTREAM = "via_upstream"
MOST = 200
"""Characters of what a library says of a connection."""

SAID = {
    Cause.REFUSED: "upstream_reset_before_response_started{remote_refused_stream_reset}",
    Cause.DEADLINE: "max_duration_timeout",
    Cause.CANCELLED: "downstream_remote_disconnect",
    Cause.OVERFLOW: "upstream_reset_before_response_started{overflow}",
    Cause.NO_ENDPOINT: "no_healthy_upstream",
    Cause.NO_ROUTE: "route_not_found",
    Cause.NO_CLUSTER: "cluster_not_found",
    Cause.NO_CONFIG: "route_configuration_not_found",
    Cause.NO_FILTER_CONFIG: "",  # Envoy has none for it
    Cause.DROP_OVERLOAD: "drop_overload",
    Cause.UNAUTHORIZED: "ext_authz_denied",
    Cause.UNCLEAN: "path_normalization_failed",
    Cause.RATE_LIMITED: "request_rate_limited",
    Cause.RATE_LIMIT_SERVICE: "rate_limiter_error",
    Cause.FAULT: "fault_filter_abort",
    Cause.OVERLOADED: "overload",
    Cause.BLOCKED: "route_not_found",
    Cause.LOCAL: "local_reset",
}
"""Of failures for which there is one word."""

ANSWERED = {
    cause.value: SAID[cause]
    for cause in (
        Cause.FAULT,
        Cause.RATE_LIMITED,
        Cause.RATE_LIMIT_SERVICE,
        Cause.UNAUTHORIZED,
        Cause.OVERLOADED,
        Cause.UNCLEAN,
        Cause.NO_CLUSTER,
        Cause.NO_FILTER_CONFIG,
    )
}
"""By the flag that a filter, or the route, leaves where it gives an answer of its own."""

BROKEN = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
)


def flags_of(record: CallRecord, outcome: Outcome) -> tuple[str, ...]:
    """Envoy's response flags, in the order in which it sets them."""
    if isinstance(outcome, Response) and not (record.flags or record.retries_exhausted):
        return ()
    caused = outcome.cause.flags if isinstance(outcome, Failure) else ()
    exhausted = ("URX",) if record.retries_exhausted else ()
    told = dict.fromkeys((*record.flags, *exhausted, *caused))
    if not told:
        return ()
    judged = record.details.startswith(JUDGED)  # of which Envoy leaves no flag
    return tuple(f for f in told if f in RESPONSE_FLAGS and not (judged and f == "UAEX"))


def details_of(event: CallEnded) -> str:
    """What a filter said of it, or what follows from how the call ended."""
    record, outcome = event.record, event.outcome
    if record.details:
        return record.details
    if isinstance(outcome, Failure):
        return _of_failure(event, outcome)
    if record.flags:
        for flag, said in ANSWERED.items():
            if flag in record.flags:
                return said
    return VIA_UPSTREAM if record.attempts or record.inbound else "direct_response"


def _of_failure(event: CallEnded, failure: Failure) -> str:
    record = event.record
    match failure.cause:
        case Cause.CONNECT:
            return f"upstream_reset_before_response_started{{{_unreached(failure)}}}"
        case Cause.RESET:
            when = "after" if _has_begun(record) else "before"
            return f"upstream_reset_{when}_response_started{{connection_termination}}"
        case Cause.TIMEOUT:
            return _late(event)
        case cause:
            return SAID[cause]


def _has_begun(record: CallRecord) -> bool:
    meter = record.request.meter
    began = None if meter is None else meter.response_began
    return began is not None and began >= record.attempt_began


def _late(event: CallEnded) -> str:
    """The route's time was over, or that of the last attempt."""
    route = event.record.route
    forward = None if route is None else route.forward
    policy = None if forward is None else forward.retry_policy
    if forward is None or policy is None or not policy.per_try_timeout:
        return "response_timeout"
    left = (forward.timeout or event.duration + 1) + event.record.held
    return "response_timeout" if event.duration >= left else "upstream_per_try_timeout"


def _unreached(failure: Failure) -> str:
    """gRPC and aiohttp have words of their own around those of the system."""
    native = getattr(failure.native, "os_error", None)
    number = getattr(native, "errno", None)
    told = f"{failure.detail} {failure.native}"
    for each in BROKEN:
        word = os.strerror(each)
        if number == each or word in told:
            return f"remote_connection_failure|delayed_connect_error:_{'_'.join(word.split())}"
    said = "_".join(failure.detail[:MOST].split())
    return f"remote_connection_failure|{said}" if said else "remote_connection_failure"
