"""What a member of the mesh gets depends on where it stands."""

import pytest

from meshlib.controlplane import Scope, compile_snapshot
from meshlib.model import DirectResponseAction, LeastRequest, Random, RoundRobin

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: secret, namespace: shop, annotations: {networking.istio.io/exportTo: "."}}
spec: {ports: [{port: 80}]}
"""
REVIEWS = "reviews.shop.svc.cluster.local"


def rule(name, namespace, body):
    return f"""---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec: {body}
"""


def lb_seen_from(world, namespace):
    snapshot = compile_snapshot(world, Scope(namespace))
    return snapshot.clusters[f"outbound|80||{REVIEWS}"].lb_policy


def routes_seen_from(world, scope, port=80):
    table = compile_snapshot(world, scope).routes[f"outbound|{port}||{REVIEWS}"]
    return [route.name for route in table.virtual_hosts[0].routes]


def test_names_are_short_at_home_only(world_of):
    world = world_of(SERVICES)
    home = compile_snapshot(world, Scope("shop")).listeners
    abroad = compile_snapshot(world, Scope("other")).listeners
    assert "reviews:80" in home
    assert "reviews:80" not in abroad
    assert f"{REVIEWS}:80" in abroad
    assert "reviews.shop:80" in abroad


def test_what_is_not_exported_does_not_exist_abroad(world_of):
    world = world_of(SERVICES)
    name = "outbound|80||secret.shop.svc.cluster.local"
    assert name in compile_snapshot(world, Scope("shop")).clusters
    assert name not in compile_snapshot(world, Scope("other")).clusters


def test_the_clients_rule_comes_before_the_services_before_the_roots(world_of):
    world = world_of(
        SERVICES
        + rule(
            "a", "mine", f"{{host: {REVIEWS}, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}"
        )
        + rule("a", "shop", "{host: reviews, trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}}")
        + rule(
            "a",
            "istio-system",
            "{host: '*.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
        )
    )
    assert lb_seen_from(world, "mine") == Random()
    assert lb_seen_from(world, "other") == LeastRequest()
    other = compile_snapshot(world, Scope("shop")).clusters
    assert other["outbound|80||secret.shop.svc.cluster.local"].lb_policy == Random()


def test_without_a_rule_calls_go_round_robin(world_of):
    assert lb_seen_from(world_of(SERVICES), "shop") == RoundRobin()


def test_rules_of_one_host_in_one_namespace_are_merged(world_of):
    world = world_of(
        SERVICES
        + rule("a", "shop", "{host: reviews, subsets: [{name: v1, labels: {version: v1}}]}")
        + rule(
            "b",
            "shop",
            "{host: reviews, subsets: [{name: v2}],"
            " trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
        )
    )
    clusters = compile_snapshot(world, Scope("shop")).clusters
    assert clusters[f"outbound|80|v1|{REVIEWS}"].lb_policy == Random()
    assert f"outbound|80|v2|{REVIEWS}" in clusters


def test_a_ports_policy_inherits_nothing(world_of):
    world = world_of(
        SERVICES
        + rule(
            "a",
            "shop",
            "{host: reviews, trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: "
            "{tcp: {maxConnections: 7}}, portLevelSettings: [{port: {number: 80}, "
            "connectionPool: {http: {maxRetries: 4}}}]}}",
        )
    )
    cluster = compile_snapshot(world, Scope("shop")).clusters[f"outbound|80||{REVIEWS}"]
    limits = cluster.circuit_breakers.default
    assert cluster.lb_policy == RoundRobin()
    assert limits.max_connections == 4294967295
    assert (limits.max_retries, limits.retry_budget) == (4, None)


def virtual_service(http, *, name="reviews", extra=""):
    return f"""---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec: {{hosts: [reviews], {extra} http: {http}}}
"""


@pytest.mark.parametrize(
    "scope, names",
    [
        (Scope("shop", (("app", "a"), ("tier", "1"))), ["labels", "rest"]),
        (Scope("other"), ["namespace", "rest"]),
        (Scope("third"), ["rest"]),
    ],
)
def test_matches_on_the_caller_are_decided_for_it(world_of, scope, names):
    world = world_of(
        SERVICES
        + virtual_service(
            "[{name: labels, match: [{sourceLabels: {app: a}}], directResponse: {status: 200}},"
            " {name: namespace, match: [{sourceNamespace: other}], directResponse: {status: 200}},"
            " {name: port, match: [{port: 81}], directResponse: {status: 200}},"
            " {name: edge, match: [{gateways: [edge]}], directResponse: {status: 200}},"
            " {name: rest, directResponse: {status: 200}}]"
        )
    )
    assert routes_seen_from(world, scope) == names


def test_a_virtual_service_for_gateways_does_not_touch_the_mesh(world_of):
    rules = virtual_service("[{name: x, redirect: {}}]", extra="gateways: [edge],")
    assert routes_seen_from(world_of(SERVICES + rules), Scope("shop")) == ["default"]


def test_a_virtual_service_makes_a_host_on_port_80(world_of):
    world = world_of(
        """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec: {hosts: [made.up], http: [{directResponse: {status: 200}}]}
"""
    )
    snapshot = compile_snapshot(world, Scope())
    snapshot.check()
    (route,) = snapshot.routes["outbound|80||made.up"].virtual_hosts[0].routes
    assert "made.up:80" in snapshot.listeners
    assert route.action == DirectResponseAction(status=200)
    assert list(snapshot.clusters) == ["PassthroughCluster"]


def test_equal_worlds_have_equal_versions(world_of):
    one = compile_snapshot(world_of(SERVICES), Scope())
    two = compile_snapshot(world_of(SERVICES), Scope())
    three = compile_snapshot(world_of(SERVICES.replace("port: 80", "port: 81")), Scope())
    assert one.version == two.version != three.version


def test_no_domain_stands_twice_in_a_table(world_of):
    clash = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: clash, namespace: shop}
spec: {hosts: [reviews, reviews.shop], ports: [{number: 80, name: http}]}
"""
    table = compile_snapshot(world_of(SERVICES + clash), Scope("shop")).routes["80"]
    domains = [domain for host in table.virtual_hosts for domain in host.domains]
    assert len(domains) == len(set(domains))


def test_a_port_with_a_protocol_speaks_it(world_of):
    world = world_of(
        """
apiVersion: v1
kind: Service
metadata: {name: x}
spec:
  ports:
    - {name: grpc-api, port: 1}
    - {name: http2, port: 2}
    - {name: http-web, port: 3}
    - {name: other, port: 4, appProtocol: kubernetes.io/h2c}
    - {name: grpc, port: 5, appProtocol: http}
    - {name: grpc-web, port: 6}
    - {name: dns, port: 7, protocol: UDP}
"""
    )
    clusters = compile_snapshot(world, Scope()).clusters
    http2 = {
        name.split("|")[1]: cluster.http_protocol_options is not None
        for name, cluster in clusters.items()
        if "|" in name
    }
    assert http2 == {"1": True, "2": True, "3": False, "4": True, "5": False, "6": False}
