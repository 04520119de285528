import pytest

from meshlib.controlplane import Node, SnapshotCache
from meshlib.errors import ConfigError
from meshlib.model import Cluster, ClusterLoadAssignment
from meshlib.xds.types import CLUSTER

A = Node(id="a", cluster="shop")
B = Node(id="b", cluster="shop")


def resources(name="c"):
    return [Cluster(name=name), ClusterLoadAssignment(cluster_name=name)]


def test_nodes_of_one_group_share_a_snapshot():
    cache = SnapshotCache(lambda node: node.cluster)
    made = cache.set_snapshot("shop", resources())
    assert cache.snapshot_of(A) is made
    assert cache.snapshot_of(B) is made


def test_without_a_hash_every_node_is_its_own_group():
    cache = SnapshotCache()
    cache.set_snapshot("a", resources())
    assert cache.snapshot_of(A) is not None
    assert cache.snapshot_of(B) is None


def test_a_watcher_hears_of_the_snapshot_in_force_and_of_later_ones():
    cache = SnapshotCache()
    first = cache.set_snapshot("a", resources())
    heard = []
    with cache.watching(A, heard.append):
        second = cache.set_snapshot("a", resources("d"))
        cache.set_snapshot("b", resources("e"))
    cache.set_snapshot("a", resources("f"))
    assert heard == [first, second]


def test_a_given_version_is_the_one_served():
    cache = SnapshotCache()
    made = cache.set_snapshot("a", resources(), version="42")
    assert made.version == "42"
    assert made.types[CLUSTER].version == "42"


def test_an_inconsistent_snapshot_is_refused_and_the_last_one_stays():
    cache = SnapshotCache()
    first = cache.set_snapshot("a", resources())
    with pytest.raises(ConfigError, match="no endpoints 'c'"):
        cache.set_snapshot("a", [Cluster(name="c")])
    assert cache.snapshot_of(A) is first


def test_a_cleared_group_has_no_snapshot():
    cache = SnapshotCache()
    cache.set_snapshot("a", resources())
    cache.clear("a")
    assert cache.snapshot_of(A) is None
