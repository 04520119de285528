"""What is configured and not acted on, in one style whoever says it: ``place: what``."""

import meshlib
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    LogicalDns,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
    VirtualHost,
    gather,
)
from meshlib.testing.ads_server import AdsServer

HOST = "reviews:9080"
MANY = 30.0


def world() -> Snapshot:
    """Nothing comes of the ``dns_refresh_rate`` that a LOGICAL_DNS cluster has."""
    place = LocalityLbEndpoints(lb_endpoints=(Endpoint(address=Address("localhost", 80)),))
    named = ClusterLoadAssignment(cluster_name="names", endpoints=(place,))
    routes = (Route(action=RouteAction(cluster="names")),)
    host = VirtualHost(name="all", domains=("*",), routes=routes)
    table = RouteConfiguration(name="r", virtual_hosts=(host,))
    cluster = Cluster(name="names", discovery=LogicalDns(named))
    return gather(
        listeners=[Listener(name=HOST, http=HttpConnectionManager(routes=table))],
        clusters=[cluster],
    )


def test_a_field_of_a_resource_is_told_with_the_resource_and_its_path() -> None:
    server = AdsServer()
    server.serve(world(), "1")
    with meshlib.Mesh("ratings", control_plane=f"127.0.0.1:{server.port}") as mesh:
        assert mesh.ready(HOST, timeout=MANY)
        said = mesh.ignored()
        assert mesh.status()["source"]["ignored"] == 1
    server.stop()
    assert said == ("clusters/names: dns_refresh_rate: is accepted but not acted on",)


def test_a_field_of_the_bootstrap_is_told_in_the_same_way(caplog) -> None:
    bootstrap = {
        "xds_servers": [{"server_uri": "127.0.0.1:1", "channel_creds": [{"type": "insecure"}]}],
        "certificate_providers": {"mine": {"plugin_name": "other"}},
    }
    with meshlib.Mesh("ratings", bootstrap=bootstrap) as mesh:
        (said,) = mesh.ignored()
    assert said == "bootstrap: certificate_providers.mine: is accepted but not acted on"
    assert caplog.text.count(said) == 1


def test_what_is_for_control_planes_is_told_where_there_is_none(tmp_path) -> None:
    mesh = meshlib.Mesh("ratings", last_known_good=tmp_path, runtime_layers=["rtds"])
    assert mesh.ignored() == (
        "Mesh: last_known_good: there is no control plane, so it has no effect",
        "Mesh: runtime_layers: there is no control plane, so it has no effect",
    )


def test_every_text_has_a_place_and_says_what() -> None:
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "reviews"},
        "spec": {"host": "reviews", "trafficPolicy": {"retryBudget": {"interval": "1s"}}},
    }
    with meshlib.Mesh("ratings", config=[rule], on_no_config="fail") as mesh:
        said = mesh.ignored()
    assert len(said) == 2
    assert all(place and what for place, _, what in (each.partition(": ") for each in said))
