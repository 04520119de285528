"""A route table and requests for it, all of one seed."""

from dataclasses import dataclass, replace

from ...model import (
    Address,
    Exact,
    HeaderMatcher,
    HttpConnectionManager,
    Listener,
    Metadata,
    Prefix,
    Route,
    RouteConfiguration,
    RouteMatch,
    Struct,
    VirtualCluster,
    VirtualHost,
)
from .actions import CLUSTERS, action, mutations
from .filters import FILTERS, overrides
from .luck import Luck
from .matches import PATHS, VALUES, route_match

__all__ = ["CLUSTERS", "UPSTREAM_HEADERS", "Case", "Sent", "case", "listener"]

UPSTREAM_HEADERS = (("x-up", "up"), ("x-twice", "1"), ("x-twice", "2"), ("x-a", "answered"))
"""What every upstream answers with."""

DOMAINS = (
    "a.example",
    "b.example:8080",
    "B.example",
    "*.example",
    "*.b.example",
    "*-x.example",
    "a.*",
    "a.b.*",
    "*",
    "x",
)
AUTHORITIES = (
    "a.example",
    "A.EXAMPLE",
    "a.example:80",
    "b.example:8080",
    "b.example",
    "c.b.example",
    "q-x.example",
    "a.b.net",
    "a.",
    "x",
    ".example",
    "y:81",
    "[::1]",
    "[::1]:80",
    "a.b.example",
    "a.b.example:80",
)
QUERIES = (
    "",
    "",
    "?q=one",
    "?r=two&q=One",
    "?q",
    "?Q=&q=",
    "?x=1?q=one",
    "?q=%6Fne",
    "?",
    "?q=two&q=one",
)
BIG = str(2**64 - 1)
ENDINGS = (
    *("", "", "", "", "/b", "/b", "/", "/", "x", "x", "//b", "/./b", "/../b", "/..", "/.", ";x=1"),
    *("/%2e%2E/b", "/b%2fc", "/%41%7e", "/b%", "/%zz", "/b\\c", "/b|c", "/b{c}", "/...", "/.b"),
)
METHODS = ("GET", "GET", "POST", "DELETE", "HEAD")
NAMED = Metadata((("some", Struct((("number", 4.0), ("text", "said")))),))
VIRTUAL_CLUSTERS = (
    VirtualCluster(name="gets", headers=(HeaderMatcher(name=":method", match=Exact("GET")),)),
    VirtualCluster(name="below-a", headers=(HeaderMatcher(name=":path", match=Prefix("/a")),)),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it goes over the wire; names in lower case."""

    method: str
    authority: str
    path: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Case:
    seed: int
    table: RouteConfiguration
    requests: tuple[Sent, ...]


def case(seed: int, requests: int) -> Case:
    luck = Luck(seed)
    table = _table(luck, f"table-{seed}")
    return Case(seed, table, tuple(_request(luck) for _ in range(requests)))


def listener(case: Case) -> Listener:
    """Where somebody else may be asked."""
    tidy = case.seed % 2 == 0
    http = HttpConnectionManager(
        routes=case.table,
        http_filters=FILTERS,
        stat_prefix=case.table.name,
        normalize_path=tidy,
        merge_slashes=tidy,
    )
    return Listener(name=case.table.name, http=http, address=Address("127.0.0.1", 0))


def _table(luck: Luck, name: str) -> RouteConfiguration:
    domains = list(DOMAINS)
    hosts = []
    for index in range(luck.number(1, 4)):
        taken = [domains.pop(luck.number(0, len(domains) - 1)) for _ in range(luck.number(1, 2))]
        hosts.append(_host(luck, f"host-{index}", tuple(taken)))
    if "*" in domains and luck.chance(0.95):
        hosts.append(_host(luck, "rest", ("*",)))
    return RouteConfiguration(
        name=name,
        virtual_hosts=tuple(hosts),
        ignore_port_in_host_matching=luck.chance(0.3),
        headers=mutations(luck),
        most_specific_header_mutations_wins=luck.chance(0.5),
        overrides=overrides(luck),
    )


def _host(luck: Luck, name: str, domains: tuple[str, ...]) -> VirtualHost:
    routes = [_route(luck, f"{name}-{index}") for index in range(luck.number(2, 7))]
    if luck.chance(0.85):
        routes.append(replace(_route(luck, f"{name}-rest"), match=RouteMatch()))
    return VirtualHost(
        name=name,
        domains=domains,
        routes=tuple(routes),
        headers=mutations(luck),
        require_tls=luck.one(("none",) * 28 + ("all", "external_only")),
        virtual_clusters=luck.maybe(lambda: VIRTUAL_CLUSTERS, 0.5, ()),
        include_request_attempt_count=luck.chance(0.2),
        include_attempt_count_in_response=luck.chance(0.2),
        overrides=overrides(luck),
    )


def _route(luck: Luck, name: str) -> Route:
    return Route(
        name=luck.maybe(lambda: name, 0.8, ""),
        match=route_match(luck),
        action=action(luck),
        metadata=luck.maybe(lambda: NAMED, 0.5, Metadata()),
        headers=mutations(luck),
        overrides=overrides(luck),
    )


def _request(luck: Luck) -> Sent:
    headers = []
    for name in ("x-a", "x-b", "x-c"):
        headers += [(name, luck.one(VALUES)) for _ in range(luck.one((0, 0, 1, 1, 2)))]
    if luck.chance(0.3):
        headers.append(("user-agent", luck.one(("one", "curl/8"))))
    if luck.chance(0.7):
        headers.append(("x-cluster", luck.one((*CLUSTERS, *CLUSTERS, "gone"))))
    if luck.chance(0.2):
        headers.append(("x-host", "told.example"))
    if luck.chance(0.2):
        headers.append(("x-forwarded-host", luck.one(("a.example", "first", "first,a.example"))))
    if luck.chance(0.05):
        headers.append(("content-type", luck.one(("application/grpc+x", "text/plain"))))
    if luck.chance(0.3):
        headers.append(("origin", luck.one(("https://one.example", "https://two.example", "x"))))
    asks = luck.chance(0.1)
    if asks:
        headers.append(("access-control-request-method", "PUT"))
    if luck.chance(0.1):
        headers.append(("access-control-request-headers", "x-a,x-c"))
    if luck.chance(0.1):
        headers.append(("x-envoy-fault-abort-request", luck.one(("418", "99", "x"))))
    headers.append(("x-number", luck.one((str(luck.number(0, 60)), BIG))))
    path = luck.one(PATHS) + luck.one(ENDINGS) + luck.one(QUERIES)
    method = "OPTIONS" if asks else luck.one(METHODS)
    return Sent(method, luck.one(AUTHORITIES), path, tuple(headers))
