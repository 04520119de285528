"""Whatever a control plane tells, and in either encoding: the client ends up the same."""

from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.model import Snapshot, gather
from meshlib.testing.ads import AdsPair, Bad
from meshlib.xds.responses import ResourceError
from meshlib.xds.types import CLUSTER, LISTENER

NAMES = st.sampled_from("xyz")
WORLDS = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3, unique=True), st.booleans()))
FEATURES = st.sampled_from([(), ("fail_on_data_errors",)])


def ends_of(pair: AdsPair) -> object:
    entries = pair.discovery.watches.entries()
    known = {(e.type_url, e.name): (e.resource, e.state, e.error, e.transient) for e in entries}
    return known, pair.snapshot, pair.absent


@settings(max_examples=150, deadline=None, derandomize=True)
@given(steps=WORLDS, features=FEATURES)
def test_state_of_the_world_and_delta_end_in_equal_caches(world, steps, features) -> None:
    ends = []
    for delta in (False, True):
        pair = AdsPair(delta=delta, server_features=features)
        pair.watch("a", "nobody")
        pair.connect()
        for version, (clusters, cut) in enumerate(steps):
            pair.serve(a_world(world, clusters, version), version=str(version))
            if cut:
                pair.close()
                pair.jump(30)
                pair.connect()
        ends.append(ends_of(pair))
    assert ends[0] == ends[1]


def test_refusals_deletions_and_errors_end_in_equal_caches(world) -> None:
    ends, later = [], [ResourceError("c", 14, "later")]
    for delta in (False, True):
        pair = AdsPair(delta=delta)
        pair.watch("a", "b", "c")
        pair.connect()
        pair.serve(world.chain("a", "x", "y"))
        pair.respond(LISTENER, world.listener("a"), Bad("b", "odd"), version="2")
        pair.delete(CLUSTER, "y", keep=[world.cluster("x")], version="2")
        pair.respond(LISTENER, world.listener("a"), Bad("b", "odd"), version="3", errors=later)
        ends.append(ends_of(pair))
    assert ends[0] == ends[1]


def a_world(world, clusters: list[str], version: int) -> Snapshot:
    return gather(
        listeners=[world.listener("a")],
        routes=[world.table("ra", *clusters)],
        clusters=[world.cluster(name, connect_timeout=1.0 + version) for name in clusters],
        endpoints=[world.endpoints(name, 80 + version) for name in clusters],
    )
