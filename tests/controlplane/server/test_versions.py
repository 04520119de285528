import gc
import weakref

from meshlib.controlplane.versions import Packer
from meshlib.model import Cluster, ClusterLoadAssignment, gather
from meshlib.xds.types import CLUSTER, ENDPOINT


def world(*clusters, timeout=5.0):
    return gather(clusters=[Cluster(name=name, connect_timeout=timeout) for name in clusters])


def test_replicas_agree_about_versions():
    one, other = (Packer().pack(world("a", "b")) for _ in range(2))
    assert one.version == other.version
    assert one.types[CLUSTER].version == other.types[CLUSTER].version


def test_an_equal_resource_is_not_encoded_again():
    packer = Packer()
    first = packer.pack(world("a")).types[CLUSTER].resources["a"]
    second = packer.pack(world("a", "b")).types[CLUSTER].resources["a"]
    assert second.packed is first.packed


def test_a_type_without_changes_is_the_same_object():
    packer = Packer()
    first = packer.pack(world("a"))
    more = gather(
        clusters=world("a").clusters.values(), endpoints=[ClusterLoadAssignment(cluster_name="a")]
    )
    second = packer.pack(more, first)
    assert second.types[CLUSTER] is first.types[CLUSTER]
    assert second.types[ENDPOINT] is not first.types[ENDPOINT]


def test_other_content_is_another_version():
    packer = Packer()
    assert packer.pack(world("a")).version != packer.pack(world("a", timeout=1.0)).version


def test_what_nobody_serves_any_more_is_forgotten():
    packer = Packer()
    first = packer.pack(world("a"))
    packed = weakref.ref(first.types[CLUSTER].resources["a"])
    again = packer.pack(world("a"))
    assert again.types[CLUSTER].resources["a"] is packed()
    del first, again
    gc.collect()
    assert packed() is None
