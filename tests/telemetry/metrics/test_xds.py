"""A member's xDS client is told in gRPC's own metrics."""

from collections import Counter

import pytest

import meshlib
from meshlib.model import (
    HttpConnectionManager,
    Listener,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.telemetry.metrics.xds import xds_metrics
from meshlib.testing.ads_server import AdsServer
from meshlib.xds.types import LISTENER

TYPE = "envoy.config.listener.v3.Listener"
HOST = "reviews:9080"


@pytest.fixture
def told():
    def of(status):
        return {
            metric.name.removeprefix("grpc.xds_client."): {
                tuple(value for _, value in sample.labels[1:]): sample.value
                for sample in metric.samples
            }
            for metric in xds_metrics(status)
        }

    return of


def resource(state="ACKED", *, cached=True):
    return {"state": state, "cached": cached}


STATUS = {
    "kind": "xds",
    "server": "plane:18000",
    "servers": [
        {"server": "plane:18000", "connected": True, "failures": 0},
        {"server": "other:18000", "connected": False, "failures": 4},
    ],
    "types": {
        LISTENER: {
            "valid": 5,
            "invalid": 2,
            "resources": {
                "a": resource(),
                "b": resource("NACKED"),
                "c": resource("NACKED", cached=False),
                "xdstp://east/envoy/d": resource("DOES_NOT_EXIST", cached=False),
                "xdstp://east/envoy/e": resource("DOES_NOT_EXIST", cached=False),
            },
        }
    },
}


def test_servers_and_resources_are_told_by_the_names_of_the_grfc(told):
    assert told(STATUS) == {
        "connected": {("plane:18000",): 1, ("other:18000",): 0},
        "server_failure": {("plane:18000",): 0, ("other:18000",): 4},
        "resource_updates_valid": {("plane:18000", TYPE): 5},
        "resource_updates_invalid": {("plane:18000", TYPE): 2},
        "resources": {
            ("#old", "acked", TYPE): 1,
            ("#old", "nacked_but_cached", TYPE): 1,
            ("#old", "nacked", TYPE): 1,
            ("east", "does_not_exist", TYPE): 2,
        },
    }


@pytest.mark.parametrize(
    ("state", "kept", "lost"),
    [
        ("ACKED", "acked", "acked"),
        ("DOES_NOT_EXIST", "does_not_exist_but_cached", "does_not_exist"),
        ("NACKED", "nacked_but_cached", "nacked"),
        ("RECEIVED_ERROR", "received_error_but_cached", "received_error"),
        ("REQUESTED", "requested", "requested"),
        ("TIMEOUT", "timeout", "timeout"),
    ],
)
def test_what_is_wrong_with_a_resource_does_not_hide_that_it_is_kept(told, state, kept, lost):
    known = {"a": resource(state), "b": resource(state, cached=False)}
    types = {LISTENER: {"valid": 1, "invalid": 0, "resources": known}}
    found = Counter()
    for (_, named, _), count in told({**STATUS, "types": types})["resources"].items():
        found[named] += count
    assert found == Counter([kept, lost])


def test_who_has_no_control_plane_tells_nothing_of_it(told):
    assert told({"kind": "embedded"}) == {}


@pytest.fixture
def plane():
    hosts = VirtualHost(name="all", domains=("*",), routes=())
    http = HttpConnectionManager(routes=RouteConfiguration(name="r", virtual_hosts=(hosts,)))
    made = AdsServer(snapshot=gather(listeners=[Listener(name=HOST, http=http)]))
    yield made
    made.stop()


def test_a_client_counts_what_it_is_sent_and_how_long_it_took(told, plane):
    with meshlib.Mesh("productpage", control_plane=f"127.0.0.1:{plane.port}") as mesh:
        assert mesh.ready(HOST, timeout=30)
        found = told(mesh.status()["source"])
        server = f"127.0.0.1:{plane.port}"
        assert found["connected"] == {(server,): 1}
        assert found["resource_updates_valid"][server, TYPE] >= 1
        assert found["resource_updates_invalid"][server, TYPE] == 0
        assert found["resources"]["#old", "acked", TYPE] == 1
        assert mesh._runtime.wait_for(lambda: mesh._seen._pushed.now().count >= 1, 30)
