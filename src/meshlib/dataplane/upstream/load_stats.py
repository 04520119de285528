"""Counts the load that a cluster's calls make, for control planes that want it told (gRFC A27)."""

from collections.abc import Collection, Iterator

from ...clock import Clock, Dice
from ...model import Locality
from ...model.load import LoadReport
from ...model.load_stats import ClusterStats, EndpointStats, LocalityStats, MetricStats
from ..message import Failure, Outcome
from .balance import Balance
from .endpoint import UpstreamEndpoint

OWN = ("application_utilization", "cpu_utilization", "mem_utilization")
NAMED, UTILIZATION = "named_metrics.", "utilization."
ERRORS_FROM = 500


class EndpointCounts:
    """Calls of one endpoint since they were told last.

    What began is not counted: it is what ended, and what more is under way than was ``before``.
    """

    __slots__ = ("before", "finished", "metrics", "successful")

    def __init__(self, before: int) -> None:
        self.before = before
        self.finished = self.successful = 0
        self.metrics: dict[str, list[float]] = {}

    def observe(self, outcome: Outcome) -> None:
        """Hear how a call went; one that nobody waited for is but finished, which is an error."""
        if isinstance(outcome, Failure) or outcome.grpc_status:
            return
        self.successful += outcome.status < ERRORS_FROM

    def take(self, endpoint: UpstreamEndpoint) -> EndpointStats:
        active = endpoint.active
        taken = EndpointStats(
            address=endpoint.address,
            successful=self.successful,
            in_progress=active,
            error=self.finished - self.successful,
            issued=self.finished + active - self.before,
            metrics=tuple(
                (name, MetricStats(int(count), total))
                for name, (count, total) in sorted(self.metrics.items())
            ),
        )
        self.before = active
        self.finished = self.successful = 0
        self.metrics = {}
        return taken


class ClusterLoad:
    """The counts of one cluster, endpoint by endpoint."""

    def __init__(self, clock: Clock, dice: Dice) -> None:
        self._clock = clock
        self._dice = dice
        self._since = clock()
        self._known: dict[UpstreamEndpoint, tuple[int, Locality]] = {}
        self._dropped: dict[str, int] = {}
        self._balance: Balance | None = None

    def follow(self, balance: Balance) -> None:
        """Count at all endpoints of a balance, and go on at those that have left it."""
        self._balance = balance
        for rank in balance.ranks:
            for endpoint, _, index, _ in rank.members:
                self._known[endpoint] = rank.place, rank.localities[index][0]
                if endpoint.counts is None:
                    endpoint.counts = EndpointCounts(endpoint.active)

    def retire(self) -> None:
        for endpoint in self._known:
            endpoint.counts = None

    def dropped(self, category: str = "") -> None:
        """A call was not made; for no category of the configuration's: by a circuit breaker."""
        self._dropped[category] = self._dropped.get(category, 0) + 1

    def dropped_for_overload(self) -> None:
        """One roll decides that a call is dropped, and another by which of the categories."""
        assert self._balance is not None, "a call was made by it"
        passed, shares = 1.0, []
        for drop in self._balance.assignment.drop_overloads:
            share = min(1.0, drop.numerator / drop.denominator)
            shares.append((drop.category, passed * share))
            passed *= 1 - share
        point = self._dice() * sum(share for _, share in shares)
        for category, share in shares:
            if point < share:
                self.dropped(category)
                return
            point -= share
        self.dropped()

    def heard(self, endpoint: UpstreamEndpoint, report: LoadReport, names: Collection[str]) -> None:
        """What an endpoint said of its own load with the answer to a call."""
        if endpoint.counts is None:
            return
        metrics = endpoint.counts.metrics
        for name, value in _chosen(report, names):
            sums = metrics.setdefault(name, [0, 0.0])
            sums[0] += 1
            sums[1] += value

    def take(self) -> ClusterStats:
        """All that happened since the last time. Belongs under the lock, as the calls do."""
        assert self._balance is not None, "it follows one from the beginning"
        config, now = self._balance.config, self._clock()
        dropped, self._dropped = self._dropped, {}
        interval, self._since = now - self._since, now
        return ClusterStats(
            cluster_name=config.name,
            cluster_service_name=config.load_assignment_name or "",
            localities=tuple(self._localities(self._balance)),
            total_dropped=sum(dropped.values()),
            dropped=tuple(sorted(item for item in dropped.items() if item[0])),
            interval=interval,
        )

    def _localities(self, balance: Balance) -> Iterator[LocalityStats]:
        found: dict[tuple[int, Locality], list[EndpointStats]] = {}
        for endpoint, place in list(self._known.items()):
            counts = endpoint.counts
            stats = None if counts is None else counts.take(endpoint)
            if stats is not None and not stats.is_idle:
                found.setdefault(place, []).append(stats)
            elif balance.endpoints.get(endpoint.key) is not endpoint:
                del self._known[endpoint]
                endpoint.counts = None
        for (priority, locality), endpoints in sorted(found.items()):
            yield LocalityStats(locality=locality, priority=priority, endpoints=tuple(endpoints))


def _chosen(report: LoadReport, names: Collection[str]) -> Iterator[tuple[str, float]]:
    """A metric that is zero is one that was not set, but for those with names of their own."""
    for name in OWN:
        if name in names and (value := getattr(report, name)):
            yield name, value
    for name, value in _named(report):
        if name in names or f"{name.partition('.')[0]}.*" in names:
            yield name, value


def _named(report: LoadReport) -> Iterator[tuple[str, float]]:
    for name, value in report.named.items():
        yield name if name.startswith(UTILIZATION) else NAMED + name, value
