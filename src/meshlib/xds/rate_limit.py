"""Envoy's rate limit service on the wire (``envoy.service.ratelimit.v3``)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from .protos import message_class

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
REQUEST = "envoy.service.ratelimit.v3.RateLimitRequest"
RESPONSE = "envoy.service.ratelimit.v3.RateLimitResponse"

T = TypeVar("T")
Headers = tuple[tuple[str, str], ...]
Descriptor = Sequence[tuple[str, str]]

OK, OVER_LIMIT = 1, 2
DAY = 24 * 3600
WINDOWS = {1: 1, 2: 60, 3: 3600, 4: DAY, 5: 30 * DAY, 6: 365 * DAY, 7: 7 * DAY}
"""Seconds in the units of a limit."""


def encode_request(domain: str, descriptors: Iterable[Descriptor]) -> bytes:
    request: Any = message_class(REQUEST)(domain=domain)
    for descriptor in descriptors:
        made = request.descriptors.add()
        for key, value in descriptor:
            made.entries.add(key=key, value=_text(value))
    encoded: bytes = request.SerializeToString(deterministic=True)
    return encoded


def _text(value: str) -> str:
    """What a caller sent in bytes that are no text is told apart no further."""
    return (
        value
        if value.isascii()
        else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )


def decode_response(message: bytes, make: Callable[..., T]) -> T:
    """What the service said, as ``make`` takes it: with the fields of a verdict by name."""
    response: Any = message_class(RESPONSE)()
    try:
        response.ParseFromString(message)
    except DecodeError as error:
        return make(ok=None, detail=f"the rate limit service sent garbage: {error}")
    if response.overall_code not in (OK, OVER_LIMIT):
        said = f"the rate limit service said neither yes nor no: {response.overall_code}"
        return make(ok=None, detail=said)
    return make(
        ok=response.overall_code == OK,
        request_headers=_headers(response.request_headers_to_add),
        response_headers=_headers(response.response_headers_to_add),
        body=bytes(response.raw_body),
        **_limit(response.statuses),
    )


def _headers(values: Iterable[Any]) -> Headers:
    return tuple(
        (header.key.lower(), header.value or header.raw_value.decode("latin-1"))
        for header in values
    )


def _limit(statuses: Iterable[Any]) -> dict[str, Any]:
    """The nearest limit, followed by all of them as a quota policy (draft-polli-ratelimit)."""
    known = [status for status in statuses if status.HasField("current_limit")]
    if not known:
        return {}
    nearest = min(known, key=lambda status: int(status.limit_remaining))
    policies = [str(nearest.current_limit.requests_per_unit)]
    for status in known:
        limit = status.current_limit
        if limit.unit in WINDOWS:
            named = f';name="{limit.name}"' if limit.name else ""
            policies.append(f"{limit.requests_per_unit};w={WINDOWS[limit.unit]}{named}")
    return {
        "limit": ", ".join(policies),
        "remaining": nearest.limit_remaining,
        "reset": nearest.duration_until_reset.ToNanoseconds() / 1e9,
    }
