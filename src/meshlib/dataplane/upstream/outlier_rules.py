"""What outlier detection makes of single calls, and of the sums of an interval."""

from collections.abc import Collection, Mapping, Sequence
from math import sqrt
from typing import Literal, TypeVar

from ..message import Cause, Failure, Outcome
from ..statuses import grpc_to_http

LOCAL_ORIGIN = {
    Cause.CONNECT: 503,
    Cause.REFUSED: 503,
    Cause.RESET: 503,
    Cause.TIMEOUT: 504,
    Cause.DEADLINE: 504,
}
"""What was seen on this side instead of an answer, and the HTTP status that it counts as."""

GATEWAY = (502, 503, 504)

Reason = Literal[
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "success_rate",
    "success_rate_local_origin",
    "failure_percentage",
    "failure_percentage_local_origin",
]
"""Why an endpoint is ejected: the names of ``envoy.data.cluster.v3.OutlierEjectionType``."""

H = TypeVar("H")
Rates = Mapping[H, tuple[float, int]]
"""By endpoint: the share of calls that went well, in per cent, and how many there were."""


def status_of(outcome: Outcome) -> int | None:
    """The HTTP status that a call counts as; ``None``: it says nothing of its endpoint.

    That is a call which its caller gave up, or which failed by the caller's own code.
    """
    if isinstance(outcome, Failure):
        return LOCAL_ORIGIN.get(outcome.cause)
    if outcome.grpc_status is not None:
        return grpc_to_http(outcome.grpc_status)
    return outcome.status


def is_error(status: int, error_statuses: Collection[int]) -> bool:
    return status in error_statuses if error_statuses else 500 <= status < 600


def success_rate_threshold(rates: Sequence[float], stdev_factor: int) -> float:
    """Mean minus ``stdev_factor`` thousandths of the population's deviation (gRFC A50).

    Where all are alike it is the mean, and nobody is below.
    """
    mean = sum(rates) / len(rates)
    variance = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    return mean - stdev_factor / 1000 * sqrt(variance)


def below_success_rate(
    rates: "Rates[H]", *, minimum_hosts: int, request_volume: int, stdev_factor: int
) -> list[H]:
    """Who did worse than the others, of those that had enough calls."""
    judged = {host: rate for host, (rate, volume) in rates.items() if volume >= request_volume}
    if not judged or len(judged) < minimum_hosts:
        return []
    threshold = success_rate_threshold(list(judged.values()), stdev_factor)
    return [host for host, rate in judged.items() if rate < threshold]


def above_failure_percentage(
    rates: "Rates[H]", *, minimum_hosts: int, request_volume: int, threshold: int
) -> list[H]:
    """Who fails too much by itself, of those that had enough calls."""
    judged = {host: rate for host, (rate, volume) in rates.items() if volume >= request_volume}
    if len(judged) < minimum_hosts:
        return []
    return [host for host, rate in judged.items() if 100 - rate >= threshold]
