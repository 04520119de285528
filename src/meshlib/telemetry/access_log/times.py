"""How long the parts of a call took, in whole milliseconds as Envoy has them."""

from collections.abc import Callable

from ...dataplane import CallEnded, Cause, Failure, Response
from .values import Read

Moment = Callable[[CallEnded], float | None]
"""On the mesh's clock."""

NANOSECONDS = 1_000_000_000
MILLISECOND = 1_000_000
UNITS = {"ms": MILLISECOND, "us": 1_000, "ns": 1}


def whole(seconds: float, unit: int = MILLISECOND) -> int:
    """Cut off, as Envoy does, but not because a float is a little less than what was meant."""
    return round(seconds * NANOSECONDS) // unit


def began(event: CallEnded) -> float:
    return event.record.started


def ended(event: CallEnded) -> float:
    return event.record.started + event.duration


def request_ended(event: CallEnded) -> float | None:
    """When the request had come, or had gone, to its last byte. One that was never sent is at hand
    from the beginning."""
    record = event.record
    meter = record.request.meter
    if meter is not None and meter.request_ended is not None:
        return meter.request_ended
    return None if record.attempts or record.inbound else record.started


def attempt_began(event: CallEnded) -> float | None:
    record = event.record
    return record.attempt_began if record.attempts else None


def attempt_sent(event: CallEnded) -> float | None:
    """The last attempt is sent when the request has come and the attempt has begun; nothing is
    where there was no connection."""
    record, outcome = event.record, event.outcome
    if not record.attempts or (isinstance(outcome, Failure) and outcome.cause is Cause.CONNECT):
        return None
    came = request_ended(event)
    return None if came is None else max(record.attempt_began, came)


def response_began(event: CallEnded) -> float | None:
    """An answer without a message begins where it ends."""
    record = event.record
    meter = record.request.meter
    if meter is not None and meter.response_began is not None:
        return meter.response_began
    return ended(event) if record.attempts and isinstance(event.outcome, Response) else None


def response_ended(event: CallEnded) -> float | None:
    return None if response_began(event) is None else ended(event)


MOMENTS: dict[str, Moment] = {
    "DS_RX_BEG": began,
    "DS_RX_END": request_ended,
    "US_TX_BEG": attempt_began,
    "US_TX_END": attempt_sent,
    "US_RX_BEG": response_began,
    "US_RX_END": response_ended,
    "DS_TX_END": ended,
}


def span(begin: Moment, end: Moment, unit: int = MILLISECOND) -> Read:
    """``None`` where one of the two never came, or they came the other way round."""

    def measure(event: CallEnded) -> int | None:
        first, last = begin(event), end(event)
        if first is None or last is None or last < first:
            return None
        return whole(last - first, unit)

    return measure


def duration(event: CallEnded) -> int:
    return round(event.duration * NANOSECONDS) // MILLISECOND


def service_time(event: CallEnded) -> str | None:
    """What Envoy's router tells callers in ``x-envoy-upstream-service-time``: from the last byte
    of the request until the answer began."""
    answered = response_began(event)
    sent = None if answered is None else attempt_sent(event)
    if answered is None or sent is None:
        return None
    return str(max(0, round((answered - sent) * NANOSECONDS) // MILLISECOND))


DURATIONS: dict[str, Read] = {
    "DURATION": duration,
    "REQUEST_DURATION": span(began, request_ended),
    "REQUEST_TX_DURATION": span(began, attempt_sent),
    "RESPONSE_DURATION": span(began, response_began),
    "RESPONSE_TX_DURATION": span(response_began, ended),
}
