"""Where a route leads to, and what is changed on the way there and back."""

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING

from ...clock import Dice
from ...errors import ConfigError, Problem
from ...model import (
    ClusterHeader,
    ClusterWeight,
    Cors,
    DirectResponseAction,
    HeaderMutations,
    RedirectAction,
    RequestMirrorPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    WeightedClusters,
)
from ..filters.chain import Filter, filters_for
from ..message import Request
from ..upstream.cluster import UpstreamCluster
from .formatting import first_value
from .hash_policy import MASK, Hash, HashPolicies
from .header_levels import request_levels, response_levels
from .matchers import whole_number
from .parts import Parts
from .rewrite import Respond, Rewrite

if TYPE_CHECKING:
    from ..events import CallRecord

MEMO_SIZE = 1024


class Place:
    """Where a route stands, and what is said around it."""

    __slots__ = ("config", "host", "parts", "position", "table")

    def __init__(
        self,
        config: Route,
        host: VirtualHost,
        table: RouteConfiguration,
        parts: Parts,
        position: int,
    ) -> None:
        self.config = config
        self.host = host
        self.table = table
        self.parts = parts
        self.position = position

    @property
    def levels(self) -> tuple[HeaderMutations, ...]:
        """What acts on headers, in turn: the last has the last word."""
        levels = (self.config.headers, self.host.headers, self.table.headers)
        return levels[::-1] if self.table.most_specific_header_mutations_wins else levels

    @property
    def field(self) -> str:
        return (
            f"routes/{self.table.name}: virtual_hosts[{self.host.name}].routes[{self.config.name}]"
        )

    def filters(self, choice: ClusterWeight | None = None) -> tuple[tuple[str, Filter], ...]:
        """The filters that have something to do for calls to this choice, with their names."""
        parts = self.parts
        if not parts.http_filters:
            return ()
        action = self.config.action
        limits = action.rate_limits if isinstance(action, RouteAction) else ()
        overrides = (self.config.overrides, self.host.overrides, self.table.overrides)
        name = choice.name if choice else ""
        site = parts.site(
            (self.table.name, self.host.name, str(self.position), name),
            cluster=name,
            rate_limits=limits or self.host.rate_limits,
        )
        levels = (choice.overrides, *overrides) if choice else overrides
        # Envoy marks answers of others for browsers, not its own.
        is_answered = isinstance(action, RedirectAction | DirectResponseAction)
        return tuple(
            (each.name, made)
            for each in parts.http_filters
            if not (is_answered and isinstance(each.config, Cors))
            for made in filters_for((each,), levels, site)
        )


class Destination:
    """One cluster that a route may send to."""

    __slots__ = (
        "balanced",
        "cluster",
        "filter_names",
        "filters",
        "name",
        "respond",
        "rewrite",
        "weight",
    )

    def __init__(self, choice: ClusterWeight, action: RouteAction, place: Place) -> None:
        parts = place.parts
        self.name = choice.name
        self.weight = choice.weight
        filters = place.filters(choice)
        self.filters = tuple(made for _, made in filters)
        self.filter_names = tuple(name for name, _ in filters)
        self.cluster = parts.clusters.get(choice.name)
        passthrough = self.cluster is not None and self.cluster.passthrough
        self.balanced = None if passthrough else self.cluster
        rewrite = Rewrite(
            place.config.match,
            action,
            request_levels(place.levels, parts.whereabouts),
            parts.finditer,
            (request_levels((choice.headers,), parts.whereabouts), choice.host_rewrite_literal),
        )
        self.rewrite = rewrite if rewrite.is_needed else None
        responses = response_levels((choice.headers, *place.levels), parts.whereabouts)
        self.respond = Respond(responses) if responses else None


class LiveMirror:
    """Where a share of the calls is sent once more; ``suffix``: to ``<host>-shadow``."""

    __slots__ = ("cluster", "name", "share", "suffix")

    def __init__(self, policy: RequestMirrorPolicy, cluster: UpstreamCluster | None) -> None:
        self.name = policy.cluster
        self.cluster = cluster
        self.share = policy.runtime_fraction.share
        self.suffix = not policy.disable_shadow_host_suffix_append


Chooser = Callable[[Dice, Request, "CallRecord | None"], Destination]


def chooser(action: RouteAction, destinations: tuple[Destination, ...], place: Place) -> Chooser:
    """One choice a call among several, or of a cluster that the call itself names."""
    match action.cluster:
        case ClusterHeader(header_name):
            return _named(header_name.lower(), action, place)
        case WeightedClusters() as weighted:
            return _weighted(weighted, action, destinations, place)
        case str():
            return lambda _dice, _request, _record: destinations[0]


def _weighted(
    weighted: WeightedClusters,
    action: RouteAction,
    destinations: tuple[Destination, ...],
    place: Place,
) -> Chooser:
    bounds = tuple(accumulate(destination.weight for destination in destinations))
    total = bounds[-1]
    if not total:
        raise ConfigError(Problem(place.field, "the weights of its clusters are all 0"))
    number = _number(weighted, action, place)

    def choose(dice: Dice, request: Request, record: "CallRecord | None") -> Destination:
        said = None if number is None else number(request, record)
        point = dice() * total if said is None else said % total
        return destinations[bisect_right(bounds, point)]

    return choose


def _number(weighted: WeightedClusters, action: RouteAction, place: Place) -> Hash | None:
    """Whatever is instead of the roll, so that others may choose alike."""
    if weighted.use_hash_policy:
        hashed = HashPolicies(action.hash_policy, place.table.name, place.parts)
        # A cookie that is made is made for the endpoint, not here.
        return lambda request, _record: hashed(request)
    name = weighted.header_name.lower()
    if not name:
        return None

    def number(request: Request, _record: "CallRecord | None") -> int | None:
        values = [value for key, value in request.headers if key == name]
        found = whole_number(values[0]) if len(values) == 1 else None
        return found if found is not None and 0 <= found <= MASK else None

    return number


def _named(header: str, action: RouteAction, place: Place) -> Chooser:
    known: dict[str, Destination] = {}

    def choose(_dice: Dice, request: Request, _record: "CallRecord | None") -> Destination:
        name = first_value(request, header) or ""
        found = known.get(name)
        if found is None:
            if len(known) >= MEMO_SIZE:
                known.clear()
            made = Destination(ClusterWeight(name=name, weight=1), action, place)
            found = known[name] = made
        return found

    return choose


def choices(action: RouteAction) -> tuple[ClusterWeight, ...]:
    match action.cluster:
        case WeightedClusters(clusters=clusters):
            return tuple(c for c in clusters if c.weight > 0) or clusters
        case ClusterHeader():
            return ()
        case str() as name:
            return (ClusterWeight(name=name, weight=1),)


def leads_anywhere(table: RouteConfiguration) -> bool:
    """May requests name clusters that the table itself does not?"""
    return any(
        isinstance(route.action, RouteAction) and isinstance(route.action.cluster, ClusterHeader)
        for host in table.virtual_hosts
        for route in host.routes
    )
