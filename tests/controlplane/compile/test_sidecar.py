"""What an Envoy beside a member of the mesh listens on."""

from meshlib import model
from meshlib.controlplane import Scope
from meshlib.controlplane.scope import Sidecar

ENVOY = Scope(sidecar=Sidecar())
BEFORE_REVIEWS = Scope("default", (("app", "reviews"),), sidecar=Sidecar("::1", "10.0.0.1"))
DATABASE = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: DNS
"""
WORKLOAD = """---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews}
spec: {address: 10.0.0.1, ports: {grpc: 9081}, labels: {app: reviews}}
"""
FAULT = """
- fault: {abort: {httpStatus: 500, percentage: {value: 1}}}
  route: [{destination: {host: reviews}}]
"""
LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
PATCH = """---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
    - applyTo: HTTP_FILTER
      match: {context: CONTEXT, listener: {portNumber: PORT}}
      patch:
        operation: INSERT_FIRST
        value:
          name: limit
          typed_config:
            "@type": type.googleapis.com/LIMIT
            stat_prefix: http
            token_bucket: {max_tokens: 4, fill_interval: 60s}
""".replace("LIMIT", LIMIT)


def listening(snapshot):
    """By where they listen; listeners that are called by name are left out."""
    found = snapshot.listeners.values()
    return {str(one.address): one for one in found if one.address is not None}


def filters(listener):
    return [one.name.rpartition(".")[2] for one in listener.http.http_filters]


def test_each_port_of_http_has_a_listener_whose_routes_are_those_of_the_port(snapshot_of):
    made = listening(snapshot_of(DATABASE, scope=ENVOY))
    assert {place: one.route_config_name for place, one in made.items()} == {
        "127.0.0.1:80": "80",
        "127.0.0.1:81": "81",
    }


def test_who_has_no_envoy_has_no_listeners_of_one(snapshot_of):
    assert listening(snapshot_of()) == {}


def test_a_listener_has_the_filters_that_any_of_its_hosts_needs(snapshot_of, virtual_service):
    made = listening(snapshot_of(virtual_service(FAULT), scope=ENVOY))
    assert filters(made["127.0.0.1:80"]) == ["fault", "router"]


def test_a_workload_is_reached_through_its_envoy(snapshot_of):
    snapshot = snapshot_of(WORKLOAD, scope=BEFORE_REVIEWS)
    made = listening(snapshot)
    assert made.keys() == {"[::1]:80", "[::1]:81", "10.0.0.1:80", "10.0.0.1:9081"}
    (host,) = made["10.0.0.1:9081"].http.routes.virtual_hosts
    cluster = snapshot.clusters[host.routes[0].action.cluster]
    (place,) = cluster.discovery.load_assignment.endpoints
    assert place.lb_endpoints[0].address == model.Address("127.0.0.1", 9081)
    assert cluster.http_protocol_options.http2


def test_an_envoy_of_others_takes_no_calls_for_them(snapshot_of):
    elsewhere = Scope("default", (("app", "web"),), sidecar=Sidecar("127.0.0.1", "10.0.0.1"))
    assert listening(snapshot_of(WORKLOAD, scope=elsewhere)).keys() == {
        "127.0.0.1:80",
        "127.0.0.1:81",
    }


def test_envoy_filters_reach_the_listeners_of_an_envoy(snapshot_of):
    inbound = PATCH.replace("CONTEXT", "SIDECAR_INBOUND").replace(
        "listener: {portNumber: PORT}", ""
    )
    outbound = PATCH.replace("CONTEXT", "SIDECAR_OUTBOUND").replace("PORT", "81")
    outbound = outbound.replace("name: patch", "name: other")
    made = listening(snapshot_of(WORKLOAD, inbound, outbound, scope=BEFORE_REVIEWS))
    assert {place: filters(one)[0] for place, one in made.items()} == {
        "[::1]:80": "router",
        "[::1]:81": "limit",
        "10.0.0.1:80": "limit",
        "10.0.0.1:9081": "limit",
    }
