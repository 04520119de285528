"""Facts about calls, for those who count, trace or print them. Observers run under the lock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import CallReport
from .message import Failure, Headers, Outcome, Request

if TYPE_CHECKING:
    from .routing.table import Destination, LiveRoute
    from .upstream.cluster import UpstreamCluster
    from .upstream.endpoint import UpstreamEndpoint


@dataclass(slots=True)
class Tries:
    """What a call had beside its first attempt.

    ``ended``: attempts of which it was told that they are over, before the call was. ``counts``:
    further attempts, by why. ``idle``: seconds between attempts, while there was none.
    """

    ended: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    idle: float = 0.0
    why: str = ""
    since: float = 0.0

    def over(self, at: float, followed_by: str) -> None:
        """An attempt failed, and another is to follow."""
        self.ended += 1
        self.since, self.why = at, followed_by

    def begun(self, why: str, idle: float = 0.0) -> None:
        """There is one attempt more, and before it there was none for so long."""
        self.counts[why] = self.counts.get(why, 0) + 1
        self.idle += idle


@dataclass(slots=True)
class CallRecord:
    """What is known of one call so far; filled in as it goes.

    ``mirror``: it is a copy of another call, made for its own sake.
    """

    request: Request
    started: float
    inbound: bool = False
    route: "LiveRoute | None" = None
    destination: "Destination | None" = None
    cluster: "UpstreamCluster | None" = None
    endpoint: "UpstreamEndpoint | None" = None
    attempts: int = 0
    retries_exhausted: bool = False
    config_version: str = ""
    respond: Callable[[Headers], Headers] | None = None
    flags: tuple[str, ...] = ()
    """Envoy's response flags of what filters did to the call: ``DI``, ``FI``, ``RL`` …"""
    held: float = 0.0
    """Seconds for which a fault held the call: the route's time-out begins after them."""
    mirror: bool = False
    sent: Request | None = None
    """What the route made of the request, where it changes anything."""
    details: str = ""
    """Why a filter answered by itself, in Envoy's words; for those who run the mesh, not for
    callers."""
    attempt_began: float = 0.0
    """When the last attempt was sent, on the mesh's clock; of attempts beside each other, when that
    was sent which is told of."""
    audience: Any = None
    """Whom the listener's configuration wants to be told of the call (``Options.audience``)."""
    tries: Tries | None = None
    """``None``: one attempt, or none, did."""

    def responds(self, change: Callable[[Headers], Headers]) -> None:
        """Change the response headers once more, after whatever changes them so far."""
        before = self.respond
        self.respond = change if before is None else lambda headers: change(before(headers))

    def responds_first(self, change: Callable[[Headers], Headers]) -> None:
        """Change the response headers before whatever changes them so far."""
        after = self.respond
        self.respond = change if after is None else lambda headers: after(change(headers))

    def report(self, outcome: Outcome) -> CallReport:
        """Make the public account of a failure (slow path only)."""
        flags = outcome.cause.flags if isinstance(outcome, Failure) else ()
        flags = tuple(dict.fromkeys((*self.flags, *flags)))
        if self.retries_exhausted:
            flags = (*flags, "URX")
        return CallReport(
            host=self.request.target,
            cluster=self.cluster.name if self.cluster else None,
            route=self.route.config.name if self.route else None,
            endpoint=str(self.endpoint.address) if self.endpoint else None,
            attempts=self.attempts,
            flags=flags,
            detail=outcome.detail if isinstance(outcome, Failure) else "",
            config_version=self.config_version,
            rule=self.route.source if self.route else None,
        )


@dataclass(slots=True)
class CallEnded:
    """A call is over: answered, failed, cancelled or dropped. ``duration`` in seconds.

    ``parties``, noted where anybody may ask: who made the call, and who was called.
    """

    record: CallRecord
    outcome: Outcome
    duration: float
    parties: Any = None


@dataclass(slots=True)
class StreamBegan:
    """A stream was sent, perhaps anew, or let in; of calls that are soon over nobody is told."""

    record: CallRecord


@dataclass(slots=True)
class AttemptFailed:
    """One attempt did not do; another follows. The record tells when, and where, it was sent."""

    record: CallRecord
    outcome: Outcome
    retried_as: str


@dataclass(slots=True)
class AttemptCancelled:
    """An attempt beside others was given up: another one has won, or the caller is gone.

    ``began``: when it was sent, on the mesh's clock.
    """

    record: CallRecord
    began: float


@dataclass(slots=True)
class TriedAgain:
    """A further attempt begins, after others or beside them."""

    record: CallRecord
    why: str


@dataclass(slots=True)
class RetryDenied:
    """An attempt failed, and the policy wants another, but there is none.

    ``reason`` as Envoy has it in the names of its counters: ``overflow`` (too many retries are
    under way, by budget or by number) or ``limit_exceeded`` (the call has had all of its own).
    """

    cluster: str
    reason: str


@dataclass(slots=True)
class ConfigApplied:
    version: str
    listeners: int
    clusters: int


@dataclass(slots=True)
class EndpointEjected:
    """Outlier detection leaves an endpoint out; it comes back by the first sweep after ``until``.

    ``reason`` is named as Envoy names it: ``consecutive_5xx``, ``success_rate``, …
    """

    cluster: str
    endpoint: "UpstreamEndpoint"
    reason: str
    until: float


@dataclass(slots=True)
class EndpointSpared:
    """Outlier detection would have left an endpoint out. ``why`` not is as gRFC A91 names it:
    ``enforcement_percentage``, or ``max_ejection_overflow``: too many are out."""

    cluster: str
    reason: str
    why: str


@dataclass(slots=True)
class EndpointReturned:
    """An ejected endpoint may be called again."""

    cluster: str
    endpoint: "UpstreamEndpoint"


Event = (
    CallEnded
    | StreamBegan
    | AttemptFailed
    | AttemptCancelled
    | TriedAgain
    | RetryDenied
    | ConfigApplied
    | EndpointEjected
    | EndpointSpared
    | EndpointReturned
)
Observer = Callable[[Event], None]
