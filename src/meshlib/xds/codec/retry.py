"""Retries and hedging ⇄ the model's policies.

Values are written out even where they are the default: clients differ in what unset means.
"""

from ...model import (
    RETRY_CONDITIONS,
    HedgePolicy,
    Metadata,
    RateLimitedRetryBackOff,
    ResetHeader,
    RetryBackOff,
    RetryPolicy,
    Struct,
)
from ...model.metadata import SOURCE_FILTER
from .matcher import decode_fraction, decode_header, encode_fraction, encode_header
from .wire import Fields, Reader, duration, packed, wrapped

PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
PREVIOUS_HOSTS_TYPE = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
PREVIOUS_PRIORITIES = "envoy.retry_priorities.previous_priorities"
PREVIOUS_PRIORITIES_TYPE = (
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
)
MILLION = 1_000_000
HEDGING_DELAY = "hedging_delay"


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
        "retriable_headers": [encode_header(h) for h in policy.retriable_headers],
        "retriable_request_headers": [encode_header(h) for h in policy.retriable_request_headers],
        "rate_limited_retry_back_off": _encode_rate_limited(policy.rate_limited_retry_back_off),
        "retry_host_predicate": [previous] if policy.previous_hosts else None,
        "host_selection_retry_max_attempts": policy.host_selection_retry_max_attempts,
        "retry_priority": _encode_priority(policy.previous_priorities),
    }


def decode_retry_policy(reader: Reader, field: str = "retry_policy") -> RetryPolicy | None:
    policy = reader.optional_child(field)
    if policy is None:
        return None
    if policy.has("per_try_idle_timeout"):
        policy.drop("per_try_idle_timeout")  # obeyed no further than up to the answer's headers
    words = (word.strip() for word in policy.text("retry_on").split(","))
    found = RetryPolicy(
        retry_on=tuple(word for word in words if word),
        num_retries=policy.number("num_retries", 1, low=1),
        per_try_timeout=policy.optional_seconds("per_try_timeout"),
        per_try_idle_timeout=policy.optional_seconds("per_try_idle_timeout"),
        retriable_status_codes=policy.numbers("retriable_status_codes"),
        retry_back_off=_decode_back_off(policy),
        retriable_headers=tuple(map(decode_header, policy.children("retriable_headers"))),
        retriable_request_headers=tuple(
            map(decode_header, policy.children("retriable_request_headers"))
        ),
        rate_limited_retry_back_off=_decode_rate_limited(policy),
        previous_hosts=_decode_previous_hosts(policy),
        host_selection_retry_max_attempts=policy.number("host_selection_retry_max_attempts") or 1,
        previous_priorities=_decode_priority(policy),
    )
    if not RETRY_CONDITIONS.issuperset(found.retry_on):
        policy.drop("retry_on")
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


def _encode_rate_limited(back_off: RateLimitedRetryBackOff | None) -> Fields | None:
    if back_off is None:
        return None
    return {
        "reset_headers": [
            {"name": header.name, "format": header.format.upper()}
            for header in back_off.reset_headers
        ],
        "max_interval": duration(back_off.max_interval),
    }


def _decode_rate_limited(policy: Reader) -> RateLimitedRetryBackOff | None:
    reader = policy.optional_child("rate_limited_retry_back_off")
    if reader is None:
        return None
    headers = tuple(
        ResetHeader(name=header.text("name", required=True), format=header.enum("format").lower())
        for header in reader.children("reset_headers")
    )
    if not headers:
        reader.problem("must not be empty", "reset_headers")
    longest = reader.seconds("max_interval", 300.0, positive=True)
    return RateLimitedRetryBackOff(reset_headers=headers, max_interval=longest)


def _decode_previous_hosts(policy: Reader) -> bool:
    found = False
    for predicate in policy.children("retry_host_predicate", lambda message: message.name):
        if predicate.text("name") == PREVIOUS_HOSTS:
            predicate.skip("typed_config")
            found = True
        else:
            predicate.drop()
    return found


def _encode_priority(update_frequency: int | None) -> Fields | None:
    if update_frequency is None:
        return None
    config = packed(PREVIOUS_PRIORITIES_TYPE, {"update_frequency": update_frequency})
    return {"name": PREVIOUS_PRIORITIES, "typed_config": config}


def _decode_priority(policy: Reader) -> int | None:
    reader = policy.optional_child("retry_priority")
    if reader is None:
        return None
    type_name, config = reader.extension("typed_config")
    if type_name != PREVIOUS_PRIORITIES_TYPE or config is None:
        reader.drop()
        return None
    reader.skip("name")
    return config.number("update_frequency", low=1)


def encode_hedge_policy(policy: HedgePolicy | None) -> Fields | None:
    """All but ``hedging_delay``, for which :func:`with_hedging_delay` finds a place."""
    if policy is None:
        return None
    chance = round(policy.additional_request_chance * MILLION / 100)
    return {
        "initial_requests": wrapped(policy.initial_requests),
        "additional_request_chance": encode_fraction(chance, MILLION),
        "hedge_on_per_try_timeout": policy.hedge_on_per_try_timeout,
    }


def decode_hedge_policy(holder: Reader, delay: float | None) -> HedgePolicy | None:
    reader = holder.optional_child("hedge_policy")
    if reader is None:
        return None
    numerator, denominator = decode_fraction(reader.child("additional_request_chance"))
    return HedgePolicy(
        initial_requests=reader.number("initial_requests", 1, low=1),
        additional_request_chance=min(100.0, numerator * 100 / denominator),
        hedge_on_per_try_timeout=reader.flag("hedge_on_per_try_timeout"),
        hedging_delay=delay,
    )


def with_hedging_delay(metadata: Metadata, policy: HedgePolicy | None) -> Metadata:
    """The proto has no such field: it rides in the metadata of the route or virtual host."""
    if policy is None or policy.hedging_delay is None:
        return metadata
    filters = dict(metadata.filter_metadata)
    fields = dict(filters.get(SOURCE_FILTER, Struct()).fields)
    fields[HEDGING_DELAY] = policy.hedging_delay
    filters[SOURCE_FILTER] = Struct(tuple(sorted(fields.items(), key=_name)))
    return Metadata(tuple(sorted(filters.items(), key=_name)))


def without_hedging_delay(metadata: Metadata) -> tuple[Metadata, float | None]:
    delay = metadata.get(SOURCE_FILTER, HEDGING_DELAY)
    if isinstance(delay, bool) or not isinstance(delay, float) or delay < 0:
        return metadata, None
    filters = dict(metadata.filter_metadata)
    left = tuple(f for f in filters.pop(SOURCE_FILTER).fields if f[0] != HEDGING_DELAY)
    if left:
        filters[SOURCE_FILTER] = Struct(left)
    return Metadata(tuple(sorted(filters.items(), key=_name))), delay


def _name(entry: tuple[str, object]) -> str:
    return entry[0]
