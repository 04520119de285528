"""``CircuitBreakers`` ⇄ :class:`CircuitBreakers`."""

from dataclasses import replace

from ...model import CircuitBreakers, RetryBudget, Thresholds
from .wire import Fields, Reader, wrapped

LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")


def encode_circuit_breakers(breakers: CircuitBreakers) -> Fields | None:
    if breakers == CircuitBreakers():
        return None
    levels = (("DEFAULT", breakers.default), ("HIGH", breakers.high))
    per_host = wrapped(breakers.default.max_connections_per_host)
    return {
        "thresholds": [_encode_thresholds(name, level) for name, level in levels],
        "per_host_thresholds": [{"max_connections": per_host}] if per_host else None,
    }


def decode_circuit_breakers(cluster: Reader) -> CircuitBreakers:
    reader = cluster.child("circuit_breakers")
    levels: dict[str, Thresholds] = {}
    for thresholds in reader.children("thresholds"):
        priority = thresholds.enum("priority").lower()
        if priority in levels:  # the first one counts
            thresholds.drop()
        else:
            levels[priority] = _decode_thresholds(thresholds)
    default = levels.get("default", Thresholds())
    per_host = _decode_per_host(reader)
    return CircuitBreakers(
        default=replace(default, max_connections_per_host=per_host),
        high=levels.get("high", Thresholds()),
    )


def _encode_thresholds(priority: str, thresholds: Thresholds) -> Fields:
    budget = thresholds.retry_budget
    return {
        "priority": priority,
        **{limit: wrapped(getattr(thresholds, limit)) for limit in LIMITS},
        "retry_budget": budget
        and {
            "budget_percent": wrapped(budget.budget_percent),
            "min_retry_concurrency": wrapped(budget.min_retry_concurrency),
        },
    }


def _decode_thresholds(reader: Reader) -> Thresholds:
    default = Thresholds()
    limits = {limit: reader.number(limit, getattr(default, limit)) for limit in LIMITS}
    return Thresholds(**limits, retry_budget=_decode_retry_budget(reader))


def _decode_per_host(reader: Reader) -> int | None:
    """Envoy, too, knows one limit a host: connections, of the default priority."""
    found: int | None = None
    for thresholds in reader.children("per_host_thresholds"):
        if thresholds.enum("priority") != "DEFAULT" or found is not None:
            thresholds.drop()
        else:
            found = thresholds.optional_number("max_connections")
    return found


def _decode_retry_budget(thresholds: Reader) -> RetryBudget | None:
    reader = thresholds.optional_child("retry_budget")
    if reader is None:
        return None
    default = RetryBudget()
    percent = reader.percent("budget_percent")
    return RetryBudget(
        budget_percent=default.budget_percent if percent is None else percent,
        min_retry_concurrency=reader.number("min_retry_concurrency", default.min_retry_concurrency),
    )
