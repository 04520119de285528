"""Calls under way keep their cluster up to date when no route leads there any more (gRFC A31)."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.model import Aggregate, Cluster, gather
from meshlib.testing.ads import AdsPair
from meshlib.xds.types import CLUSTER, ENDPOINT, ROUTE


@pytest.fixture
def called() -> set[str]:
    """The clusters that calls are under way to."""
    return set()


@pytest.fixture
def left(a_pair: Callable[..., AdsPair], world, called) -> AdsPair:
    """Routes have just gone over from ``x`` to ``y``."""
    pair = a_pair(is_called=called.__contains__)
    pair.watch("a")
    pair.connect()
    pair.serve(world.chain("a", "x"))
    pair.respond(ROUTE, world.table("ra", "y"), version="2")
    pair.respond(CLUSTER, world.cluster("x"), world.cluster("y"), version="2")
    pair.respond(ENDPOINT, world.endpoints("y"), version="2")
    assert pair.snapshot.routes["ra"] == world.table("ra", "y")
    return pair


def test_o4_a_cluster_that_is_called_is_held_until_the_last_call_ended(left, called) -> None:
    called.add("x")
    left.jump(60)
    assert set(left.names(CLUSTER)) == set(left.names(ENDPOINT)) == {"x", "y"}
    assert set(left.snapshot.clusters) == {"x", "y"}
    called.clear()
    left.jump(1)
    assert left.names(CLUSTER) == left.names(ENDPOINT) == ("y",)
    assert set(left.snapshot.clusters) == {"y"}


def test_o4_calls_under_way_hear_of_new_endpoints(left, world, called) -> None:
    called.add("x")
    left.jump(5)
    left.respond(ENDPOINT, world.endpoints("x", 81), world.endpoints("y"), version="3")
    assert left.snapshot.endpoints["x"] == world.endpoints("x", 81)


def test_o4_a_call_may_still_begin_while_the_new_routes_come_in_force(left) -> None:
    assert set(left.names(CLUSTER)) == {"x", "y"}
    left.jump(1)
    assert left.names(CLUSTER) == ("y",)


def test_o4_what_routes_come_back_to_is_not_let_go(left, world) -> None:
    left.respond(ROUTE, world.table("ra", "x"), version="3")
    left.jump(5)
    assert left.names(CLUSTER) == ("x",)
    assert left.snapshot == world.chain("a", "x")


def test_o4_an_aggregate_is_held_with_what_it_is_made_of(a_pair, world, called) -> None:
    both = Cluster(name="both", discovery=Aggregate(clusters=("x", "y")))
    pair = a_pair(is_called=called.__contains__)
    pair.watch("a")
    pair.connect()
    clusters = [world.cluster(name) for name in "xyz"]
    endpoints = [world.endpoints(name) for name in "xyz"]
    everything = gather(
        listeners=[world.listener("a")],
        routes=[world.table("ra", "both")],
        clusters=[both, *clusters],
        endpoints=endpoints,
    )
    pair.serve(everything)
    called.add("both")
    pair.respond(ROUTE, world.table("ra", "z"), version="2")
    pair.respond(CLUSTER, both, *clusters, version="2")
    pair.respond(ENDPOINT, *endpoints, version="2")
    pair.jump(5)
    assert set(pair.names(ENDPOINT)) == {"x", "y", "z"}
    called.clear()
    pair.jump(2)
    assert pair.names(ENDPOINT) == ("z",)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("route"), st.sets(st.sampled_from("wxyz"), min_size=1)),
            st.tuples(st.just("call"), st.sampled_from("wxyz")),
            st.tuples(st.just("end"), st.sampled_from("wxyz")),
            st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 3.0])),
        ),
        max_size=25,
    ),
    delta=st.booleans(),
)
def test_o4_whatever_routes_and_calls_do_a_called_cluster_is_there(world, steps, delta) -> None:
    called, routed = set(), {"x"}
    pair = AdsPair(delta=delta, is_called=called.__contains__)
    pair.watch("a")
    pair.connect()
    pair.serve(world.chain("a", "x"))
    for number, (kind, what) in enumerate(steps):
        match kind:
            case "route":
                routed = what
                pair.respond(ROUTE, world.table("ra", *sorted(what)), version=f"r{number}")
                for type_url, make in ((CLUSTER, world.cluster), (ENDPOINT, world.endpoints)):
                    asked = pair.names(type_url)
                    pair.respond(type_url, *map(make, asked), version=f"v{number}")
            case "call" if what in routed:
                called.add(what)
            case "end":
                called.discard(what)
            case "wait":
                pair.jump(what)
        assert called | routed <= set(pair.snapshot.clusters)
        assert set(pair.snapshot.clusters) == set(pair.snapshot.endpoints)
    pair.jump(2)
    assert set(pair.names(CLUSTER)) == set(pair.names(ENDPOINT)) == called | routed
