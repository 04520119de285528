"""A route table, compiled: from a request to a live route."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate

from ...clock import Clock, Dice
from ...errors import ConfigError, Problem
from ...model import (
    ClusterHeader,
    ClusterWeight,
    HeaderMutations,
    HttpFilter,
    RateLimit,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    WeightedClusters,
)
from ..deadline import route_timeout
from ..filters.chain import Filter, Kept, Site, filters_for
from ..message import Outcome, Request, Response
from ..upstream.cluster import UpstreamCluster
from ..upstream.retry import RetryRule
from .matchers import (
    IS_GRPC,
    Condition,
    Regex,
    header_condition,
    path_of,
    path_rule,
    path_test,
    query_condition,
)
from .path_index import PathIndex
from .rewrite import Rewrite, mutations
from .virtual_hosts import VirtualHosts

MEMO_SIZE = 1024
MEMO_HEADERS = 8
Clusters = Mapping[str, UpstreamCluster]


class Destination:
    """One cluster that a route may send to, and what is changed on the way there."""

    __slots__ = ("balanced", "cluster", "filters", "name", "rewrite", "weight")

    def __init__(
        self,
        choice: ClusterWeight,
        cluster: UpstreamCluster | None,
        rewrite: Rewrite,
        filters: tuple[Filter, ...],
    ) -> None:
        self.name = choice.name
        self.weight = choice.weight
        self.filters = filters
        self.cluster = cluster
        self.balanced = None if cluster is None or cluster.passthrough else cluster
        self.rewrite = rewrite if rewrite.is_needed else None


class LiveRoute:
    """A route with everything looked up and compiled that a call needs."""

    __slots__ = (
        "_bounds",
        "_retriable",
        "conditions",
        "config",
        "destinations",
        "filters",
        "forward",
        "matches_path",
        "only_destination",
        "per_try_timeout",
        "response_mutations",
        "retry",
        "source",
        "timeouts",
        "virtual_host",
    )

    def __init__(
        self, config: Route, host: VirtualHost, table: RouteConfiguration, parts: "Parts"
    ) -> None:
        self.config = config
        self.virtual_host = host.name
        self.source = config.metadata.source or f"{table.name}/{host.name}/{config.name}"
        self.matches_path = path_test(config.match, parts.regex)
        self.conditions = tuple(_conditions(config, parts))
        self.forward = config.action if isinstance(config.action, RouteAction) else None
        self.retry: RetryRule | None = None
        self._retriable: frozenset[int] = frozenset()
        self.per_try_timeout: float | None = None
        self.timeouts: tuple[float | None, float | None, float | None] = (None, None, None)
        self.destinations: tuple[Destination, ...] = ()
        self.only_destination: Destination | None = None
        self._bounds: tuple[int, ...] = ()
        self.response_mutations = mutations(
            (level.response_headers_to_remove, level.response_headers_to_add)
            for level in (config.headers, host.headers, table.headers)
        )
        self.filters: tuple[Filter, ...] = ()
        if self.forward is not None:
            self._compile(self.forward, host, table, parts)
        elif parts.http_filters:
            self.filters = self._filters(host, table, parts)

    def _compile(
        self, action: RouteAction, host: VirtualHost, table: RouteConfiguration, parts: "Parts"
    ) -> None:
        policy = action.retry_policy or host.retry_policy
        if policy is not None:
            self.retry = RetryRule(policy)
            self._retriable = self.retry.statuses
            self.per_try_timeout = policy.per_try_timeout or None
        stream = parts.max_stream_duration
        self.timeouts = (
            route_timeout(action, is_grpc=False, streaming=False, listener=stream),
            route_timeout(action, is_grpc=True, streaming=False, listener=stream),
            route_timeout(action, is_grpc=True, streaming=True, listener=stream),
        )
        outer = (self.config.headers, host.headers, table.headers)
        self.destinations = tuple(
            Destination(
                choice,
                parts.clusters.get(choice.name),
                Rewrite(self.config.match, action, (choice.headers, *outer)),
                self._filters(host, table, parts, choice),
            )
            for choice in choices(action)
        )
        if len(self.destinations) == 1:
            self.only_destination = self.destinations[0]
        self._bounds = tuple(accumulate(d.weight for d in self.destinations))
        if len(self.destinations) > 1 and not self._bounds[-1]:
            where = f"routes/{table.name}: virtual_hosts[{host.name}].routes[{self.config.name}]"
            raise ConfigError(Problem(where, "the weights of its clusters are all 0"))

    def _filters(
        self,
        host: VirtualHost,
        table: RouteConfiguration,
        parts: "Parts",
        choice: ClusterWeight | None = None,
    ) -> tuple[Filter, ...]:
        if not parts.http_filters:
            return ()
        levels = (self.config.overrides, host.overrides, table.overrides)
        rule = str(host.routes.index(self.config))
        limits = self.forward.rate_limits if self.forward is not None else ()
        site = parts.site(
            (table.name, host.name, rule, choice.name if choice else ""),
            cluster=choice.name if choice else "",
            rate_limits=limits or host.rate_limits,
        )
        return filters_for(
            parts.http_filters, ((choice.overrides, *levels) if choice else levels), site
        )

    def mismatch(self, request: Request) -> str | None:
        """The first condition besides the path that does not hold, or ``None``."""
        for condition in self.conditions:
            if not condition.test(request):
                return condition.rule
        return None

    def is_final(self, outcome: Outcome) -> bool:
        """Is there plainly nothing to try again: an answer that no policy asks to retry?"""
        if not isinstance(outcome, Response):
            return False
        if outcome.grpc_status is None:
            return outcome.status not in self._retriable
        return outcome.grpc_status == 0 or self.retry is None or not self.retry.wants(outcome)

    def choose(self, dice: Dice) -> Destination | None:
        """One roll a call: the same destination for all of its attempts; ``None``: nowhere."""
        if len(self.destinations) < 2:
            return self.only_destination
        return self.destinations[bisect_right(self._bounds, dice() * self._bounds[-1])]

    def timeout(self, request: Request) -> float | None:
        if not request.is_grpc:
            return self.timeouts[0]
        return self.timeouts[2] if request.streaming else self.timeouts[1]

    @property
    def rule(self) -> str:
        """The conditions in words."""
        return " and ".join((path_rule(self.config.match), *(c.rule for c in self.conditions)))


class Parts:
    """What the compilation of a table needs from outside of it.

    ``max_stream_duration`` (seconds) and ``http_filters`` (without the router) are the listener's.
    ``service`` is what this member of the mesh is called; ``loop_lag`` as in :class:`Site`.
    """

    __slots__ = (
        "clock",
        "clusters",
        "dice",
        "http_filters",
        "kept",
        "loop_lag",
        "max_stream_duration",
        "regex",
        "service",
    )

    def __init__(  # noqa: PLR0913 - one keyword a part
        self,
        clusters: Clusters,
        regex: Regex,
        dice: Dice,
        max_stream_duration: float | None = None,
        *,
        clock: Clock = float,
        http_filters: tuple[HttpFilter, ...] = (),
        kept: Kept | None = None,
        service: str = "",
        loop_lag: Callable[[], float] = float,
    ) -> None:
        self.clusters = clusters
        self.regex = regex
        self.dice = dice
        self.clock = clock
        self.max_stream_duration = max_stream_duration
        self.http_filters = http_filters
        self.kept = kept or Kept()
        self.service = service
        self.loop_lag = loop_lag

    def site(
        self, place: tuple[str, ...], *, cluster: str = "", rate_limits: tuple[RateLimit, ...] = ()
    ) -> Site:
        return Site(
            place=place,
            clock=self.clock,
            dice=self.dice,
            regex=self.regex,
            kept=self.kept,
            clusters=self.clusters,
            cluster=cluster,
            service=self.service,
            rate_limits=rate_limits,
            loop_lag=self.loop_lag,
        )


class LiveHost:
    """The routes of one virtual host; which of them fit a path is remembered."""

    __slots__ = ("_index", "_memo", "name", "routes")

    def __init__(self, host: VirtualHost, table: RouteConfiguration, parts: Parts) -> None:
        self.name = host.name
        self.routes = tuple(LiveRoute(route, host, table, parts) for route in host.routes)
        self._index = PathIndex([(r.config.match, r.matches_path) for r in self.routes])
        self._memo: dict[str, tuple[LiveRoute, ...]] = {}

    def candidates(self, path: str) -> tuple[LiveRoute, ...]:
        """The routes that the path alone allows, up to the first without other conditions."""
        path = path_of(path)
        found = self._memo.get(path)
        if found is None:
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            found = self._memo[path] = tuple(self._search(path))
        return found

    def _search(self, path: str) -> list[LiveRoute]:
        found = []
        for position in self._index.find(path):
            found.append(self.routes[position])
            if not found[-1].conditions:
                break
        return found


class Questions:
    """What a table asks of a request besides its host and path."""

    __slots__ = ("_headers", "_is_constant", "_query")

    def __init__(self, config: RouteConfiguration) -> None:
        matches = [route.match for host in config.virtual_hosts for route in host.routes]
        names = {matcher.name.lower() for match in matches for matcher in match.headers}
        if any(match.grpc for match in matches):
            names.add("content-type")
        self._headers = tuple(sorted(names))
        self._query = any(match.query_parameters for match in matches)
        luck = any(match.runtime_fraction is not None for match in matches)
        self._is_constant = not luck and len(names) <= MEMO_HEADERS

    def answers(self, request: Request) -> tuple[object, ...] | None:
        """``None``: the next request alike may go elsewhere, or there is too much to ask."""
        if not self._is_constant:
            return None
        path = request.path
        if not self._query and "?" in path:
            path = path_of(path)
        host = request.authority or request.target
        if not self._headers:
            return host, path, request.is_grpc
        return host, path, request.is_grpc, *[request.header(name) for name in self._headers]


class RouteTable:
    def __init__(self, config: RouteConfiguration, parts: Parts) -> None:
        self.config = config
        self._hosts = VirtualHosts(
            [(host.domains, LiveHost(host, config, parts)) for host in config.virtual_hosts],
            ignore_port=config.ignore_port_in_host_matching,
        )
        self._asks = Questions(config)
        self._memo: dict[tuple[object, ...], LiveRoute | None] = {}

    def host(self, request: Request) -> LiveHost | None:
        return self._hosts.find(request.authority or request.target)

    def find(self, request: Request) -> LiveRoute | None:
        """The first route that matches, in the order of the table.

        Requests that answer alike to all that the table asks of them are routed alike, so the
        answers are the key under which a route is remembered.
        """
        key = self._asks.answers(request)
        if key is None:
            return self._search(request)
        try:
            return self._memo[key]
        except KeyError:
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            found = self._memo[key] = self._search(request)
            return found

    def _search(self, request: Request) -> LiveRoute | None:
        host = self.host(request)
        if host is None:
            return None
        for route in host.candidates(request.path):
            if not route.conditions or route.mismatch(request) is None:
                return route
        return None


def choices(action: RouteAction) -> tuple[ClusterWeight, ...]:
    match action.cluster:
        case WeightedClusters(clusters=clusters):
            return tuple(c for c in clusters if c.weight > 0) or clusters
        case ClusterHeader():
            return ()
        case str() as name:
            return (ClusterWeight(name=name, weight=1, headers=HeaderMutations()),)


def _conditions(config: Route, parts: Parts) -> list[Condition]:
    match = config.match
    found = [header_condition(matcher, parts.regex) for matcher in match.headers]
    found += [query_condition(matcher, parts.regex) for matcher in match.query_parameters]
    if match.grpc:
        found.append(IS_GRPC)
    fraction = match.runtime_fraction
    if fraction is not None:
        share = fraction.numerator / fraction.denominator
        found.append(Condition(f"{share:.2%} of calls", _lucky(parts.dice, share)))
    return found


def _lucky(dice: Dice, share: float) -> Callable[[Request], bool]:
    return lambda _request: dice() < share
