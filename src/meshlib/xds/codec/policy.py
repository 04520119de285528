"""Retries, circuit breakers and outlier detection ⇄ the model's policies.

Values are written out even where they are the default: clients differ in what unset means.
"""

from dataclasses import fields
from typing import Any

from ...model import (
    RETRY_CONDITIONS,
    CircuitBreakers,
    OutlierDetection,
    RetryBackOff,
    RetryBudget,
    RetryPolicy,
    Thresholds,
)
from .wire import UINT32_MAX, Fields, Reader, duration, packed, wrapped

PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
PREVIOUS_HOSTS_TYPE = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
CONNECTION_LIMITS = ("max_connections", "max_pending_requests")
LIMITS = (*CONNECTION_LIMITS, "max_requests", "max_retries")
OUTLIER_DEFAULTS = OutlierDetection()
OUTLIER_NUMBERS = tuple(
    field.name for field in fields(OutlierDetection) if type(field.default) is int
)
OUTLIER_SECONDS = ("interval", "base_ejection_time", "max_ejection_time")


def encode_retry_policy(policy: RetryPolicy | None) -> Fields | None:
    if policy is None:
        return None
    previous = {"name": PREVIOUS_HOSTS, "typed_config": packed(PREVIOUS_HOSTS_TYPE, {})}
    back_off = policy.retry_back_off
    return {
        "retry_on": ",".join(policy.retry_on),
        "num_retries": wrapped(policy.num_retries),
        "per_try_timeout": duration(policy.per_try_timeout),
        "per_try_idle_timeout": duration(policy.per_try_idle_timeout),
        "retriable_status_codes": policy.retriable_status_codes,
        "retry_back_off": {
            "base_interval": duration(back_off.base_interval),
            "max_interval": duration(back_off.max_interval),
        },
        "retry_host_predicate": [previous] if policy.previous_hosts else None,
        "host_selection_retry_max_attempts": policy.host_selection_retry_max_attempts,
    }


def decode_retry_policy(reader: Reader, field: str = "retry_policy") -> RetryPolicy | None:
    policy = reader.optional_child(field)
    if policy is None:
        return None
    words = (word.strip() for word in policy.text("retry_on").split(","))
    found = RetryPolicy(
        retry_on=tuple(word for word in words if word),
        num_retries=policy.number("num_retries", 1, low=1),
        per_try_timeout=policy.optional_seconds("per_try_timeout"),
        per_try_idle_timeout=policy.optional_seconds("per_try_idle_timeout"),
        retriable_status_codes=policy.numbers("retriable_status_codes"),
        retry_back_off=_decode_back_off(policy),
        previous_hosts=_decode_previous_hosts(policy),
        host_selection_retry_max_attempts=policy.number("host_selection_retry_max_attempts") or 1,
    )
    if not RETRY_CONDITIONS.issuperset(found.retry_on):
        policy.drop("retry_on")
    if found.per_try_idle_timeout:
        policy.drop("per_try_idle_timeout")
    return found


def _decode_back_off(policy: Reader) -> RetryBackOff:
    reader = policy.optional_child("retry_back_off")
    if reader is None:
        return RetryBackOff()
    if not reader.has("base_interval"):
        reader.problem("must be set", "base_interval")
    base = reader.seconds("base_interval", 0.025, positive=True)
    longest = reader.optional_seconds("max_interval", positive=True)
    if longest is not None and longest < base:
        reader.problem("must not be less than base_interval", "max_interval")
    return RetryBackOff(base_interval=base, max_interval=longest)


def _decode_previous_hosts(policy: Reader) -> bool:
    found = False
    for predicate in policy.children("retry_host_predicate", lambda message: message.name):
        if predicate.text("name") == PREVIOUS_HOSTS:
            predicate.skip("typed_config")
            found = True
        else:
            predicate.drop()
    return found


def encode_circuit_breakers(breakers: CircuitBreakers) -> Fields | None:
    if breakers == CircuitBreakers():
        return None
    levels = (("DEFAULT", breakers.default), ("HIGH", breakers.high))
    return {"thresholds": [_encode_thresholds(name, level) for name, level in levels]}


def decode_circuit_breakers(reader: Reader) -> CircuitBreakers:
    levels: dict[str, Thresholds] = {}
    for thresholds in reader.child("circuit_breakers").children("thresholds"):
        priority = thresholds.enum("priority").lower()
        if priority in levels:  # the first one counts
            thresholds.drop()
        else:
            levels[priority] = _decode_thresholds(thresholds)
    return CircuitBreakers(**levels)


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
    given = [limit for limit in CONNECTION_LIMITS if reader.has(limit)]
    limits = {limit: reader.number(limit, getattr(default, limit)) for limit in LIMITS}
    for limit in given:
        if limits[limit] != UINT32_MAX:  # which is how Istio says "no limit"
            reader.drop(limit)
    return Thresholds(**limits, retry_budget=_decode_retry_budget(reader))


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


def encode_outlier_detection(outlier: OutlierDetection | None) -> Fields | None:
    if outlier is None:
        return None
    return {
        **{name: duration(getattr(outlier, name)) for name in OUTLIER_SECONDS},
        **{name: wrapped(getattr(outlier, name)) for name in OUTLIER_NUMBERS},
        "split_external_local_origin_errors": outlier.split_external_local_origin_errors,
    }


def decode_outlier_detection(cluster: Reader) -> OutlierDetection | None:
    reader = cluster.optional_child("outlier_detection")
    if reader is None:
        return None
    base = reader.seconds("base_ejection_time", 30.0, positive=True)
    numbers: dict[str, Any] = {
        name: reader.number(
            name,
            getattr(OUTLIER_DEFAULTS, name),
            high=100 if _is_percentage(name) else None,
        )
        for name in OUTLIER_NUMBERS
    }
    return OutlierDetection(
        interval=reader.seconds("interval", 10.0, positive=True),
        base_ejection_time=base,
        max_ejection_time=reader.seconds("max_ejection_time", max(300.0, base), positive=True),
        split_external_local_origin_errors=reader.flag("split_external_local_origin_errors"),
        **numbers,
    )


def _is_percentage(name: str) -> bool:
    return name.startswith("enforcing_") or name in (
        "max_ejection_percent",
        "failure_percentage_threshold",
    )
