import pytest
from google.protobuf import any_pb2, struct_pb2

from meshlib.controlplane import Node, SnapshotCache
from meshlib.controlplane.discovery import DeltaRequest, Nack
from meshlib.controlplane.subscriptions import Subscriptions
from meshlib.errors import ConfigError
from meshlib.model import Cluster, ClusterLoadAssignment
from meshlib.xds.protos import message_class, to_json
from meshlib.xds.types import CLUSTER, ENDPOINT

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


# One's own resources


def served(cache, node=A):
    snapshot = cache.snapshot_of(node)
    return {name for kind in snapshot.types.values() for name in kind.resources}


def test_what_nothing_refers_to_is_served_too():
    cache = SnapshotCache()
    cache.set_snapshot("a", [ClusterLoadAssignment(cluster_name="alone")])
    assert served(cache) == {"alone"}


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_the_check_of_references_may_be_switched_off(where):
    cache = SnapshotCache(check=where != "constructor")
    loose = [Cluster(name="c")]
    if where == "constructor":
        cache.set_snapshot("a", loose)
    else:
        cache.set_snapshot("a", loose, check=False)
    assert served(cache) == {"c"}


def test_an_update_replaces_namesakes_and_keeps_the_others():
    cache = SnapshotCache()
    cache.set_snapshot("a", [*resources("c"), *resources("d")])
    before = cache.snapshot_of(A).types
    cache.update("a", [ClusterLoadAssignment(cluster_name="c", overprovisioning_factor=200)])
    after = cache.snapshot_of(A).types
    assert after[CLUSTER] is before[CLUSTER]
    assert after[ENDPOINT].resources["c"] != before[ENDPOINT].resources["c"]
    assert after[ENDPOINT].resources["d"] is before[ENDPOINT].resources["d"]


def test_an_update_makes_the_version_that_a_whole_snapshot_would_have():
    one, other = SnapshotCache(), SnapshotCache()
    one.set_snapshot("a", resources("c"))
    one.update("a", resources("d"))
    one.update("a", resources("e"))
    one.remove("a", ["d"])
    other.set_snapshot("a", [*resources("e"), *resources("c")])
    for kind in (CLUSTER, ENDPOINT):
        assert one.snapshot_of(A).of(kind).version == other.snapshot_of(A).of(kind).version


def test_an_update_may_name_its_version():
    cache = SnapshotCache()
    cache.set_snapshot("a", resources("c"), version="1")
    made = cache.update("a", resources("d"), version="2")
    assert (made.version, made.of(CLUSTER).version) == ("2", "2")


def test_an_update_may_be_the_first_that_a_group_hears():
    cache = SnapshotCache()
    cache.update("a", resources("c"))
    assert served(cache) == {"c"}


def test_an_update_that_leaves_a_reference_dangling_is_refused_whole():
    cache = SnapshotCache()
    first = cache.set_snapshot("a", resources("c"))
    with pytest.raises(ConfigError, match="no endpoints 'd'"):
        cache.update("a", [Cluster(name="d")])
    with pytest.raises(ConfigError, match="no endpoints 'c'"):
        cache.remove("a", ["c"], type_url=ENDPOINT)
    assert cache.snapshot_of(A) is first


def test_what_is_removed_by_name_is_gone_from_every_type():
    cache = SnapshotCache()
    cache.set_snapshot("a", [*resources("c"), *resources("d")])
    cache.remove("a", ["c", "nobody"])
    assert served(cache) == {"d"}


def test_of_many_endpoints_only_those_that_changed_are_weighed():
    cache = SnapshotCache(lambda node: "all")
    many = [ClusterLoadAssignment(cluster_name=f"e{number}") for number in range(10_000)]
    cache.set_snapshot("all", many)
    wildcard, named = Subscriptions(delta=True), Subscriptions(delta=True)
    with cache.watching(A, wildcard.publish), cache.watching(B, named.publish):
        for subscriptions, names in ((wildcard, ("*",)), (named, ("e1", "e2"))):
            subscriptions.receive(DeltaRequest(type_url=ENDPOINT, subscribe=names))
            response = subscriptions.next_response()
            subscriptions.receive(DeltaRequest(type_url=ENDPOINT, nonce=response.nonce))
        looked_at = []
        for subscriptions in (wildcard, named):
            state = subscriptions.types[ENDPOINT]
            state.sent = Watched(state.sent, looked_at)
        cache.update("all", [ClusterLoadAssignment(cluster_name="e2", overprovisioning_factor=200)])
        for subscriptions in (wildcard, named):
            assert [r.name for r in subscriptions.next_response().resources] == ["e2"]
    assert set(looked_at) == {"e2"}


class Watched(dict):
    """Tells which names it was asked for; whoever goes through all of it fails."""

    def __init__(self, content, asked):
        super().__init__(content)
        self._asked = asked

    def get(self, name, default=None):
        self._asked.append(name)
        return super().get(name, default)

    def __iter__(self):
        raise AssertionError("all of it is looked at")

    def copy(self):
        raise AssertionError("all of it is looked at")


# As they are


SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
TYPE = "type.googleapis.com/"


def test_proto_json_is_served_as_it_is():
    cache = SnapshotCache()
    cache.set_snapshot("a", [{"@type": TYPE + SECRET, "name": "s", "generic_secret": {}}])
    (secret,) = cache.snapshot_of(A).of(TYPE + SECRET).resources.values()
    assert to_json(secret.packed)["name"] == "s"


def test_messages_of_any_pool_are_served_as_they_are():
    cache = SnapshotCache()
    foreign = struct_pb2.Struct()
    wrapped = message_class("envoy.service.discovery.v3.Resource")(name="s", version="7")
    wrapped.resource.type_url = TYPE + "google.protobuf.Struct"
    wrapped.resource.value = foreign.SerializeToString()
    packed = any_pb2.Any(
        type_url=TYPE + SECRET, value=message_class(SECRET)(name="t").SerializeToString()
    )
    cache.set_snapshot("a", [wrapped, packed, message_class(SECRET)(name="u")])
    (struct,) = cache.snapshot_of(A).of(TYPE + "google.protobuf.Struct").resources.values()
    assert (struct.name, struct.version) == ("s", "7")
    assert set(cache.snapshot_of(A).of(TYPE + SECRET).resources) == {"t", "u"}


def test_raw_clusters_are_checked_like_those_of_the_model():
    cache = SnapshotCache()
    raw = {"@type": CLUSTER, "name": "c", "type": "EDS", "eds_cluster_config": {"eds_config": ADS}}
    with pytest.raises(ConfigError, match="no endpoints 'c'"):
        cache.set_snapshot("a", [raw])
    cache.set_snapshot("a", [raw], check=False)
    assert served(cache) == {"c"}


ADS = {"ads": {}, "resource_api_version": "V3"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (1, "neither of the model"),
        ({"name": "x"}, "proto-JSON"),
        ({"@type": TYPE + SECRET}, "without a name"),
        (any_pb2.Any(type_url=TYPE + "a.B"), "does not know 'a.B'"),
        (any_pb2.Any(type_url=CLUSTER, value=b"\xff"), "not a valid"),
    ],
    ids=["number", "no type", "no name", "unknown", "garbage"],
)
def test_what_cannot_be_served_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        SnapshotCache().set_snapshot("a", [given])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Cluster(name=""), "name of a Cluster: it is empty"),
        (ClusterLoadAssignment(cluster_name=""), "name of a ClusterLoadAssignment: it is empty"),
        (Cluster(name="\ud800"), "is not Unicode"),
        (ClusterLoadAssignment(cluster_name="c", endpoints=7), "c: it cannot be written"),
        (Cluster(name="c", connect_timeout="soon"), "c: it cannot be written"),
    ],
)
def test_a_value_that_the_wire_cannot_carry_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        SnapshotCache(check=False).set_snapshot("a", [given])


@pytest.mark.parametrize("version", ["", 7, b"7", "\udcff"])
def test_a_version_that_the_wire_cannot_carry_is_refused(version):
    cache = SnapshotCache()
    made = cache.set_snapshot("a", resources())
    with pytest.raises(ConfigError, match="version: "):
        cache.set_snapshot("a", resources("d"), version=version)
    with pytest.raises(ConfigError, match="version: "):
        cache.update("a", resources("d"), version)
    with pytest.raises(ConfigError, match="version: "):
        cache.remove("a", ["c"], version=version)
    assert cache.snapshot_of(A) is made


@pytest.mark.parametrize("prefix", ["", "/", "type.example.com/"])
def test_a_type_is_served_by_the_name_by_which_clients_ask_for_it(prefix):
    cluster = {"@type": prefix + CLUSTER.removeprefix(TYPE), "name": "c"}
    cache = SnapshotCache(check=False)
    cache.set_snapshot("a", [cluster])
    (sent,) = cache.snapshot_of(A).of(CLUSTER).resources.values()
    assert sent.packed.type_url == CLUSTER


def test_one_name_is_not_many():
    with pytest.raises(ConfigError, match="'abc' is one name"):
        SnapshotCache().remove("a", "abc")


def test_one_name_for_two_different_resources_is_refused():
    with pytest.raises(ConfigError, match="two different resources"):
        SnapshotCache().set_snapshot(
            "a", [Cluster(name="c"), Cluster(name="c", connect_timeout=9.0)]
        )


# Roll back


def refusal(cache, name, type_url=CLUSTER):
    refused = cache.snapshot_of(A).of(type_url).resources[name]
    return Nack(type_url=type_url, version="", text="no", refused=(refused,))


def test_a_nack_of_something_new_brings_the_snapshot_before_back():
    cache = SnapshotCache(rollback_on_nack=True)
    good = cache.set_snapshot("a", resources("good"))
    cache.set_snapshot("a", [*resources("good"), *resources("bad")])
    heard = []
    with cache.watching(A, heard.append):
        cache.refused(A, refusal(cache, "bad"))
    assert heard[-1] is good
    assert cache.snapshot_of(A) is good


def test_a_nack_of_something_old_changes_nothing():
    cache = SnapshotCache(rollback_on_nack=True)
    cache.set_snapshot("a", resources("old"))
    now = cache.set_snapshot("a", [*resources("old"), *resources("new")])
    cache.refused(A, refusal(cache, "old"))
    assert cache.snapshot_of(A) is now


def test_without_the_wish_nothing_is_rolled_back():
    cache = SnapshotCache()
    cache.set_snapshot("a", resources("good"))
    now = cache.set_snapshot("a", [*resources("good"), *resources("bad")])
    cache.refused(A, refusal(cache, "bad"))
    assert cache.snapshot_of(A) is now


def test_what_nobody_decided_leaves_the_last_change_to_be_taken_back():
    cache = SnapshotCache()
    cache.set_snapshot("a", resources("good"))
    bad = [*resources("good"), *resources("bad")]
    cache.set_snapshot("a", bad)
    cache.follow("a", [*bad, *resources("came")])
    assert cache.came_with_last_change(A, refusal(cache, "bad"))
    assert not cache.came_with_last_change(A, refusal(cache, "came"))
    assert set(cache.roll_back("a").of(CLUSTER).resources) == {"good", "came"}


def test_what_nobody_decided_is_not_brought_back_with_what_was_before():
    cache = SnapshotCache()
    cache.set_snapshot("a", [*resources("good"), *resources("went")])
    cache.set_snapshot("a", [*resources("good"), *resources("went"), *resources("bad")])
    cache.follow("a", [*resources("good"), *resources("bad")])
    assert set(cache.roll_back("a").of(CLUSTER).resources) == {"good"}


def test_what_nobody_decided_is_nothing_to_be_taken_back():
    cache = SnapshotCache()
    cache.set_snapshot("a", resources("good"))
    cache.follow("a", [*resources("good"), *resources("came")])
    assert not cache.came_with_last_change(A, refusal(cache, "came"))
