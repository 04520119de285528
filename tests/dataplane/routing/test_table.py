from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.dataplane import Request, Response, python_regex
from meshlib.dataplane.routing.matchers import path_of
from meshlib.dataplane.routing.table import Parts, RouteTable
from meshlib.errors import ConfigError
from meshlib.model import (
    FAULT,
    Exact,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    Metadata,
    MetadataMatcher,
    PathExact,
    PathMatcher,
    PathPrefix,
    PathRegex,
    PathSeparatedPrefix,
    Present,
    Range,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RuntimeFraction,
    Struct,
    Value,
    VirtualCluster,
    VirtualHost,
)
from meshlib.testing import always, scripted

EVERYTHING = PathPrefix("")
CALL = Request("reviews:9080", "GET", "/")


def table(*routes: Route, dice=always(0.0), **host) -> RouteTable:  # noqa: B008
    virtual_host = VirtualHost(name="host", domains=("*",), routes=routes, **host)
    config = RouteConfiguration(name="table", virtual_hosts=(virtual_host,))
    return RouteTable(config, Parts({}, python_regex, dice))


def to(cluster: str, path: PathMatcher = EVERYTHING, **match) -> Route:
    return Route(
        name=cluster, match=RouteMatch(path=path, **match), action=RouteAction(cluster=cluster)
    )


def found(routes: RouteTable, path: str, *headers: tuple[str, str]) -> str | None:
    route = routes.find(Request("reviews:9080", "GET", path, headers=headers))
    return route.config.name if route is not None else None


def test_the_first_route_that_matches_is_taken() -> None:
    routes = table(
        to("long", PathPrefix("/a/b")),
        to("short", PathPrefix("/a")),
        to("never", PathExact("/a/b")),
        to("exact", PathExact("/x")),
        to("never", PathPrefix("/x")),
    )
    assert found(routes, "/a/b") == "long"
    assert found(routes, "/a/c") == "short"
    assert found(routes, "/x") == "exact"
    assert found(routes, "/y") is None


def test_a_route_for_grpc_takes_what_is_grpc_by_nature_or_by_content_type() -> None:
    routes = table(to("grpc", grpc=True), to("http"))
    for _ in range(2):  # what is remembered is no different
        assert found(routes, "/") == "http"
        assert found(routes, "/", ("content-type", "application/grpc")) == "grpc"
        assert found(routes, "/", ("content-type", "application/grpc+proto")) == "grpc"
        assert found(routes, "/", ("content-type", "application/grpc-web")) == "http"
        call = Request("reviews:9080", "POST", "/a.B/C", is_grpc=True)
        found_for_call = routes.find(call)
        assert found_for_call is not None
        assert found_for_call.config.name == "grpc"


def test_a_condition_that_fails_leads_to_the_next_route() -> None:
    routes = table(
        to("beta", headers=(HeaderMatcher(name="x-user", match=Exact("beta")),)), to("stable")
    )
    assert found(routes, "/", ("x-user", "beta")) == "beta"
    assert found(routes, "/", ("x-user", "other")) == "stable"
    assert found(routes, "/") == "stable"


def test_two_values_are_not_remembered_as_one() -> None:
    routes = table(to("both", headers=(HeaderMatcher(name="x", match=Exact("1,2")),)), to("else"))
    assert found(routes, "/", ("x", "1,2")) == "both"
    assert found(routes, "/", ("x", "1"), ("x", "2")) == "else"


def test_queries_do_not_fill_the_memory_of_paths() -> None:
    routes = table(to("all"))
    for number in range(100):
        assert found(routes, f"/search?q={number}") == "all"
    host = routes.host(Request("reviews:9080", "GET", "/"))
    assert host is not None
    assert set(host._memo) == {"/search"}


def test_the_memory_of_paths_stays_small() -> None:
    routes = table(to("all"))
    for number in range(3000):
        found(routes, f"/{number}")
    host = routes.host(Request("reviews:9080", "GET", "/"))
    assert host is not None
    assert len(host._memo) <= 1024


def test_a_share_of_calls_matches() -> None:
    tenth = RuntimeFraction(numerator=10)
    dice = scripted([0.09, 0.1, 0.5])
    routes = table(to("few", runtime_fraction=tenth), to("most"), dice=dice)
    assert [found(routes, "/") for _ in range(3)] == ["few", "most", "most"]


def test_a_route_inherits_the_retry_policy_of_its_host() -> None:
    policy, own = RetryPolicy(retry_on=("5xx",)), RetryPolicy(retry_on=("reset",))
    mine = Route(action=RouteAction(cluster="b", retry_policy=own))
    (first, second) = (
        table(to("a"), mine, retry_policy=policy).host(Request("reviews:9080", "GET", "/")).routes
    )  # type: ignore[union-attr]
    assert (first.retry.policy, second.retry.policy) == (policy, own)


def test_one_roll_is_for_all_the_fractions_that_a_call_meets() -> None:
    half, rest = RuntimeFraction(numerator=50), RuntimeFraction(numerator=50)
    dice = scripted([0.4, 0.6])
    routes = table(
        to("half", runtime_fraction=half), to("never", runtime_fraction=rest), to("all"), dice=dice
    )
    assert [found(routes, "/") for _ in range(2)] == ["half", "all"]


def test_a_runtime_key_says_another_fraction() -> None:
    fraction = RuntimeFraction(numerator=0, runtime_key="canary")
    host = VirtualHost(name="h", domains=("*",), routes=(to("canary", runtime_fraction=fraction),))
    config = RouteConfiguration(name="table", virtual_hosts=(host,))
    for runtime, route in (({}, None), ({"canary": 100}, "canary"), ({"other": 100}, None)):
        parts = Parts({}, python_regex, always(0.5), runtime=runtime)
        assert found(RouteTable(config, parts), "/") == route


@pytest.mark.parametrize(
    ("asks", "headers", "scheme", "moved"),
    [
        ("none", (), "http", False),
        ("all", (), "http", True),
        ("all", (), "https", False),
        ("all", (("x-forwarded-proto", "https"),), "http", False),
        ("all", (("x-forwarded-proto", "http"),), "https", True),
        ("all", (("x-envoy-internal", "true"),), "http", True),
        ("external_only", (), "http", True),
        ("external_only", (("x-envoy-internal", "true"),), "http", False),
    ],
)
def test_a_host_that_requires_tls_sends_others_there(
    asks: str, headers: tuple[tuple[str, str], ...], scheme: str, moved: bool
) -> None:
    routes = table(to("a"), require_tls=asks)
    request = Request("shop:80", "GET", "/x?q", "shop:80", scheme, headers=headers)
    for _ in range(2):  # what is remembered is no different
        plain = routes.find(Request("shop:80", "GET", "/x?q", "shop:80", "https"))
        assert plain is not None
        assert plain.config.name == "a"
        route = routes.find(request)
        assert route is not None
        assert (route.config.name != "a") is moved
    if moved:
        answer = route.answer(request, None)
        assert answer == Response(301, (("location", "https://shop:80/x?q"),))


def test_calls_have_the_name_of_the_first_virtual_cluster_that_they_match() -> None:
    gets = HeaderMatcher(name=":method", match=Exact("GET"))
    named = (
        VirtualCluster(name="below-a", headers=(gets, HeaderMatcher(name="x"))),
        VirtualCluster(name="gets", headers=(gets,)),
    )
    routes = table(to("all"), virtual_clusters=named)
    live = routes.find(CALL)
    assert live is not None
    assert live.virtual_cluster(CALL) == "gets"
    assert live.virtual_cluster(Request("r:80", "GET", "/", headers=(("x", ""),))) == "below-a"
    assert live.virtual_cluster(Request("r:80", "POST", "/")) == "other"


def test_what_filters_say_of_a_call_is_matched_and_not_remembered() -> None:
    def said(value: Value) -> Metadata:
        return Metadata((("ns", Struct((("key", Struct((("deep", value),))),))),))

    def goes(match: Any, metadata: Metadata | None, *, invert: bool = False) -> bool:
        matcher = MetadataMatcher(filter="ns", path=("key", "deep"), match=match, invert=invert)
        routes = table(to("yes", dynamic_metadata=(matcher,)), to("no"))
        route = routes.find(Request("r:80", "GET", "/", dynamic_metadata=metadata))
        assert route is not None
        return route.config.name == "yes"

    assert goes(Exact("a"), said("a"))
    assert not goes(Exact("a"), said("b"))
    assert not goes(Exact("a"), said(1.0))
    assert not goes(Exact("a"), None)
    assert goes(Exact("a"), None, invert=True)
    assert goes(Range(1, 3), said(2.5))
    assert not goes(Range(1, 3), said(True))
    assert goes(True, said(True))
    assert not goes(True, said(1.0))
    assert goes(None, said(None))
    assert not goes(None, None)
    assert goes(Present(), said(None))
    assert not goes(Present(False), Metadata())
    assert not goes(Present(False), said("a"))
    assert goes(Present(), Metadata(), invert=True)


def test_a_format_that_is_not_supported_is_refused_with_its_place() -> None:
    option = HeaderValueOption(name="x", value="%CEL(1)%")
    route = Route(
        name="r",
        action=RouteAction(cluster="a"),
        headers=HeaderMutations(response_headers_to_add=(option,)),
    )
    with pytest.raises(ConfigError) as refused:
        table(route)
    assert "virtual_hosts[host].routes[r]" in str(refused.value)
    assert "%CEL%" in str(refused.value)


SEGMENTS = st.lists(st.sampled_from(["a", "b", "A", ""]), max_size=3).map("/".join)
PATHS = SEGMENTS.map(lambda text: f"/{text}")
MATCHERS = st.one_of(
    PATHS.map(PathExact),
    PATHS.map(PathPrefix),
    PATHS.map(PathSeparatedPrefix),
    PATHS.map(lambda path: PathRegex(f"{path}.*")),
    st.just(PathPrefix("")),
)
MATCHES = st.builds(
    RouteMatch,
    path=MATCHERS,
    case_sensitive=st.booleans(),
    headers=st.sampled_from([(), (HeaderMatcher(name="x"),)]),
)


@given(
    matches=st.lists(MATCHES, max_size=12),
    path=PATHS,
    query=st.sampled_from(["", "?q", "#f"]),
    headed=st.booleans(),
)
def test_the_index_finds_what_trying_one_by_one_finds(
    matches: list[RouteMatch], path: str, query: str, headed: bool
) -> None:
    routes = table(
        *(Route(match=m, action=RouteAction(cluster=str(i))) for i, m in enumerate(matches))
    )
    request = Request("reviews:9080", "GET", path + query, headers=(("x", "1"),) if headed else ())
    host = routes.host(request)
    assert host is not None
    wanted = next(
        (
            r
            for r in host.routes
            if r.matches_path(path_of(request.path)) and r.mismatch(request) is None
        ),
        None,
    )
    assert routes.find(request) is wanted


def test_ten_thousand_routes_are_not_tried_one_by_one() -> None:
    tried = []

    def counting(pattern: str):
        def fullmatch(value: str) -> object:
            tried.append(value)
            return None

        return fullmatch

    exact = [to(f"e{n}", PathExact(f"/exact/{n}")) for n in range(5000)]
    below = [to(f"p{n}", PathSeparatedPrefix(f"/below/{n}")) for n in range(5000)]
    host = VirtualHost(
        name="host", domains=("*",), routes=(*exact, *below, to("regex", PathRegex("/x")))
    )
    config = RouteConfiguration(name="table", virtual_hosts=(host,))
    routes = RouteTable(config, Parts({}, counting, always(0.0)))
    index = routes.host(Request("reviews:9080", "GET", "/"))._index  # type: ignore[union-attr]
    assert [position for position, _ in index._rest] == [10_000]
    assert found(routes, "/exact/4999") == "e4999"
    assert found(routes, "/below/4321/x") == "p4321"
    assert tried == []


def test_to_compile_a_route_with_filters_does_not_mean_to_look_through_all_of_them() -> None:
    compared = []

    class Noted(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(self)
            return str.__eq__(self, other)

    routes = tuple(to("a", PathExact(Noted(f"/{number}"))) for number in range(100))
    host = VirtualHost(name="host", domains=("*",), routes=routes)
    config = RouteConfiguration(name="table", virtual_hosts=(host,))
    RouteTable(config, Parts({}, python_regex, always(0.0), http_filters=(FAULT,)))
    assert len(compared) < 10 * len(routes)
