from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.dataplane import Request, python_regex
from meshlib.dataplane.routing.matchers import path_of
from meshlib.dataplane.routing.table import Parts, RouteTable
from meshlib.model import (
    ClusterWeight,
    Exact,
    HeaderMatcher,
    PathExact,
    PathMatcher,
    PathPrefix,
    PathRegex,
    PathSeparatedPrefix,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RuntimeFraction,
    VirtualHost,
    WeightedClusters,
)
from meshlib.testing import always, scripted, seeded

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


def weighted(*weights: int) -> RouteTable:
    clusters = tuple(ClusterWeight(name=str(i), weight=w) for i, w in enumerate(weights))
    return table(Route(action=RouteAction(cluster=WeightedClusters(clusters=clusters))))


def shares(weights: tuple[int, ...], seed: int, calls: int) -> Counter[str]:
    route = weighted(*weights).find(Request("reviews:9080", "GET", "/"))
    assert route is not None
    dice = seeded(seed)
    return Counter(route.choose(dice, CALL).name for _ in range(calls))


@settings(max_examples=8, deadline=None)
@given(
    weights=st.lists(st.integers(0, 100), min_size=1, max_size=5).filter(any).map(tuple),
    seed=st.integers(0, 2**32),
)
def test_traffic_splits_by_weight_within_one_per_cent(weights: tuple[int, ...], seed: int) -> None:
    calls = 100_000
    got = shares(weights, seed, calls)
    for index, weight in enumerate(weights):
        assert abs(got[str(index)] / calls - weight / sum(weights)) < 0.01
        assert weight or not got[str(index)]


@pytest.mark.parametrize(
    ("roll", "cluster"), [(0.0, "0"), (0.2999, "0"), (0.3, "1"), (0.5999, "1"), (0.6, "2")]
)
def test_a_roll_chooses_by_the_running_sum_of_weights(roll: float, cluster: str) -> None:
    route = weighted(30, 30, 40).find(Request("reviews:9080", "GET", "/"))
    assert route is not None
    assert route.choose(always(roll), CALL).name == cluster


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
