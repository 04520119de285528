"""The control plane of :mod:`meshlib.testing`, for tests without an event loop."""

from typing import Any

import pytest

import meshlib
from meshlib.testing import control_plane

Manifests = list[dict[str, Any]]


def manifests(subset: str) -> Manifests:
    """A service with two versions, all of its calls to one of them."""
    istio = {"apiVersion": "networking.istio.io/v1", "metadata": {"name": "reviews"}}
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]
    destination = {"host": "reviews", "subset": subset}
    entry = {
        "hosts": ["reviews.default.svc.cluster.local"],
        "location": "MESH_INTERNAL",
        "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "127.0.0.1", "labels": {"version": v}} for v in ("v1", "v2")],
    }
    route = {"hosts": ["reviews"], "http": [{"route": [{"destination": destination}]}]}
    return [
        istio | {"kind": "ServiceEntry", "spec": entry},
        istio | {"kind": "DestinationRule", "spec": {"host": "reviews", "subsets": subsets}},
        istio | {"kind": "VirtualService", "spec": route},
    ]


def cluster(mesh: meshlib.Mesh) -> str | None:
    return mesh.route("GET", "http://reviews:9080/").cluster


def test_a_mesh_runs_on_a_control_plane_in_its_own_process() -> None:
    with control_plane(manifests("v1")) as plane, member(plane.address) as mesh:
        assert mesh.ready("reviews:9080")
        assert cluster(mesh) == "outbound|9080|v1|reviews.default.svc.cluster.local"
        (client,) = plane.status["clients"]
        assert client["kind"] == "meshlib"


def test_what_is_applied_is_what_the_next_member_gets() -> None:
    with control_plane(manifests("v1")) as plane:
        plane.apply(manifests("v2"))
        with member(plane.address) as mesh:
            assert mesh.ready("reviews:9080")
            assert cluster(mesh) == "outbound|9080|v2|reviews.default.svc.cluster.local"


def test_manifests_that_are_refused_leave_the_last_good_ones_in_force() -> None:
    with control_plane(manifests("v1")) as plane:
        bad = manifests("v1")
        bad[2]["spec"]["http"][0]["retries"] = {"attempts": "many"}
        with pytest.raises(meshlib.ConfigError, match="attempts"):
            plane.apply(bad)
        with member(plane.address) as mesh:
            assert mesh.ready("reviews:9080")
            assert cluster(mesh) == "outbound|9080|v1|reviews.default.svc.cluster.local"


def test_a_control_plane_that_ended_has_freed_its_address() -> None:
    with control_plane(manifests("v1")) as first:
        pass
    with control_plane(manifests("v1"), listen=first.address) as second:
        assert second.address == first.address


def member(address: str) -> meshlib.Mesh:
    return meshlib.Mesh("productpage", control_plane=address)
