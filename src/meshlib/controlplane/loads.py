"""What clients tell of their load, the latest of each cluster. No I/O, no clock."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..clock import Clock
from .metrics import metric
from .node import Node

CLUSTERS_PER_CLIENT = 1_000
COUNTED_CLUSTERS = 1_000
STORED = 200_000
LOCALITIES = 100
METRICS = 20
OTHERS = "(others)"
RESULTS = ("successful", "error", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Those of one interval; what is in progress is in progress at its end."""

    successful: int = 0
    error: int = 0
    in_progress: int = 0
    issued: int = 0

    def to_dict(self) -> dict[str, int]:
        return {
            "successful": self.successful,
            "error": self.error,
            "in_progress": self.in_progress,
            "issued": self.issued,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityLoad:
    """``metrics``: by name, over how many calls, and their sum (ORCA)."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    priority: int = 0
    calls: Calls = Calls()
    metrics: tuple[tuple[str, int, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "locality": f"{self.region}/{self.zone}/{self.sub_zone}".rstrip("/"),
            "priority": self.priority,
            **self.calls.to_dict(),
            "metrics": {n: {"count": count, "total": total} for n, count, total in self.metrics},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLoad:
    """``service`` is what EDS calls its endpoints, if that is another name; ``interval`` in
    seconds; ``dropped`` are the calls that were never sent, for whatever reason."""

    cluster: str
    service: str = ""
    interval: float = 0.0
    localities: tuple[LocalityLoad, ...] = ()
    dropped: int = 0
    reasons: tuple[tuple[str, int], ...] = ()

    @property
    def size(self) -> int:
        return 1 + len(self.localities)

    @property
    def calls(self) -> Calls:
        all_calls = [one.calls for one in self.localities]
        return Calls(
            successful=sum(calls.successful for calls in all_calls),
            error=sum(calls.error for calls in all_calls),
            in_progress=sum(calls.in_progress for calls in all_calls),
            issued=sum(calls.issued for calls in all_calls),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "service": self.service,
            "interval_seconds": round(self.interval, 3),
            "localities": [one.to_dict() for one in self.localities],
            "dropped": self.dropped,
            "dropped_by_category": dict(self.reasons),
        }


@dataclass(slots=True, eq=False)
class Reporter:
    """One open stream of reports."""

    node: Node
    peer: str
    heard: float
    clusters: dict[tuple[str, str], ClusterLoad] = field(default_factory=dict)

    def to_dict(self, now: float) -> dict[str, Any]:
        return {
            "id": self.node.id,
            "kind": str(self.node.kind),
            "peer": self.peer,
            "seconds_ago": round(now - self.heard, 3),
            "clusters": [load.to_dict() for _, load in sorted(self.clusters.items())],
        }


class Loads:
    """Bounded: clusters beyond ``CLUSTERS_PER_CLIENT`` of a client, or ``STORED`` localities of
    all, are only counted, and those beyond ``COUNTED_CLUSTERS`` of the mesh counted together."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.reporters: list[Reporter] = []
        self.reports = 0
        self._stored = 0
        self._counted: dict[str, Counter[str]] = {}

    @contextmanager
    def told_by(self, node: Node, peer: str) -> Iterator[Reporter]:
        """While its stream is open."""
        reporter = Reporter(node, peer, self.clock())
        self.reporters.append(reporter)
        try:
            yield reporter
        finally:
            self.reporters.remove(reporter)
            self._stored -= sum(load.size for load in reporter.clusters.values())

    def heard(self, reporter: Reporter, loads: Iterable[ClusterLoad]) -> None:
        reporter.heard = self.clock()
        self.reports += 1
        for load in loads:
            self._store(reporter, load)
            self._count(load)

    def _store(self, reporter: Reporter, load: ClusterLoad) -> None:
        key = load.cluster, load.service
        before = reporter.clusters.get(key)
        grows = load.size - (before.size if before is not None else 0)
        room = before is not None or len(reporter.clusters) < CLUSTERS_PER_CLIENT
        if room and self._stored + grows <= STORED:
            reporter.clusters[key] = load
            self._stored += grows

    def _count(self, load: ClusterLoad) -> None:
        room = len(self._counted) < COUNTED_CLUSTERS
        name = load.cluster if room or load.cluster in self._counted else OTHERS
        counts, calls = self._counted.setdefault(name, Counter()), load.calls
        for result, n in zip(RESULTS, (calls.successful, calls.error, load.dropped), strict=True):
            counts[result] += n

    def to_dicts(self) -> list[dict[str, Any]]:
        """By client, as the last report of each cluster says."""
        now = self.clock()
        return [reporter.to_dict(now) for reporter in self.reporters]

    def by_cluster(self) -> list[dict[str, Any]]:
        """All clients together, per second."""
        found: dict[str, list[ClusterLoad]] = {}
        for reporter in self.reporters:
            for load in reporter.clusters.values():
                found.setdefault(load.cluster, []).append(load)
        return [_together(name, found[name]) for name in sorted(found)[:COUNTED_CLUSTERS]]

    def lines(self) -> Iterator[str]:
        """For Prometheus."""
        yield from metric("load_reporters", "gauge", "Streams.", [((), len(self.reporters))])
        yield from metric("load_reports_total", "counter", "Reports.", [((), self.reports)])
        samples = [
            ((("cluster", name), ("result", result)), counts[result])
            for name, counts in sorted(self._counted.items())
            for result in RESULTS
        ]
        yield from metric("reported_calls_total", "counter", "As clients say.", samples)


def _together(cluster: str, loads: list[ClusterLoad]) -> dict[str, Any]:
    def rate(numbers: Iterable[int]) -> float:
        timed = zip(numbers, loads, strict=True)
        return round(sum(n / load.interval for n, load in timed if load.interval > 0), 3)

    calls = [load.calls for load in loads]
    return {
        "cluster": cluster,
        "clients": len(loads),
        "successful_per_second": rate(each.successful for each in calls),
        "error_per_second": rate(each.error for each in calls),
        "dropped_per_second": rate(load.dropped for load in loads),
        "in_progress": sum(each.in_progress for each in calls),
    }
