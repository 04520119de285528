from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.dataplane import Request, python_regex
from meshlib.dataplane.routing.hashing import xx_hash_64
from meshlib.dataplane.routing.table import Parts, RouteTable
from meshlib.model import (
    ClusterHeader,
    ClusterWeight,
    HashHeader,
    HeaderMutations,
    HeaderValueOption,
    Percentage,
    RequestMirrorPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    WeightedClusters,
)
from meshlib.testing import always, seeded

CALL = Request("reviews:9080", "GET", "/")


def table(*routes: Route) -> RouteTable:
    host = VirtualHost(name="host", domains=("*",), routes=routes)
    config = RouteConfiguration(name="table", virtual_hosts=(host,))
    return RouteTable(config, Parts({}, python_regex, always(0.0)))


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


def chosen(route: Route, *headers: tuple[str, str], roll: float = 0.0, path: str = "/") -> str:
    request = Request("reviews:9080", "GET", path, headers=headers)
    live = table(route).find(request)
    assert live is not None
    destination = live.choose(always(roll), request)
    assert destination is not None
    return destination.name


@pytest.mark.parametrize(
    ("value", "cluster"),
    [("0", "0"), ("29", "0"), ("30", "1"), ("130", "1"), (str(2**64 - 1), "0"), (" +61 ", "2")],
)
def test_a_number_of_the_caller_s_chooses_instead_of_the_dice(value: str, cluster: str) -> None:
    route = numbered()
    assert chosen(route, ("x-n", value), roll=0.99) == cluster


@pytest.mark.parametrize("values", [(), ("x",), ("-1",), (str(2**64),), ("1", "1")])
def test_what_is_no_number_leaves_it_to_the_dice(values: tuple[str, ...]) -> None:
    route = numbered()
    assert chosen(route, *(("x-n", value) for value in values), roll=0.99) == "2"


def numbered(**more: Any) -> Route:
    clusters = tuple(ClusterWeight(name=str(i), weight=w) for i, w in enumerate((30, 30, 40)))
    said = WeightedClusters(clusters=clusters, header_name="X-N")
    return Route(action=RouteAction(cluster=said, **more))


def test_the_hash_of_a_call_may_choose_its_cluster() -> None:
    clusters = tuple(ClusterWeight(name=str(i), weight=1) for i in range(3))
    said = WeightedClusters(clusters=clusters, use_hash_policy=True)
    policy = (HashHeader(header_name="x"),)
    route = Route(action=RouteAction(cluster=said, hash_policy=policy))
    for value in ("foo", "bar", "lyft"):
        assert chosen(route, ("x", value)) == str(xx_hash_64(value) % 3)
    assert chosen(route, roll=0.99) == "2"


def test_a_call_may_name_its_cluster() -> None:
    route = Route(action=RouteAction(cluster=ClusterHeader("X-To")))
    assert chosen(route, ("x-to", "a"), ("x-to", "b")) == "a"
    assert chosen(route) == ""
    assert chosen(Route(action=RouteAction(cluster=ClusterHeader(":authority")))) == "reviews:9080"


def test_the_memory_of_named_clusters_stays_small() -> None:
    routes = table(Route(action=RouteAction(cluster=ClusterHeader("x-to"))))
    route = routes.find(CALL)
    assert route is not None
    for number in range(3000):
        named = Request("reviews:9080", "GET", "/", headers=(("x-to", str(number)),))
        destination = route.choose(always(0.0), named)
        assert destination is not None
        assert destination.name == str(number)


def test_copies_go_where_the_nearest_level_sends_them() -> None:
    def mirrors(
        own: tuple[RequestMirrorPolicy, ...],
        host: tuple[RequestMirrorPolicy, ...],
        around: tuple[RequestMirrorPolicy, ...],
    ) -> list[tuple[str, float, bool]]:
        route = Route(action=RouteAction(cluster="a", request_mirror_policies=own))
        virtual_host = VirtualHost(
            name="h", domains=("*",), routes=(route,), request_mirror_policies=host
        )
        config = RouteConfiguration(
            name="t", virtual_hosts=(virtual_host,), request_mirror_policies=around
        )
        live = RouteTable(config, Parts({}, python_regex, always(0.0))).find(CALL)
        assert live is not None
        return [(mirror.name, mirror.share, mirror.suffix) for mirror in live.mirrors]

    own = (
        RequestMirrorPolicy(cluster="own", runtime_fraction=Percentage(numerator=25)),
        RequestMirrorPolicy(cluster="too", disable_shadow_host_suffix_append=True),
    )
    host, around = (RequestMirrorPolicy(cluster="host"),), (RequestMirrorPolicy(cluster="table"),)
    assert mirrors(own, host, around) == [("own", 0.25, True), ("too", 1.0, False)]
    assert mirrors((), host, around) == [("host", 1.0, True)]
    assert mirrors((), (), around) == [("table", 1.0, True)]


def test_the_most_specific_level_has_the_last_word_where_that_is_asked_for() -> None:
    def sent(*, wins: bool) -> str | None:
        def says(value: str) -> HeaderMutations:
            action = "overwrite_if_exists_or_add"
            option = HeaderValueOption(name="x", value=value, append_action=action)
            return HeaderMutations(request_headers_to_add=(option,))

        route = Route(action=RouteAction(cluster="a"), headers=says("route"))
        host = VirtualHost(name="h", domains=("*",), routes=(route,), headers=says("host"))
        config = RouteConfiguration(
            name="t",
            virtual_hosts=(host,),
            headers=says("table"),
            most_specific_header_mutations_wins=wins,
        )
        live = RouteTable(config, Parts({}, python_regex, always(0.0))).find(CALL)
        assert live is not None
        assert live.only_destination is not None
        assert live.only_destination.rewrite is not None
        return live.only_destination.rewrite(CALL).header("x")

    assert sent(wins=False) == "table"
    assert sent(wins=True) == "route"
