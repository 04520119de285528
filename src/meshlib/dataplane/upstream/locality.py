"""Which locality of a priority takes a call: by weights, or the client's own zone first."""

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from ...clock import Dice
from ...model import Endpoint, LbPolicy, Locality, LocalityWeighted, Maglev, RingHash, ZoneAware
from .endpoint import UpstreamEndpoint
from .pickers import Candidate, Picker
from .pickers.edf import Schedule
from .priority import Level, Member, Rank

Make = Callable[[Iterable[Candidate]], Picker]
"""Makes the picker of the cluster's own policy."""


def picker_of(level: Level, rank: Rank, own: Locality, make: Make, dice: Dice) -> Picker | None:
    """The picker of one priority; ``None``: better nobody than anybody (it panics)."""
    policy, rules = rank.config.lb_policy, rank.config.locality_lb
    if isinstance(policy, RingHash | Maglev):
        return make(_hashed(level, rank, policy))
    if level.panics:
        fails = isinstance(rules, ZoneAware) and rules.fail_traffic_on_panic
        return None if fails else make(_weighed(level.candidates))
    if isinstance(rules, LocalityWeighted):
        return _by_weight(level, rank, make, dice)
    if isinstance(rules, ZoneAware) and rank.place == 0 and own != Locality():
        return _own_zone_first(level, rank, rules, own, make, dice)
    return make(_weighed(level.candidates))


class WeightedLocalities:
    """Turns by weight; inside a locality the cluster's policy."""

    __slots__ = ("_intervals", "_pickers", "_schedule")

    def __init__(self, pickers: Sequence[Picker], weights: Sequence[float], dice: Dice) -> None:
        self._pickers = tuple(pickers)
        self._intervals = [1 / weight for weight in weights]
        self._schedule = Schedule(weights, dice)

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        return self._pickers[self._schedule.turn(self._intervals)].pick()


class ZonePicker:
    """Each zone gets its share of the calls, by lot.

    ``together`` takes the part of the calls that zones are not ``enabled`` for.
    """

    __slots__ = ("_bounds", "_dice", "_enabled", "_pickers", "_together")

    def __init__(
        self,
        pickers: Sequence[Picker],
        shares: Sequence[float],
        together: Picker,
        enabled: float,
        dice: Dice,
    ) -> None:
        self._pickers = tuple(pickers)
        self._bounds = tuple(accumulate(shares))
        self._together = together
        self._enabled = enabled
        self._dice = dice

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint:
        if self._enabled < 1 and self._dice() >= self._enabled:
            return self._together.pick()
        point = self._dice() * self._bounds[-1]
        return self._pickers[bisect(self._bounds, point)].pick()


def _by_weight(level: Level, rank: Rank, make: Make, dice: Dice) -> Picker:
    """A locality's weight counts as far as its endpoints are well enough to bear it."""
    groups = _grouped(level.candidates)
    whole = _grouped(rank.members)
    weights = {
        index: weight * min(1.0, rank.factor * len(groups[index]) / len(whole[index]))
        for index, (_, weight) in enumerate(rank.localities)
        if weight and index in groups
    }
    if not weights:
        return make(_weighed(level.candidates))
    pickers = [make(_weighed(groups[index])) for index in weights]
    if len(pickers) == 1:
        return pickers[0]
    return WeightedLocalities(pickers, tuple(weights.values()), dice)


def _own_zone_first(
    level: Level, rank: Rank, rules: ZoneAware, own: Locality, make: Make, dice: Dice
) -> Picker:
    """Envoy's zone aware routing, as if clients were spread evenly over the zones.

    Envoy counts its own kind in the local cluster, to see how much of a zone's load comes from
    the zone itself; nobody tells a library of its kind. So each zone, the client's own included,
    is taken to send the same.
    """
    together = make(_weighed(level.candidates))
    zones: dict[Locality, list[Member]] = {}
    for member in level.candidates:
        zones.setdefault(rank.localities[member.locality][0], []).append(member)
    if len(zones) < 2 or len(level.candidates) < rules.min_cluster_size:
        return together
    shares = zone_shares(
        {zone: len(members) for zone, members in zones.items()},
        own,
        rules.force_local_zone_min_size,
    )
    pickers = [make(_weighed(zones[zone])) for zone in shares]
    enabled = rules.routing_enabled / 100
    return ZonePicker(pickers, tuple(shares.values()), together, enabled, dice)


def zone_shares(
    sizes: dict[Locality, int], own: Locality, force_min_size: int | None = None
) -> dict[Locality, float]:
    """The part of the calls, of 1, that a client in ``own`` sends to each zone.

    Its own zone gets all if it has its share of the endpoints or more; else as much as that
    bears. What is left goes to zones with more endpoints than their own clients need.
    """
    total, size = sum(sizes.values()), sizes.get(own, 0)
    sent = 1 / len({*sizes, own})
    kept = min(1.0, size / total / sent)
    if force_min_size is not None and 0 < size >= force_min_size:
        kept = 1.0
    if kept == 1.0:
        return {own: 1.0}
    left = {zone: max(0.0, n / total - sent) for zone, n in sizes.items() if zone != own}
    room = sum(left.values())
    shares = {zone: (1 - kept) * part / room for zone, part in left.items() if part}
    return {own: kept, **shares} if kept else shares


def _grouped(members: Iterable[Member]) -> dict[int, list[Member]]:
    groups: dict[int, list[Member]] = {}
    for member in members:
        groups.setdefault(member.locality, []).append(member)
    return groups


def _weighed(members: Iterable[Member]) -> Iterator[Candidate]:
    return (Candidate(m.endpoint, m.config.load_balancing_weight) for m in members)


def _hashed(level: Level, rank: Rank, policy: RingHash | Maglev) -> list[Candidate]:
    """With weights that make up 1 together, and the names that endpoints have on a ring.

    With locality weights, the locality's share times that of the endpoint inside it.
    """
    named: list[Candidate] = []
    if isinstance(rank.config.locality_lb, LocalityWeighted):
        groups = _grouped(level.candidates)
        whole = sum(weight or 0 for _, weight in rank.localities)
        for index, (_, weight) in enumerate(rank.localities):
            if weight and index in groups:
                named += _normalized(groups[index], weight / whole, policy)
    return named or _normalized(level.candidates, 1.0, policy)


def _normalized(
    members: Sequence[Member], share: float, policy: RingHash | Maglev
) -> list[Candidate]:
    total = sum(member.config.load_balancing_weight for member in members)
    by_hostname = policy.use_hostname_for_hashing
    return [
        Candidate(
            member.endpoint,
            member.config.load_balancing_weight * share / total,
            _name(member.config, by_hostname=by_hostname) or member.endpoint.key,
        )
        for member in members
    ]


def _name(config: Endpoint, *, by_hostname: bool) -> str:
    return config.hash_key or (config.hostname if by_hostname else "")


def hashes(policy: LbPolicy) -> bool:
    """Does the policy ask for a key of the call?"""
    return isinstance(policy, RingHash | Maglev)
