"""How the calls of a cluster are spread: priorities, localities, endpoints."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from ...clock import Clock, Dice
from ...model import Cluster, ClusterLoadAssignment, LbPolicy, Locality, RandomSubsetting
from .endpoint import UpstreamEndpoint
from .locality import hashes, picker_of
from .pickers import Candidate, Picker, Weighing, WeightedPicker, build_as, picker_for
from .priority import Level, Member, Rank, kept_share, levels

if TYPE_CHECKING:
    from .cluster import UpstreamCluster

Made = dict[tuple[LbPolicy, tuple[Candidate, ...]], Picker]


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
    had changed when this was made. ``owners``: of whom the endpoints of an aggregate are, and
    ``leaves`` these clusters, each once.
    """

    config: Cluster
    assignment: ClusterLoadAssignment
    endpoints: dict[str, UpstreamEndpoint]
    ranks: tuple[Rank, ...] = ()
    revision: int = 0
    owners: "Mapping[UpstreamEndpoint, UpstreamCluster]" = field(default_factory=dict)
    leaves: "tuple[UpstreamCluster, ...]" = ()
    pickers: tuple[Lane, ...] = ()
    candidates: tuple[UpstreamEndpoint, ...] = ()
    only: Picker | None = None
    hashes: bool = False
    made: Made = field(default_factory=dict)
    spared: dict[frozenset[int], tuple[Lane, ...]] = field(default_factory=dict)


class Balancer:
    """Makes the balances of one cluster, one after the other, by what is known of its health."""

    __slots__ = ("_clock", "_dice", "_locality", "_seed", "weighing")

    def __init__(self, clock: Clock, dice: Dice, locality: Locality) -> None:
        self.weighing: Weighing | None = None
        self._clock = clock
        self._dice = dice
        self._locality = locality
        self._seed: int | None = None

    def balanced(self, bare: Balance, before: Balance) -> Balance:
        """A balance with its pickers, which are those of the one ``before`` where they can be."""
        ranks = bare.ranks
        made: Made = {}
        spread = levels(ranks, bare.config.healthy_panic_threshold)
        lanes = self._lanes(spread, ranks, before.made, made)
        alone = len(lanes) == 1 and lanes[0].kept >= 1 and not bare.owners
        return Balance(
            bare.config,
            bare.assignment,
            bare.endpoints,
            ranks,
            bare.revision,
            bare.owners,
            bare.leaves,
            pickers=lanes,
            candidates=_candidates(spread, ranks),
            only=lanes[0].picker if alone else None,
            hashes=any(hashes(rank.config.lb_policy) for rank in ranks),
            made=made,
        )

    def sparing(self, balance: Balance, spared: Collection[int]) -> tuple[Lane, ...]:
        """Lanes that keep away from some priorities, while there are others."""
        key = frozenset(spared)
        lanes = balance.spared.get(key)
        if lanes is None:
            spread = levels(balance.ranks, balance.config.healthy_panic_threshold, key)
            lanes = self._lanes(spread, balance.ranks, balance.made, balance.made)
            balance.spared[key] = lanes
        return lanes

    def _lanes(
        self, spread: Iterable[Level], ranks: Sequence[Rank], before: Made, made: Made
    ) -> tuple[Lane, ...]:
        lanes = []
        for level in spread:
            rank = ranks[level.priority]
            make = self._maker(rank.config.lb_policy, before, made)
            picker = picker_of(level, rank, self._locality, make, self._dice)
            lanes.append(Lane(level.share, picker, rank.kept))
        return tuple(lanes) if any(lane.picker for lane in lanes) else ()

    def _maker(
        self, policy: LbPolicy, before: Made, made: Made
    ) -> Callable[[Iterable[Candidate]], Picker]:
        seed = self._own_seed() if isinstance(policy, RandomSubsetting) else 0
        # Calls that spare a priority may add to it, while the next balance is prepared beside them.
        earlier = list(before.items())
        like = [picker for (of, _), picker in earlier if of == policy]
        # Thousands of new objects would call for the garbage collector, which stops every thread.
        known = {candidate: candidate for (_, made_of), _ in earlier for candidate in made_of}

        def make(candidates: Iterable[Candidate]) -> Picker:
            key = (policy, tuple([known.get(candidate, candidate) for candidate in candidates]))
            picker = made.get(key) or before.get(key)
            if picker is None:
                picker = picker_for(policy, key[1], self._clock, self._dice, seed)
                build_as(picker, like)
                self._weighs(picker)
            made[key] = picker
            return picker

        return make

    def _weighs(self, picker: Picker) -> None:
        """All pickers of a cluster that weigh add to one account, the latest ones too."""
        if isinstance(picker, WeightedPicker):
            self.weighing = picker.weighing = self.weighing or picker.weighing

    def _own_seed(self) -> int:
        """What this process differs by from others, for as long as it lives."""
        if self._seed is None:
            self._seed = int(self._dice() * (1 << 53))
        return self._seed


def ranks_of(
    config: Cluster,
    assignment: ClusterLoadAssignment,
    before: Balance,
    live: dict[str, UpstreamEndpoint],
) -> tuple[Rank, ...]:
    """The members of each priority, best first; ``live`` gets them all by address."""
    options = config.http_protocol_options
    http2 = options is not None and options.http2
    known = before.endpoints
    # As they were, for the garbage collector's sake: it stops every thread for what is new.
    kept = {member.endpoint.key: member for rank in before.ranks for member in rank.members}
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
            member = Member(endpoint, told, len(places))
            was = kept.get(key, member)
            rank.append(was if was == member else member)
        places.append((found.locality, found.load_balancing_weight))
    if config.health_checks and not config.ignore_health_on_host_removal:
        for priority, locality, member in _leaving(before, live):
            places = localities.setdefault(priority, [])
            index = next((i for i, (place, _) in enumerate(places) if place == locality), None)
            if index is None:
                index = len(places)
                places.append((locality, None))
            live[member.endpoint.key] = member.endpoint
            members.setdefault(priority, []).append(member._replace(locality=index, leaving=True))
    factor, share = assignment.overprovisioning_factor / 100, kept_share(assignment)
    return tuple(
        Rank(config, tuple(members[p]), tuple(localities[p]), factor, share, index)
        for index, p in enumerate(sorted(members))
    )


def _leaving(
    before: Balance, live: Mapping[str, UpstreamEndpoint]
) -> list[tuple[int, Locality, Member]]:
    """Those that the configuration lacks now, while health checks still find them well."""
    return [
        (rank.place, rank.localities[member.locality][0], member)
        for rank in before.ranks
        for member in rank.members
        if member.endpoint.key not in live
        and member.endpoint.passes
        and not member.config.disable_active_health_check
    ]


def without_gone(balance: Balance) -> Balance:
    """A balance without those that were leaving and are found gone now."""
    gone = {
        member.endpoint
        for rank in balance.ranks
        for member in rank.members
        if member.leaving and member.endpoint.unhealthy
    }
    if not gone:
        return balance
    return replace(
        balance,
        endpoints={k: e for k, e in balance.endpoints.items() if e not in gone},
        ranks=tuple(
            replace(rank, members=tuple(m for m in rank.members if m.endpoint not in gone))
            for rank in balance.ranks
        ),
    )


def _candidates(spread: Iterable[Level], ranks: Sequence[Rank]) -> tuple[UpstreamEndpoint, ...]:
    offered = [member.endpoint for level in spread for member in level.candidates]
    if not offered:
        return ()
    if len(offered) < sum(len(rank.members) for rank in ranks):
        offered += [m.endpoint for rank in ranks for m in rank.members if m.usable]
        offered += [m.endpoint for rank in ranks for m in rank.members if m.degraded]
    return tuple(dict.fromkeys(offered))
