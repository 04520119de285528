"""A live cluster: permits, health and the picking of endpoints."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...clock import Clock, Dice
from ...model import (
    ClientSideWeightedRoundRobin,
    Cluster,
    ClusterLoadAssignment,
    Locality,
    OriginalDst,
    RandomSubsetting,
)
from ..events import Event, Observer
from ..message import Cause, Failure, Outcome
from .circuit import CircuitBreaker
from .endpoint import NEVER, UpstreamEndpoint
from .load import Load, LoadReport, utilization
from .locality import hashes, picker_of
from .outlier import OutlierDetector
from .pickers import Candidate, Picker, picker_for
from .priority import Level, Member, Rank, kept_share, levels


def _deaf(event: Event) -> None:
    """Nobody listens."""


class Lane(NamedTuple):
    """A priority's share of the calls, in per cent, and the part of them that is not dropped."""

    share: float
    picker: Picker | None
    kept: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """How one configuration of a cluster spreads its calls; swapped whole.

    ``candidates`` is everyone who may be called: whom the pickers offer, and those of other
    priorities, to whom a call goes when it can reach nobody else. ``only`` is the picker where
    there is no choice of priorities. ``made`` are the pickers by policy and candidates, so that
    the next balance keeps those that would be no different. ``revision`` tells how often health
    had changed when this was made.
    """

    config: Cluster
    assignment: ClusterLoadAssignment
    endpoints: dict[str, UpstreamEndpoint]
    ranks: tuple[Rank, ...] = ()
    pickers: tuple[Lane, ...] = ()
    candidates: tuple[UpstreamEndpoint, ...] = ()
    revision: int = 0
    made: dict[Any, Picker] = field(default_factory=dict)
    spared: dict[frozenset[int], tuple[Lane, ...]] = field(default_factory=dict)
    only: Picker | None = None
    hashes: bool = False
    children: tuple["UpstreamCluster", ...] = ()


class UpstreamCluster:
    """Kept by name over configurations, so that counters and endpoint state survive them."""

    __slots__ = (
        "_clock",
        "_dice",
        "_hear",
        "_locality",
        "_revision",
        "_seed",
        "balance",
        "breaker",
        "high",
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
        locality: Locality = Locality(),
        observe: Observer = _deaf,
    ) -> None:
        self.name = config.name
        self.breaker = CircuitBreaker(config.circuit_breakers.default)
        self.high = CircuitBreaker(config.circuit_breakers.high)
        self.passthrough = isinstance(config.discovery, OriginalDst)
        self.outlier: OutlierDetector | None = None
        self._clock = clock
        self._dice = dice
        self._hear = observe
        self._locality = locality
        self._revision = 0
        self._seed: int | None = None
        self.balance = Balance(config, ClusterLoadAssignment(cluster_name=config.name), {})

    # -- what the configuration says ------------------------------------------------------------

    def prepare(self, config: Cluster, assignment: ClusterLoadAssignment) -> Balance:
        """Build the next balance; endpoints that stay keep their identity and live state."""
        current = self.balance
        if current.config == config and current.assignment == assignment:
            return current
        live: dict[str, UpstreamEndpoint] = {}
        ranks = _ranks(config, assignment, current.endpoints, live)
        revision = self._revision
        return self._balanced(Balance(config, assignment, live, ranks, revision=revision))

    def _balanced(self, bare: Balance, old: Balance | None = None) -> Balance:
        """The pickers for what is known of the health of all."""
        config, ranks = bare.config, bare.ranks
        before = (self.balance if old is None else old).made
        made: dict[Any, Picker] = {}
        spread = levels(ranks, config.healthy_panic_threshold)
        lanes = self._lanes(spread, ranks, before, made)
        alone = len(lanes) == 1 and lanes[0].kept >= 1 and not bare.children
        return Balance(
            config,
            bare.assignment,
            bare.endpoints,
            ranks,
            lanes,
            _candidates(spread, ranks),
            bare.revision,
            made,
            only=lanes[0].picker if alone else None,
            hashes=any(hashes(rank.config.lb_policy) for rank in ranks),
            children=bare.children,
        )

    def _lanes(
        self,
        spread: Iterable[Level],
        ranks: Sequence[Rank],
        before: Mapping[Any, Picker],
        made: dict[Any, Picker],
    ) -> tuple[Lane, ...]:
        lanes = []
        for level in spread:
            rank = ranks[level.priority]
            make = self._maker(rank.config, before, made)
            picker = picker_of(level, rank, self._locality, make, self._dice)
            lanes.append(Lane(level.share, picker, rank.kept))
        return tuple(lanes) if any(lane.picker for lane in lanes) else ()

    def _maker(
        self, config: Cluster, before: Mapping[Any, Picker], made: dict[Any, Picker]
    ) -> Callable[[tuple[Candidate, ...]], Picker]:
        policy = config.lb_policy
        seed = self._own_seed() if isinstance(policy, RandomSubsetting) else 0

        def make(candidates: tuple[Candidate, ...]) -> Picker:
            key = (policy, candidates)
            picker = made.get(key) or before.get(key)
            if picker is None:
                picker = picker_for(policy, candidates, self._clock, self._dice, seed)
            made[key] = picker
            return picker

        return make

    def _own_seed(self) -> int:
        if self._seed is None:
            self._seed = int(self._dice() * (1 << 53))
        return self._seed

    def commit(self, balance: Balance) -> None:
        """Go by another balance from now on."""
        if balance is self.balance:
            return
        if balance.revision != self._revision:
            balance = self._balanced(balance)
        self.balance = balance
        config = balance.config
        self.breaker.limits = config.circuit_breakers.default
        self.high.limits = config.circuit_breakers.high
        self._detect(config)
        self._take_over(balance)

    def _detect(self, config: Cluster) -> None:
        if config.outlier_detection is None:
            self.outlier = None
        elif self.outlier is None:
            self.outlier = OutlierDetector(
                config.outlier_detection,
                self._clock,
                self._dice,
                cluster=self.name,
                observe=self._hear,
            )
        else:
            self.outlier.reconfigure(config.outlier_detection)

    def _take_over(self, balance: Balance) -> None:
        """Tell the endpoints what the configuration in force says of them."""
        config = balance.config
        options = config.http_protocol_options
        http2 = options is not None and options.http2
        weighs = _weighs_load(config)
        for priority, rank in enumerate(balance.ranks):
            for endpoint, told, _ in rank.members:
                endpoint.config = told
                endpoint.priority = priority
                endpoint.http2 = http2
                endpoint.connect_timeout = config.connect_timeout
                endpoint.wants_trailers = weighs
        self._note_since(balance)

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
        balance = self.balance
        bare = Balance(
            balance.config,
            balance.assignment,
            balance.endpoints,
            balance.ranks,
            revision=self._revision,
            children=balance.children,
        )
        self.balance = self._balanced(bare)
        self._note_since(balance)

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
        if chosen.shunned_until == 0.0 and chosen not in tried:
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
        return any(endpoint not in tried for endpoint in self.balance.candidates)

    def _by_priority(self, hash_key: int | None, spared: Collection[int]) -> Picker | None:
        lanes = self._sparing(frozenset(spared)) if spared else self.balance.pickers
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

    def _sparing(self, spared: frozenset[int]) -> tuple[Lane, ...]:
        balance = self.balance
        lanes = balance.spared.get(spared)
        if lanes is None:
            spread = levels(balance.ranks, balance.config.healthy_panic_threshold, spared)
            lanes = self._lanes(spread, balance.ranks, balance.made, balance.made)
            balance.spared[spared] = lanes
        return lanes

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
        for attempt in range(1, len(candidates) + 1):
            if candidate not in tried and candidate.shunned_until <= now:
                return candidate
            candidate = picker.pick(hash_key, attempt)
        untried = [e for e in candidates if e not in tried] or candidates
        soonest = min(max(e.shunned_until, now) for e in untried)
        equals = [e for e in untried if max(e.shunned_until, now) == soonest]
        return equals[int(self._dice() * len(equals))]

    def observe(self, endpoint: UpstreamEndpoint, outcome: Outcome) -> None:
        """Hear how a call to an endpoint went."""
        if isinstance(outcome, Failure):
            if outcome.cause is Cause.CONNECT:
                endpoint.connect_failed(self._clock)
        elif endpoint.shunned_until:
            endpoint.answered()
        outlier = self.outlier
        if outlier is not None and outlier.observe(
            endpoint, outcome, self.balance.endpoints.values()
        ):
            self.rebalance()

    def observe_load(self, endpoint: UpstreamEndpoint, report: LoadReport) -> None:
        """Hear what an endpoint says of its load (``endpoint-load-metrics-bin``)."""
        policy = _weighing(self.balance.config)
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


def _weighing(config: Cluster) -> ClientSideWeightedRoundRobin | None:
    policy = config.lb_policy
    if isinstance(policy, RandomSubsetting):
        policy = policy.child_policy
    return policy if isinstance(policy, ClientSideWeightedRoundRobin) else None


def _weighs_load(config: Cluster) -> bool:
    return _weighing(config) is not None


def _ranks(
    config: Cluster,
    assignment: ClusterLoadAssignment,
    known: Mapping[str, UpstreamEndpoint],
    live: dict[str, UpstreamEndpoint],
) -> tuple[Rank, ...]:
    """The members of each priority, best first; ``live`` gets them all by address."""
    options = config.http_protocol_options
    http2 = options is not None and options.http2
    members: dict[int, list[Member]] = {}
    localities: dict[int, list[tuple[Locality, int | None]]] = {}
    for found in assignment.endpoints:
        rank = members.setdefault(found.priority, [])
        places = localities.setdefault(found.priority, [])
        for told in found.lb_endpoints:
            key = str(told.address)
            if key in live:
                continue  # an address counts once, where it first stands
            endpoint = live[key] = known.get(key) or UpstreamEndpoint(
                told, http2=http2, connect_timeout=config.connect_timeout, priority=found.priority
            )
            rank.append(Member(endpoint, told, len(places)))
        places.append((found.locality, found.load_balancing_weight))
    factor, kept = assignment.overprovisioning_factor / 100, kept_share(assignment)
    return tuple(
        Rank(config, tuple(members[priority]), tuple(localities[priority]), factor, kept)
        for priority in sorted(members)
    )


def _candidates(spread: Iterable[Level], ranks: Sequence[Rank]) -> tuple[UpstreamEndpoint, ...]:
    offered = [member.endpoint for level in spread for member in level.candidates]
    if not offered:
        return ()
    if len(offered) < sum(len(rank.members) for rank in ranks):
        offered += [m.endpoint for rank in ranks for m in rank.members if m.usable]
        offered += [m.endpoint for rank in ranks for m in rank.members if m.degraded]
    return tuple(dict.fromkeys(offered))
