"""Calls counted and timed, in numbers of our own: a fiftieth of what an SDK's instrument costs.

A call costs one look-up, by what it takes to tell its kind; the kind itself, with all its labels,
is worked out when a call of it is seen for the first time.
"""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from ...clock import Clock
from ...dataplane import (
    AttemptCancelled,
    AttemptFailed,
    CallEnded,
    CallRecord,
    ConfigApplied,
    EndpointEjected,
    EndpointSpared,
    Event,
    Failure,
    Outcome,
    RetryDenied,
    StreamBegan,
    TriedAgain,
    Tries,
)
from ..peers import UNKNOWN, PeerFacts
from ..peers import Peers as Named
from .attempts import Attempts, Methods, drop
from .calls import OTHER, Kind, Peers, is_strange, kind_of
from .calls import UNKNOWN as NOBODY
from .labels import crowded, is_crowd
from .overrides import Plan
from .series import BYTES, GRPC_SECONDS, LATENCY, SECONDS, Series, Tried

log = logging.getLogger("meshlib")

BOUNDS = LATENCY
"""Seconds: those of :meth:`Recorder.snapshot`."""

MOST = 2000
"""Series of one metric and direction; calls of further kinds are counted together. Whoever calls
here may make up what he likes, so it takes no room of what is called from here."""
STRANGE = 8
"""One in so many of them may be there for a name that a caller gives himself, unproven."""
FULL = 0.9
"""Of a limit that is soon reached."""
REMEMBERED = 4096
"""Looks of calls whose kind is remembered."""

Key = tuple[Plan | None, Kind]


class Known(NamedTuple):
    """What a look leads to. ``held``: objects that the look names by their identity."""

    series: Series
    is_grpc: bool
    held: tuple[Any, ...]


class Recorder:
    """An observer: runs under the mesh's lock, so it only counts.

    ``own_host`` is the service of this member, as ``reviews.default.svc.cluster.local``.
    ``applied`` hears when a configuration is in force; it runs under the lock, too. ``later`` takes
    what is to be done without the lock: to log, since a log handler may call over this very mesh.
    Readers come from any thread, and see each number as it is at some moment.
    """

    def __init__(
        self,
        *,
        peers: Peers | None = None,
        own_host: str = "",
        clock: Clock = float,
        applied: Callable[[float], None] | None = None,
        later: Callable[[Callable[[], None]], None] | None = None,
        most: int = MOST,
    ) -> None:
        self.series: dict[Key, Series] = {}
        self.denied: Counter[tuple[str, str]] = Counter()
        self.ejections: Counter[tuple[str, str]] = Counter()
        self.spared: Counter[tuple[str, str, str]] = Counter()
        self.mirrors: Counter[str] = Counter()
        self.crowded = 0
        self.config: ConfigApplied | None = None
        self.applied = 0
        self.applied_at: float | None = None
        self._clock = clock
        self._tell_applied = applied
        self._later = later or _now
        self._peers: Peers = peers or Named()
        self._own_host = own_host
        self._most = most
        self._counted = [0, 0]
        self._strange = 0
        self._known: dict[tuple[Any, ...], Known] = {}
        self._methods = Methods()
        self.attempts = Attempts(self._methods, clock, most)

    def __call__(self, event: Event) -> None:
        if type(event) is not CallEnded:
            self._seldom(event)
            return
        record, outcome, seconds = event.record, event.outcome, event.duration
        if record.mirror:
            self.mirrors["" if record.cluster is None else record.cluster.name] += 1
            return
        request, cluster, audience = record.request, record.cluster, record.audience
        inbound, flags = record.inbound, record.flags
        if inbound:
            peer = self._peers.source_of(record)
            where: Any = request.connection.peer.secure
        else:
            peer = self._peers.destination_of(record, outcome)
            where = request.target, cluster is None and record.route is None
        plan: Plan | None = None if audience is None else audience.stats
        tags = None if plan is None else plan.tags(event)
        look = (
            where,
            id(cluster),
            id(peer),
            outcome.grpc_status,
            outcome.cause.value if type(outcome) is Failure else outcome.status,  # type: ignore[union-attr]
            request.path if request.is_grpc else None,
            (flags, "URX") if record.retries_exhausted else flags,
            None if plan is None else (id(plan), tags),
        )
        known = self._known.get(look)
        if known is None:
            known = self._known[look] = self._look_closer(record, outcome, plan, tags or (), peer)
        series = known.series
        series.total += seconds
        series.seconds[bisect_left(SECONDS, seconds)] += 1
        if (meter := request.meter) is not None:
            octets = meter.request_bytes
            series.request_total += octets
            series.request_bytes[bisect_left(BYTES, octets)] += 1
            octets = meter.response_bytes
            series.response_total += octets
            series.response_bytes[bisect_left(BYTES, octets)] += 1
        if known.is_grpc:
            self._count_grpc(record, seconds, series)

    def _count_grpc(self, record: CallRecord, seconds: float, series: Series) -> None:
        request = record.request
        if (meter := request.meter) is not None:
            series.request_messages += meter.request_messages
            series.response_messages += meter.response_messages
        if request.streaming:
            self._count_stream(record, series)
        if record.tries is not None:
            self._count_tries(record, record.tries, seconds, series)
        elif record.attempt_began:
            seconds -= record.attempt_began - record.started
            series.attempt_total += seconds
            series.attempt_seconds[bisect_left(SECONDS, seconds)] += 1

    def _count_stream(self, record: CallRecord, series: Series) -> None:
        self.attempts.ends(record, series)
        meter, tries = record.request.meter, record.tries
        if meter is not None and (tries is None or record.attempts > tries.ended):
            series.weigh_stream(meter)

    def _count_tries(
        self, record: CallRecord, tries: Tries, seconds: float, series: Series
    ) -> None:
        """The last attempt, unless it is told of already, and what was needed beside the first."""
        meter = record.request.meter
        if record.attempts > tries.ended:
            series.attempt(seconds - (record.attempt_began - record.started))
        elif meter is not None:
            series.weigh_nothing(meter)
        tried = series.tried = series.tried or Tried()
        tried.count(tries)

    def _look_closer(
        self,
        record: CallRecord,
        outcome: Outcome,
        plan: Plan | None,
        tags: tuple[str, ...],
        peer: PeerFacts,
    ) -> Known:
        kind = kind_of(
            record,
            outcome,
            peers=self._peers,
            own_host=self._own_host,
            method=self._methods.name(record.request, outcome, inbound=record.inbound),
            tags=tags,
        )
        if (plan, kind) not in self.series and is_strange(kind):
            if self._strange >= self._most // STRANGE:
                kind = self._nameless(kind)
            else:
                self._strange += 1
        found = self.series.get((plan, kind))
        if found is None:
            if self._counted[record.inbound] >= self._most:
                plan, kind = None, self._crowded(kind)
            else:
                self._counted[record.inbound] += 1
            found = self.series.setdefault((plan, kind), Series())
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        return Known(found, kind.is_grpc, (peer, plan, record.cluster))

    def _crowded(self, kind: Kind) -> Kind:
        self._warn("metrics: more than %d kinds of calls; further ones are counted as %r", OTHER)
        return crowded(kind)

    def _nameless(self, kind: Kind) -> Kind:
        said = "metrics: more than one in eight of %d kinds of calls by names that nobody proved; "
        self._warn(f"{said}further callers are counted as %r", NOBODY)
        return replace(kind, source=UNKNOWN)

    def _warn(self, said: str, name: str) -> None:
        if not self.crowded:
            self._later(partial(log.warning, said, self._most, name))
        self.crowded += 1

    def is_crowded(self, kind: Kind) -> bool:
        """Is there little room for further kinds of calls like this one?"""
        if is_strange(kind) and self._strange >= FULL * (self._most // STRANGE):
            return True
        return self._counted[kind.inbound] >= FULL * self._most

    def forget(self, keys: Iterable[Key], clusters: Container[str]) -> None:
        """Series, and whatever else was counted of clusters; under the mesh's lock."""
        for key in keys:
            del self.series[key]
        self.attempts.forget(clusters)
        drop(self.denied, lambda key: key[0] in clusters)
        drop(self.ejections, lambda key: key[0] in clusters)
        drop(self.spared, lambda key: key[0] in clusters)
        drop(self.mirrors, clusters.__contains__)
        self._known.clear()
        self._count_anew()

    def _count_anew(self) -> None:
        kinds = [kind for _, kind in self.series if not is_crowd(kind)]
        self._strange = sum(map(is_strange, kinds))
        for inbound in (False, True):
            own = [kind for kind in kinds if kind.inbound is inbound]
            self._counted[inbound] = len(own)
            self._methods.keep({kind.method for kind in own}, inbound=inbound)

    def _seldom(self, event: Event) -> None:
        match event:
            case StreamBegan() | TriedAgain() | AttemptFailed() | AttemptCancelled():
                self.attempts(event)
            case RetryDenied(cluster=cluster, reason=reason):
                self.denied[cluster, reason] += 1
            case ConfigApplied():
                self.config = event
                self.applied += 1
                self.applied_at = self._clock()
                if self._tell_applied is not None:
                    self._tell_applied(self.applied_at)
            case EndpointEjected(cluster=cluster, reason=reason):
                self.ejections[cluster, reason] += 1
            case EndpointSpared(cluster=cluster, reason=reason, why=why):
                self.spared[cluster, reason, why] += 1
            case _:
                pass

    def has_called(self, cluster: str) -> bool:
        if cluster in self.mirrors:
            return True
        return any(kind.cluster == cluster for _, kind in list(self.series))

    def snapshot(self) -> dict[str, Any]:
        """Everything counted so far, as plain values; from any thread."""
        alike: dict[tuple[bool, str, int | None, int | str], list[Series]] = {}
        for (_, kind), series in list(self.series.items()):
            key = kind.inbound, kind.cluster, kind.told, kind.answer
            alike.setdefault(key, []).append(series)
        config = self.config
        return {
            "calls": [_row(*key, found) for key, found in alike.items()],
            "retries": [
                {"cluster": cluster, "kind": kind, "count": count}
                for (cluster, kind), count in list(self.attempts.retries.items())
            ],
            "ejections": [
                {"cluster": cluster, "reason": reason, "count": count}
                for (cluster, reason), count in list(self.ejections.items())
            ],
            "config": {"version": config.version if config else "", "applied": self.applied},
        }


def _now(action: Callable[[], None]) -> None:
    action()


def _row(
    inbound: bool,
    cluster: str,
    grpc_status: int | None,
    answer: int | str,
    alike: list[Series],
) -> dict[str, Any]:
    found = GRPC_SECONDS((series.seconds, series.total) for series in alike)
    return {
        "direction": "inbound" if inbound else "outbound",
        "cluster": cluster,
        "status": answer if isinstance(answer, int) else 0,
        "class": f"{answer // 100}xx" if isinstance(answer, int) else "failed",
        "flags": answer if isinstance(answer, str) else "",
        "grpc_status": grpc_status,
        "count": found.count,
        "sum": found.total,
        "buckets": found.counts,
    }
