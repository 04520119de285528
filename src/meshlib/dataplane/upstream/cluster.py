"""A live cluster: permits, health and the picking of endpoints."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from ...clock import Clock, Dice
from ...model import (
    ClientSideWeightedRoundRobin,
    Cluster,
    ClusterLoadAssignment,
    Locality,
    OriginalDst,
    RandomSubsetting,
)
from ...model.load import LoadReport
from ..events import Event, Observer
from ..message import Cause, Failure, Outcome
from .balance import Balance, Balancer, Lane, ranks_of, without_gone
from .circuit import CircuitBreaker
from .endpoint import NEVER, UpstreamEndpoint
from .health import Result
from .load import Load, utilization
from .load_stats import ClusterLoad
from .outlier import OutlierDetector
from .pickers import Picker, Weighing

UNKNOWN = Locality()
LOOKED_AT = 32
"""How often a picker is asked for one that was not tried, before all are looked through."""


def _deaf(event: Event) -> None:
    """Nobody listens."""


class UpstreamCluster:
    """Kept by name over configurations, so that counters and endpoint state survive them."""

    __slots__ = (
        "_asks",
        "_balancer",
        "_clock",
        "_dice",
        "_hear",
        "_revision",
        "balance",
        "breaker",
        "checks",
        "connections",
        "high",
        "load",
        "name",
        "outlier",
        "passthrough",
    )

    def __init__(
        self,
        config: Cluster,
        clock: Clock,
        dice: Dice,
        *,
        locality: Locality = UNKNOWN,
        observe: Observer = _deaf,
        asks: Callable[[], bool] = bool,
    ) -> None:
        """``asks``: does anybody want to know who answers?"""
        self.name = config.name
        self.breaker = CircuitBreaker(config.circuit_breakers.default)
        self.high = CircuitBreaker(config.circuit_breakers.high)
        self.passthrough = isinstance(config.discovery, OriginalDst)
        self.outlier: OutlierDetector | None = None
        self.load: ClusterLoad | None = None
        self.checks: Counter[Result] = Counter()
        self.connections: Counter[str] = Counter()
        self._clock = clock
        self._dice = dice
        self._hear = observe
        self._asks = asks
        self._balancer = Balancer(clock, dice, locality)
        self._revision = 0
        self.balance = Balance(config, ClusterLoadAssignment(cluster_name=config.name), {})

    def suits(self, config: Cluster) -> bool:
        """Can this go on under that configuration, or does another kind of cluster take over?"""
        return self.passthrough == isinstance(config.discovery, OriginalDst)

    @property
    def is_called(self) -> bool:
        """Are calls under way, in line, or about to be tried again?"""
        return self.breaker.is_used or self.high.is_used

    @property
    def weighing(self) -> Weighing | None:
        """Of endpoints by what they say of their load; ``None`` where nobody ever did that."""
        return self._balancer.weighing

    # -- what the configuration says ------------------------------------------------------------

    def prepare(self, config: Cluster, assignment: ClusterLoadAssignment) -> Balance:
        """Build the next balance; endpoints that stay keep their identity and live state."""
        current = self.balance
        if current.config == config and current.assignment == assignment:
            return current
        live: dict[str, UpstreamEndpoint] = {}
        ranks = ranks_of(config, assignment, current, live)
        bare = Balance(config, assignment, live, ranks, self._revision)
        return self._balancer.balanced(bare, current)

    def commit(self, balance: Balance) -> None:
        """Go by another balance from now on."""
        if balance is self.balance:
            return
        revision = self.revision(balance)
        if balance.revision != revision:
            balance = self._balancer.balanced(replace(balance, revision=revision), balance)
        self.balance = balance
        config = balance.config
        self._limit(balance)
        returned = self._detect(config)
        self._take_over(balance)
        if returned:
            self.rebalance()

    def _limit(self, balance: Balance) -> None:
        limits, shared = balance.config.circuit_breakers, _is_http2(balance.config)
        hosts = max(1, len(balance.candidates))
        self.breaker.reconfigure(limits.default, shared=shared, hosts=hosts)
        self.high.reconfigure(limits.high, shared=shared, hosts=hosts)

    def _detect(self, config: Cluster) -> bool:
        """Whether endpoints come back that nobody would let back any more."""
        if config.outlier_detection is None:
            outlier, self.outlier = self.outlier, None
            return outlier is not None and outlier.retire(self.balance.endpoints.values())
        if self.outlier is None:
            self.outlier = OutlierDetector(
                config.outlier_detection,
                self._clock,
                self._dice,
                cluster=self.name,
                observe=self._hear,
            )
        else:
            self.outlier.reconfigure(config.outlier_detection)
        return False

    def _take_over(self, balance: Balance) -> None:
        """Tell the endpoints what the configuration in force says of them."""
        config = balance.config
        http2, weighs = _is_http2(config), _weighs_load(config) or _tells_metrics(config)
        secured_by = config if config.tls or config.transport_socket_matches else None
        is_external = config.is_external
        for priority, rank in enumerate(balance.ranks):
            for endpoint, told, _, _ in rank.members:
                endpoint.config = told
                endpoint.priority = priority
                endpoint.http2 = http2
                endpoint.secured_by = secured_by
                endpoint.is_external = is_external
                endpoint.connect_timeout = config.connect_timeout
                endpoint.wants_trailers = endpoint.reports = weighs
        if self._asks():
            self.ask()
        self._count(balance)
        self._note_since(balance)

    def ask(self) -> None:
        """Let endpoints say anew who they are."""
        for endpoint in self.balance.endpoints.values():
            endpoint.ask()

    def _count(self, balance: Balance) -> None:
        """Count calls for as long as somebody wants to be told of them."""
        if balance.config.lrs_server:
            self.load = self.load or ClusterLoad(self._clock, self._dice)
            self.load.follow(balance)
        elif self.load is not None:
            self.load.retire()
            self.load = None

    def _note_since(self, balance: Balance) -> None:
        now = self._clock()
        for endpoint in balance.endpoints.values():
            if not endpoint.usable:
                endpoint.since = NEVER
            elif endpoint.since == NEVER:
                endpoint.since = now

    def rebalance(self) -> None:
        """The health of an endpoint changed: spread the load anew over the same ones."""
        self._revision += 1
        balance = without_gone(self.balance)
        bare = replace(balance, revision=self.revision(balance))
        self.balance = self._balancer.balanced(bare, balance)
        self._limit(self.balance)
        self._note_since(balance)

    def revision(self, balance: Balance) -> int:
        """How often the health of its endpoints has changed so far."""
        return self._revision

    # -- calls ----------------------------------------------------------------------------------

    def pick(
        self,
        tried: Collection[UpstreamEndpoint] = (),
        hash_key: int | None = None,
        spared_priorities: Collection[int] = (),
    ) -> UpstreamEndpoint | None:
        """Choose an endpoint, rather not one that was tried or that could not be reached.

        ``hash_key``: calls with equal ones belong together. ``spared_priorities`` are those to
        keep away from while there are others. ``None`` when there is none at all, or when the
        call is to be dropped.
        """
        outlier = self.outlier
        if outlier is not None and self._clock() >= outlier.next_sweep:
            self.sweep()
        picker = self.balance.only
        if picker is None or spared_priorities:
            picker = self._by_priority(hash_key, spared_priorities)
            if picker is None:
                return None
        chosen = picker.pick(hash_key)
        if (
            chosen.shunned_until == 0.0
            and chosen.active < self.breaker.per_host
            and chosen not in tried
        ):
            return chosen
        return self._another(chosen, picker, tried, hash_key)

    def sweep(self) -> None:
        """Let outlier detection do what it does once an interval, if that is due."""
        outlier = self.outlier
        if outlier is None or self._clock() < outlier.next_sweep:
            return
        if outlier.sweep(self.balance.endpoints.values()):
            self.rebalance()

    def has_untried(self, tried: Collection[UpstreamEndpoint]) -> bool:
        """Is there anyone left to call?"""
        candidates = self.balance.candidates
        return len(tried) < len(candidates) or any(one not in tried for one in candidates)

    def _by_priority(self, hash_key: int | None, spared: Collection[int]) -> Picker | None:
        lanes = self._balancer.sparing(self.balance, spared) if spared else self.balance.pickers
        if not lanes:
            return None
        lane = lanes[0] if len(lanes) == 1 else self._lane(lanes, hash_key)
        if lane.kept < 1 and self._dice() < 1 - lane.kept:
            return None
        return lane.picker

    def _lane(self, lanes: Sequence[Lane], hash_key: int | None) -> Lane:
        """By lot; with a key always the same, as long as health does not change."""
        keyed = hash_key is not None and self.balance.hashes
        point = hash_key % 100 if keyed and hash_key is not None else self._dice() * 100
        for lane in lanes:
            if point < lane.share:
                return lane
            point -= lane.share
        return lanes[-1]

    def _another(
        self,
        chosen: UpstreamEndpoint,
        picker: Picker,
        tried: Collection[UpstreamEndpoint],
        hash_key: int | None,
    ) -> UpstreamEndpoint:
        """By the picker's own order, as long as it offers anyone; then of whatever is left."""
        now = self._clock()
        candidates = self.balance.candidates
        candidate = chosen
        for attempt in range(1, LOOKED_AT + 1):
            if (
                candidate not in tried
                and candidate.shunned_until <= now
                and candidate.active < self.breaker.per_host
            ):
                return candidate
            candidate = picker.pick(hash_key, attempt)
        untried = [e for e in candidates if e not in tried] or candidates
        untried = [e for e in untried if e.active < self.breaker.per_host] or untried
        soonest = min(max(e.shunned_until, now) for e in untried)
        equals = [e for e in untried if max(e.shunned_until, now) == soonest]
        luck = self._dice() if hash_key is None else hash_key / (1 << 64)
        return equals[int(luck * len(equals))]

    def observe(self, endpoint: UpstreamEndpoint, outcome: Outcome) -> None:
        """Hear how a call to an endpoint went."""
        if isinstance(outcome, Failure):
            if outcome.cause is Cause.CONNECT:
                endpoint.connect_failed(self._clock)
        elif endpoint.shunned_until:
            endpoint.answered()
        if endpoint.counts is not None:
            endpoint.counts.observe(outcome)
        outlier = self.outlier
        if outlier is not None and outlier.observe(
            endpoint, outcome, self.balance.endpoints.values()
        ):
            self.rebalance()

    def observe_load(self, endpoint: UpstreamEndpoint, report: LoadReport) -> None:
        """Hear what an endpoint says of its load (``endpoint-load-metrics-bin``)."""
        config = self.balance.config
        if self.load is not None:
            self.load.heard(endpoint, report, config.lrs_report_endpoint_metrics)
        policy = _weighing(config)
        if policy is None:
            return
        if endpoint.load is None:
            endpoint.load = Load()
        endpoint.load.report(
            utilization(report, policy.metric_names_for_computing_utilization),
            report.rps,
            report.eps,
            self._clock(),
            penalty=policy.error_utilization_penalty,
        )


def _is_http2(config: Cluster) -> bool:
    options = config.http_protocol_options
    return options is not None and options.http2


def _weighing(config: Cluster) -> ClientSideWeightedRoundRobin | None:
    policy = config.lb_policy
    if isinstance(policy, RandomSubsetting):
        policy = policy.child_policy
    return policy if isinstance(policy, ClientSideWeightedRoundRobin) else None


def _weighs_load(config: Cluster) -> bool:
    return _weighing(config) is not None


def _tells_metrics(config: Cluster) -> bool:
    return config.lrs_server and bool(config.lrs_report_endpoint_metrics)
