"""Where endpoints and caller stand → priorities and weights, as istiod computes them.

Each caller is told its own: the nearest are priority 0. Without outlier detection (or when
nobody knows where the caller stands) nobody would ever fail over, and there are no priorities.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from ... import model
from ..manifests.load_balancer import (
    Distribute,
    Failover,
    LoadBalancerSettings,
    LocalityLoadBalancerSetting,
    ZoneAwareLoadBalancerSetting,
)
from ..scope import Scope
from ..world import MeshSettings

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUB_ZONE = "topology.istio.io/subzone"
NETWORK = "topology.istio.io/network"

SAME, SAME_ZONE, SAME_REGION, ELSEWHERE, UNWANTED = range(5)


@dataclass(frozen=True, slots=True)
class Member:
    endpoint: model.Endpoint
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """The endpoints of one locality, or of one priority within it."""

    locality: model.Locality
    members: tuple[Member, ...]
    weight: int
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What is said of localities for one cluster; ``zone_aware``: zones are left to the client."""

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    zone_aware: model.ZoneAware | None = None

    @property
    def locality_lb(self) -> model.LocalityLb:
        return self.zone_aware or model.LocalityWeighted()


def preference(said: LoadBalancerSettings | None, mesh: MeshSettings) -> Preference | None:
    """The rule's own word, else the mesh's; ``None`` where it is switched off."""
    own = said or LoadBalancerSettings()
    if own.locality_lb_setting is not None:
        return _weighted(own.locality_lb_setting)
    if own.zone_aware_lb_setting is not None and own.zone_aware_lb_setting.enabled:
        return _zone_aware(own.zone_aware_lb_setting)
    zones = mesh.zone_aware_lb_setting
    if zones is not None and zones.enabled and own.zone_aware_lb_setting is None:
        return _zone_aware(zones)
    return _weighted(mesh.locality_lb_setting or LocalityLoadBalancerSetting())


def _weighted(said: LocalityLoadBalancerSetting) -> Preference | None:
    if said.enabled is False:
        return None
    return Preference(
        distribute=said.distribute,
        failover=said.failover,
        failover_priority=said.failover_priority,
    )


def _zone_aware(said: ZoneAwareLoadBalancerSetting) -> Preference:
    size = said.min_cluster_size
    zones = model.ZoneAware() if size is None else model.ZoneAware(min_cluster_size=size)
    return Preference(
        failover=said.failover, failover_priority=said.failover_priority, zone_aware=zones
    )


def arranged(
    groups: Sequence[Group], wish: Preference, scope: Scope, *, can_fail_over: bool
) -> tuple[Group, ...]:
    for rule in wish.distribute:
        if _fits(rule.from_, scope.locality):
            return _distributed(groups, rule.to)
    if wish.distribute or not can_fail_over:
        return tuple(groups)
    if wish.failover_priority:
        labels = topology(scope.locality) | dict(scope.labels)
        groups = [part for group in groups for part in _ranked(group, wish, labels)]
        if not wish.failover and wish.zone_aware is None:
            return _without_gaps(groups)
    if scope.locality == model.Locality():
        return _without_gaps(groups)
    return _without_gaps(
        replace(group, priority=group.priority * 5 + _distance(scope.locality, group, wish))
        for group in groups
    )


def topology(place: model.Locality, network: str = "") -> dict[str, str]:
    """The labels that stand for a place."""
    said = {
        REGION: place.region,
        ZONE: place.zone,
        SUB_ZONE: place.sub_zone,
        NETWORK: network,
    }
    return {label: value for label, value in said.items() if value}


def _fits(pattern: str, place: model.Locality) -> bool:
    """``region/zone/*``; what is not said fits all."""
    parts = (*pattern.split("/", 2), "", "")[:3]
    region, *narrower = zip(parts, (place.region, place.zone, place.sub_zone), strict=True)
    if region[0] not in {"*", region[1]}:
        return False
    return all(wanted in {"", "*", value} for wanted, value in narrower)


def _distributed(groups: Sequence[Group], to: Mapping[str, int]) -> tuple[Group, ...]:
    """Each share is split over the localities it names, narrow names first; the rest get none."""
    left = list(groups)
    made: list[Group] = []
    for pattern in sorted(to, key=_narrow_first):
        chosen = [group for group in left if _fits(pattern, group.locality)]
        total = sum(group.weight for group in chosen)
        for group in chosen:
            left.remove(group)
            made.append(replace(group, weight=ceil(group.weight * to[pattern] / total)))
    return tuple(sorted(made, key=lambda group: group.locality))


def _narrow_first(pattern: str) -> tuple[int, str]:
    said = [part for part in pattern.split("/") if part not in {"", "*"}]
    return -len(said), pattern


def _ranked(group: Group, wish: Preference, labels: Mapping[str, str]) -> Iterable[Group]:
    """A locality's endpoints by how many labels, from the first on, they share with the caller."""
    wanted = [
        (label, value if has_value else labels.get(label, ""))
        for label, has_value, value in (each.partition("=") for each in wish.failover_priority)
    ]
    ranks: dict[int, list[Member]] = {}
    for member in group.members:
        missed = (
            len(wanted) - index
            for index, (label, value) in enumerate(wanted)
            if member.labels.get(label, "") != value
        )
        ranks.setdefault(next(missed, 0), []).append(member)
    for rank in sorted(ranks):
        members = tuple(ranks[rank])
        weight = sum(member.endpoint.load_balancing_weight for member in members)
        yield replace(group, members=members, weight=weight, priority=rank)


def _distance(mine: model.Locality, group: Group, wish: Preference) -> int:
    place = group.locality
    if place.region != mine.region:
        return _abroad(mine.region, place.region, wish.failover)
    if wish.zone_aware is not None or place == mine:
        return SAME
    return SAME_ZONE if place.zone == mine.zone else SAME_REGION


def _abroad(mine: str, theirs: str, failover: Sequence[Failover]) -> int:
    for rule in failover:
        if rule.from_ == mine:
            return ELSEWHERE if theirs == rule.to else UNWANTED
    return ELSEWHERE


def _without_gaps(groups: Iterable[Group]) -> tuple[Group, ...]:
    """The nearest that there are become priority 0, the next 1, and so on."""
    listed = list(groups)
    order = {rank: index for index, rank in enumerate(sorted({g.priority for g in listed}))}
    return tuple(replace(group, priority=order[group.priority]) for group in listed)
