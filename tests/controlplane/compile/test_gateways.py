"""What an Envoy at the edge listens on."""

import pytest

from meshlib.controlplane import Scope
from meshlib.controlplane.findings import findings_of
from meshlib.controlplane.manifests import accepted, read_texts
from meshlib.controlplane.scope import Sidecar

EDGE = Scope("edge", (("istio", "ingress"),), sidecar=Sidecar("10.0.0.1"))
GATEWAY = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: edge}
spec:
  selector: {istio: ingress}
  servers: [SERVERS]
"""
SERVER = "{port: {number: 8080, name: http, protocol: HTTP}, hosts: [HOSTS]}"
RULES = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec: {hosts: [shop.example], gateways: [edge/front], http: [HTTP]}
"""
TO_REVIEWS = "{route: [{destination: {host: reviews, port: {number: 80}}}]}"


def gateway(hosts='"*"', server=SERVER):
    return GATEWAY.replace("SERVERS", server.replace("HOSTS", hosts))


def rules(http=TO_REVIEWS):
    return RULES.replace("HTTP", http)


def listening(snapshot):
    found = snapshot.listeners.values()
    return {str(one.address): one for one in found if one.address is not None}


def hosts_at(snapshot, address):
    name = listening(snapshot)[address].route_config_name
    return {host.domains[0]: host for host in snapshot.routes[name].virtual_hosts}


def test_a_gateway_listens_for_its_servers_and_for_nobody_else(snapshot_of):
    snapshot = snapshot_of(gateway(), rules(), scope=EDGE)
    assert listening(snapshot).keys() == {"10.0.0.1:8080"}
    (route,) = hosts_at(snapshot, "10.0.0.1:8080")["shop.example"].routes
    assert route.action.cluster == "outbound|80||reviews.default.svc.cluster.local"


def test_an_envoy_that_no_gateway_selects_stays_a_sidecar(snapshot_of):
    beside = Scope("edge", (("istio", "other"),), sidecar=Sidecar("10.0.0.1"))
    snapshot = snapshot_of(gateway(), rules(), scope=beside)
    assert listening(snapshot).keys() == {"10.0.0.1:80", "10.0.0.1:81"}


@pytest.mark.parametrize(
    ("hosts", "served"),
    [
        ('"*.example"', {"shop.example"}),
        ("default/shop.example", {"shop.example"}),
        ('"*/shop.example"', {"shop.example"}),
        ("other/shop.example", set()),
        ("./shop.example", set()),
        ("shop.elsewhere", set()),
    ],
)
def test_a_gateway_serves_hosts_that_both_speak_of(snapshot_of, hosts, served):
    snapshot = snapshot_of(gateway(hosts), rules(), scope=EDGE)
    assert hosts_at(snapshot, "10.0.0.1:8080").keys() == served


def test_matches_hold_for_calls_through_the_gateways_that_they_name(snapshot_of):
    named = TO_REVIEWS.replace("{route", "{match: [{gateways: [GATEWAY]}], route")
    for name, count in (("edge/front", 1), ("mesh", 0)):
        http = f"{named.replace('GATEWAY', name)}, {TO_REVIEWS}"
        snapshot = snapshot_of(gateway(), rules(http), scope=EDGE)
        host = hosts_at(snapshot, "10.0.0.1:8080")["shop.example"]
        assert len(host.routes) == 1 + count


def test_rules_for_gateways_do_not_reach_the_mesh(snapshot_of):
    snapshot = snapshot_of(gateway(), rules())
    assert "shop.example:80" not in snapshot.listeners


def test_a_server_may_send_its_callers_to_https_and_listen_elsewhere(snapshot_of):
    server = SERVER.replace("{port:", "{bind: 10.0.0.9, tls: {httpsRedirect: true}, port:")
    snapshot = snapshot_of(gateway(server=server), rules(), scope=EDGE)
    assert hosts_at(snapshot, "10.0.0.9:8080")["shop.example"].require_tls == "all"


def test_what_cannot_be_served_is_told_and_not_listened_on(snapshot_of):
    server = SERVER.replace("8080", "443").replace("{port:", "{tls: {mode: SIMPLE}, port:")
    text = gateway(server=f"{SERVER}, {server}") + rules().replace("edge/front", "none")
    snapshot = snapshot_of(text, scope=EDGE)
    assert listening(snapshot).keys() == {"10.0.0.1:8080"}
    said = "\n".join(str(f.problem) for f in findings_of(accepted(*read_texts([("x", text)]))))
    assert "port 443 is not listened on" in said
    assert "no Gateway default/none is known" in said
    assert "is for Envoys at the edge" in said
