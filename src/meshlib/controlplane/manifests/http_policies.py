"""What a rule of a VirtualService does besides forwarding: faults, copies, CORS, retries."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from .http_match import StringMatch
from .piece import Duration, Flaw, Percent, Piece, Port, Text
from .retry_on import unknown_conditions

GRPC_STATUSES = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}


class Percentage(Piece, frozen=True):
    value: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0


class FaultDelay(Piece, frozen=True):
    fixed_delay: Duration | None = None
    percentage: Percentage | None = None
    percent: Percent = 0
    NOT_YET = frozenset({"exponentialDelay"})

    @property
    def per_cent(self) -> float:
        """``percent`` is the older word of the two."""
        return float(self.percent) if self.percentage is None else self.percentage.value

    def rules(self) -> Iterator[Flaw]:
        if not self.fixed_delay:
            yield Flaw((), "fixedDelay is missing")


class FaultAbort(Piece, frozen=True):
    http_status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    grpc_status: str = ""
    percentage: Percentage | None = None
    NOT_YET = frozenset({"http2Error"})

    def rules(self) -> Iterator[Flaw]:
        if self.http_status is not None and self.grpc_status:
            yield Flaw((), "httpStatus and grpcStatus exclude each other")
        elif self.http_status is None and not self.grpc_status:
            yield Flaw((), "one of httpStatus and grpcStatus is missing")
        if self.grpc_status and self.grpc_status not in GRPC_STATUSES:
            said = f"{self.grpc_status!r} is no status of gRPC"
            yield Flaw(("grpcStatus",), said, "a name such as UNAVAILABLE")


class HTTPFaultInjection(Piece, frozen=True):
    delay: FaultDelay | None = None
    abort: FaultAbort | None = None

    def rules(self) -> Iterator[Flaw]:
        if self.delay is None and self.abort is None:
            yield Flaw((), "one of delay and abort is missing")


class PortSelector(Piece, frozen=True):
    number: Port


class Destination(Piece, frozen=True):
    host: Text
    subset: str = ""
    port: PortSelector | None = None


class HTTPMirrorPolicy(Piece, frozen=True):
    destination: Destination
    percentage: Percentage | None = None


class CorsPolicy(Piece, frozen=True):
    allow_origins: tuple[StringMatch, ...] = ()
    allow_origin: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"

    def rules(self) -> Iterator[Flaw]:
        for index, origin in enumerate(self.allow_origins):
            if origin.is_empty:
                where = ("allowOrigins", index)
                yield Flaw(where, "one of exact, prefix or regex is missing")
        if self.max_age is not None and self.max_age % 1:
            yield Flaw(("maxAge",), "maxAge is counted in whole seconds")


class HTTPRetry(Piece, frozen=True):
    """``retry_ignore_previous_hosts`` unset: yes, but not where calls stick to a host."""

    attempts: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    retry_remote_localities: bool = False
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None

    def rules(self) -> Iterator[Flaw]:
        for word in unknown_conditions(self.retry_on):
            yield Flaw(("retryOn",), f"{word!r} is no retry condition")
