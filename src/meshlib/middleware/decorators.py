"""Marks for handlers of servers: what is to stand before them, written beside them.

A mark changes nothing of the function itself. The server hooks of the mesh read it; without the
mesh the handler is what it was. A filter of the configuration wins over a mark of its kind.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from ..model import (
    ALWAYS,
    Fault,
    FaultAbort,
    FaultDelay,
    FilterConfig,
    HttpFilter,
    LocalDescriptor,
    LocalRateLimit,
    Percentage,
    RateLimit,
    RateLimitAction,
    RemoteAddress,
    RequestHeader,
    TokenBucket,
)

if TYPE_CHECKING:
    import grpc

H = TypeVar("H")

MARK = "__meshlib_filters__"
"""Where the server hooks find what a handler is marked with, the outermost decorator first."""

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
RATE = re.compile(r"(\d{1,9})/([smhd])")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
DURATIONS = {"ms": 1e-3, "s": 1.0, "m": 60.0}
CALLERS = 10_000
"""Callers of one handler that have a bucket of their own at a time; the idlest are forgotten."""

_numbers = count(1)


def rate_limit(rate: str, *, burst: int | None = None, key: str | None = None) -> Callable[[H], H]:
    """Let no more than ``rate`` calls ("100/s", or per "m", "h", "d") reach this handler.

    ``burst`` calls at once are let through after a quiet time, as many as in ``rate`` unless
    said. ``key`` gives each caller an allowance of its own: "header:x-user" by that header,
    "peer" by its address; calls without it share one more. Others are answered with 429 or
    RESOURCE_EXHAUSTED, and ``retry-after``. Counted by each process for itself.

    Raises :class:`ValueError` for a rate, a burst or a key that is none.
    """
    read = RATE.fullmatch(rate)
    if read is None or not int(read[1]):
        raise ValueError(f"{rate!r} is no rate such as '100/s' (s, m, h or d; at least 1)")
    if burst is not None and (burst < 1 or burst != int(burst)):
        raise ValueError(f"burst must be at least 1, and whole, is {burst!r}")
    number, interval = int(read[1]), UNITS[read[2]]
    bucket = TokenBucket(max_tokens=burst or number, tokens_per_fill=number, fill_interval=interval)
    config = LocalRateLimit(
        token_bucket=bucket,
        filter_enabled=ALWAYS,
        filter_enforced=ALWAYS,
        rate_limited_as_resource_exhausted=True,
        always_consume_default_token_bucket=False,
        max_dynamic_descriptors=CALLERS,
    )
    return marking("rate_limit", config if key is None else _by_caller(config, key, bucket))


def _by_caller(config: LocalRateLimit, key: str, bucket: TokenBucket) -> LocalRateLimit:
    action: RateLimitAction
    if key == "peer":
        name, action = "remote_address", RemoteAddress()
    elif key.startswith("header:") and key != "header:":
        name = key.removeprefix("header:").lower()
        action = RequestHeader(header_name=name, descriptor_key=name)
    else:
        raise ValueError(f"{key!r} is no key such as 'header:x-user' or 'peer'")
    descriptor = LocalDescriptor(entries=((name, ""),), token_bucket=bucket)
    limits = (RateLimit(actions=(action,)),)
    return replace(config, descriptors=(descriptor,), rate_limits=limits)


def fault(
    *,
    delay: float | str | None = None,
    abort: "int | grpc.StatusCode | None" = None,
    percent: float = 100.0,
) -> Callable[[H], H]:
    """Delay calls to this handler, or answer in its place, on purpose.

    ``delay`` in seconds, or as "100ms", "2s"; ``abort`` an HTTP status (200 to 599; gRPC callers
    get the status that it means to gRPC) or a ``grpc.StatusCode``; ``percent`` of the calls, of
    those delayed and those aborted each by a roll of its own.

    Raises :class:`ValueError` for what is none of these.
    """
    if delay is None and abort is None:
        raise ValueError("give a delay, an abort, or both")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be from 0 to 100, is {percent!r}")
    share = Percentage(numerator=round(percent * 10_000), denominator=1_000_000)
    config = Fault(
        delay=None if delay is None else FaultDelay(fixed_delay=_seconds(delay), percentage=share),
        abort=None if abort is None else _abort(abort, share),
    )
    return marking("fault", config)


def _seconds(delay: float | str) -> float:
    if isinstance(delay, str):
        read = DURATION.fullmatch(delay)
        if read is None:
            raise ValueError(f"{delay!r} is no delay such as '100ms', '1.5s' or '1m'")
        return float(read[1]) * DURATIONS[read[2]]
    if not 0 <= delay < float("inf"):
        raise ValueError(f"a delay must not be less than 0 nor endless, is {delay!r}")
    return float(delay)


def _abort(abort: "int | grpc.StatusCode", share: Percentage) -> FaultAbort:
    if isinstance(abort, int):
        if not 200 <= abort < 600:
            raise ValueError(f"{abort!r} is no HTTP status from 200 to 599")
        return FaultAbort(http_status=abort, percentage=share)
    code = getattr(abort, "value", None)
    if not isinstance(code, tuple):
        raise ValueError(f"{abort!r} is neither an HTTP status nor a grpc.StatusCode")  # noqa: TRY004
    return FaultAbort(grpc_status=int(code[0]), percentage=share)


def marking(kind: str, config: FilterConfig) -> Callable[[H], H]:
    def mark(handler: H) -> H:
        # A name of its own: two handlers marked alike do not share their tokens.
        named = getattr(handler, "__qualname__", type(handler).__name__)
        made = HttpFilter(name=f"meshlib.{kind}/{named}/{next(_numbers)}", config=config)
        try:
            setattr(handler, MARK, (made, *getattr(handler, MARK, ())))
        except AttributeError:
            raise TypeError(f"{handler!r} is no function or class that can be marked") from None
        return handler

    return mark
