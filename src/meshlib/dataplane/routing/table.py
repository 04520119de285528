"""A route table, compiled: from a request to a live route."""

from ...model import NonForwardingAction, RedirectAction, Route, RouteConfiguration, VirtualHost
from ..message import Request
from .conditions import VirtualClusters
from .destination import Destination, LiveMirror
from .live_route import LiveRoute
from .local_answer import https_answer
from .matchers import path_of
from .parts import Parts
from .path_index import PathIndex
from .virtual_hosts import VirtualHosts

__all__ = ["Destination", "LiveHost", "LiveMirror", "LiveRoute", "Parts", "RouteTable"]

MEMO_SIZE = 1024
MEMO_HEADERS = 8
TLS_HEADERS = ("x-forwarded-proto", "x-envoy-internal")
NOWHERE = Route(name="nowhere", action=NonForwardingAction())
TO_HTTPS = Route(name="require_tls", action=RedirectAction(https_redirect=True))


class LiveHost:
    """The routes of one virtual host; which of them fit a path is remembered."""

    __slots__ = ("_index", "_memo", "_require_tls", "name", "routes", "to_https")

    def __init__(self, host: VirtualHost, table: RouteConfiguration, parts: Parts) -> None:
        self.name = host.name
        named = VirtualClusters(host.virtual_clusters, parts) if host.virtual_clusters else None
        self.routes = tuple(
            LiveRoute(route, host, table, parts, named, position)
            for position, route in enumerate(host.routes)
        )
        self._index = PathIndex([(r.config.match, r.matches_path) for r in self.routes])
        self._memo: dict[str, tuple[LiveRoute, ...]] = {}
        self._require_tls = host.require_tls
        self.to_https: LiveRoute | None = None
        if host.require_tls != "none":
            bare = VirtualHost(name=host.name, domains=host.domains, routes=(TO_HTTPS,))
            self.to_https = LiveRoute(TO_HTTPS, bare, RouteConfiguration(name=table.name), parts)
            self.to_https.answer = https_answer()

    def wants_tls(self, request: Request) -> bool:
        """Is the caller to come back by https?"""
        if self.to_https is None:
            return False
        if (request.header("x-forwarded-proto") or request.scheme) == "https":
            return False
        internal = request.header("x-envoy-internal") == "true"
        return self._require_tls == "all" or not internal

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

    __slots__ = ("_headers", "_is_constant", "_query", "_scheme", "of_facts", "of_luck")

    def __init__(self, config: RouteConfiguration) -> None:
        matches = [route.match for host in config.virtual_hosts for route in host.routes]
        names = {matcher.name.lower() for match in matches for matcher in match.headers}
        if any(match.grpc for match in matches):
            names.add("content-type")
        self._scheme = any(host.require_tls != "none" for host in config.virtual_hosts)
        if self._scheme:
            names.update(TLS_HEADERS)
        self._headers = tuple(sorted(names))
        self._query = any(match.query_parameters for match in matches) or ":path" in names
        self.of_facts = any(match.dynamic_metadata for match in matches)
        self.of_luck = any(match.runtime_fraction is not None for match in matches)
        self._is_constant = not (self.of_luck or self.of_facts) and len(names) <= MEMO_HEADERS

    @property
    def of_headers(self) -> bool:
        return bool(self._headers)

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
        scheme = request.scheme if self._scheme else ""
        asked = [request.values(name) for name in self._headers]
        return host, path, request.is_grpc, scheme, *asked


class RouteTable:
    """``nowhere`` stands for the route of a call while there is none: filters may find out what
    routes ask for."""

    def __init__(self, config: RouteConfiguration, parts: Parts) -> None:
        self.config = config
        self._hosts = VirtualHosts(
            [(host.domains, LiveHost(host, config, parts)) for host in config.virtual_hosts],
            ignore_port=config.ignore_port_in_host_matching,
        )
        self._asks = Questions(config)
        self._luck = parts.luck
        self.nowhere: LiveRoute | None = None
        if self._asks.of_facts:
            bare = VirtualHost(name="", domains=("*",), routes=(NOWHERE,))
            self.nowhere = LiveRoute(NOWHERE, bare, config, parts)
        self._memo: dict[tuple[object, ...], LiveRoute | None] = {}

    @property
    def asks(self) -> bool:
        """May what a filter says of a request lead it elsewhere?"""
        return self._asks.of_facts or self._asks.of_headers

    def host(self, request: Request) -> LiveHost | None:
        return self._hosts.find(request.authority or request.target)

    def roll(self) -> None:
        """Throw for the fractions that the next request may meet, if there are any."""
        if self._asks.of_luck:
            self._luck.again()

    def find(self, request: Request) -> LiveRoute | None:
        """The first route that matches, in the order of the table.

        Requests that answer alike to all that the table asks of them are routed alike, so the
        answers are the key under which a route is remembered.
        """
        key = self._asks.answers(request)
        if key is None:
            self.roll()
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
        if host.wants_tls(request):
            return host.to_https
        for route in host.candidates(request.path):
            if not route.conditions or route.mismatch(request) is None:
                return route
        return None
