"""What a stock gRPC client or an Envoy would refuse never reaches it."""

import pytest
import re2

from meshlib.controlplane.node import ClientKind, Node
from meshlib.controlplane.profiles import adapt
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    ClusterProvided,
    Eds,
    Endpoint,
    HttpConnectionManager,
    LeastRequest,
    Listener,
    LocalityLbEndpoints,
    LogicalDns,
    Maglev,
    OriginalDst,
    PathRegex,
    PathSeparatedPrefix,
    Random,
    Rds,
    RingHash,
    RoundRobin,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Static,
    StrictDns,
    VirtualHost,
    gather,
)


def assignment(name, *hosts):
    group = LocalityLbEndpoints(
        lb_endpoints=tuple(Endpoint(address=Address(host, 80)) for host in hosts)
    )
    return ClusterLoadAssignment(cluster_name=name, endpoints=(group,))


def table(*routes, name="t"):
    return RouteConfiguration(
        name=name, virtual_hosts=(VirtualHost(name="h", domains=("*",), routes=routes),)
    )


def for_grpc(*, routes=(), **kinds):
    listeners = [
        Listener(name=one.name, http=HttpConnectionManager(routes=Rds(one.name))) for one in routes
    ]
    said = []
    snapshot = gather(listeners=listeners, routes=routes, **kinds)
    return adapt(snapshot, ClientKind.GRPC, said.append), list(map(str, said))


@pytest.mark.parametrize("policy", [LeastRequest(), Random(), Maglev()])
def test_a_balancer_that_grpc_refuses_becomes_round_robin(policy):
    made, said = for_grpc(clusters=[Cluster(name="c", lb_policy=policy)])
    assert made.clusters["c"].lb_policy == RoundRobin()
    assert said == [f"clusters/c: {type(policy).__name__} is RoundRobin for gRPC clients"]


def test_a_balancer_that_grpc_takes_is_left_alone():
    made, said = for_grpc(clusters=[Cluster(name="c", lb_policy=RingHash())])
    assert made.clusters["c"].lb_policy == RingHash()
    assert said == []


def test_strict_dns_of_one_name_becomes_logical_dns():
    made, said = for_grpc(clusters=[Cluster(name="c", discovery=StrictDns(assignment("c", "x")))])
    assert made.clusters["c"].discovery == LogicalDns(assignment("c", "x"))
    assert said == []


def test_of_several_dns_names_the_first_is_used_and_that_is_said():
    both = StrictDns(assignment("c", "x", "y"))
    made, said = for_grpc(clusters=[Cluster(name="c", discovery=both)])
    assert made.clusters["c"].discovery == LogicalDns(assignment("c", "x"))
    assert len(said) == 1


@pytest.mark.parametrize("kind", [Static, StrictDns])
def test_a_cluster_of_no_endpoints_is_served_empty_by_eds(kind):
    empty = ClusterLoadAssignment(cluster_name="c")
    made, _ = for_grpc(clusters=[Cluster(name="c", discovery=kind(empty))])
    assert made.clusters["c"].discovery == Eds()
    assert made.endpoints["c"] == empty


def test_static_endpoints_come_by_eds():
    static = Static(assignment("whatever", "10.0.0.1"))
    made, said = for_grpc(clusters=[Cluster(name="c", discovery=static)])
    made.check()
    assert made.endpoints["c"] == assignment("c", "10.0.0.1")
    assert said == []


def test_routes_to_where_the_caller_meant_to_go_are_left_out():
    unchanged = Cluster(name="p", discovery=OriginalDst(), lb_policy=ClusterProvided())
    routes = [table(Route(action=RouteAction(cluster="p")))]
    made, said = for_grpc(routes=routes, clusters=[unchanged])
    made.check()
    assert not made.clusters
    assert said == ["routes/t: virtual_hosts[h]: no route to p for gRPC clients"]


def test_tables_that_no_listener_names_are_left_out():
    made = adapt(gather(routes=[table(name="9080")]), ClientKind.GRPC, print)
    assert not made.routes


@pytest.mark.parametrize(
    ("path", "case_sensitive", "matches"),
    [
        ("/a.b", True, True),
        ("/a.b/c", True, True),
        ("/a.bc", True, False),
        ("/aXb", True, False),
        ("/A.b/c", True, False),
        ("/A.B/c", False, True),
    ],
)
def test_a_separated_prefix_becomes_a_regex_of_equal_meaning(path, case_sensitive, matches):
    match = RouteMatch(path=PathSeparatedPrefix("/a.b"), case_sensitive=case_sensitive)
    route = Route(match=match, action=RouteAction(cluster="c"))
    made, said = for_grpc(
        routes=[table(route)],
        clusters=[Cluster(name="c")],
        endpoints=[assignment("c", "10.0.0.1")],
    )
    found = made.routes["t"].virtual_hosts[0].routes[0].match.path
    assert isinstance(found, PathRegex)
    assert bool(re2.fullmatch(found.regex, path)) == matches
    assert len(said) == 1


def test_an_envoy_is_sent_no_api_listeners():
    called = Listener(name="reviews:9080", http=HttpConnectionManager(routes=table()))
    real = Listener(
        name="in", http=HttpConnectionManager(routes=table()), address=Address("0.0.0.0", 80)
    )
    made = adapt(gather(listeners=[called, real]), ClientKind.ENVOY, print)
    assert set(made.listeners) == {"in"}


@pytest.mark.parametrize(
    ("user_agent", "kind"),
    [
        ("envoy", ClientKind.ENVOY),
        ("meshlib", ClientKind.MESHLIB),
        ("gRPC C-core linux Python", ClientKind.GRPC),
        ("gRPC Go", ClientKind.GRPC),
        ("grpc-node", ClientKind.GRPC),
        ("", ClientKind.OTHER),
    ],
)
def test_a_client_is_known_by_its_user_agent(user_agent, kind):
    assert Node(id="n", user_agent_name=user_agent).kind is kind
