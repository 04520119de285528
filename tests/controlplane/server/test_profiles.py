"""What a stock gRPC client or an Envoy would refuse never reaches it."""

from dataclasses import replace

import pytest
import re2

from meshlib.controlplane.node import ClientKind, Node
from meshlib.controlplane.profiles import adapt
from meshlib.model import (
    ALWAYS,
    ROUTER,
    Address,
    AdmissionControl,
    Aggregate,
    CircuitBreakers,
    ClientSideWeightedRoundRobin,
    Cluster,
    ClusterHeader,
    ClusterLoadAssignment,
    ClusterProvided,
    ClusterWeight,
    Cors,
    DirectResponseAction,
    Eds,
    Endpoint,
    Fault,
    FaultAbort,
    FilterOverride,
    GlobalRateLimit,
    HashCookie,
    HashHeader,
    HttpConnectionManager,
    HttpFilter,
    LeastRequest,
    Listener,
    LocalityLbEndpoints,
    LogicalDns,
    Maglev,
    MetadataMatcher,
    OriginalDst,
    OutlierDetection,
    PathRegex,
    PathSeparatedPrefix,
    PickFirst,
    QueryParameterMatcher,
    Random,
    RandomSubsetting,
    Rds,
    RetryPolicy,
    RingHash,
    RoundRobin,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Static,
    StrictDns,
    TcpKeepalive,
    Thresholds,
    VirtualHost,
    WeightedClusters,
    ZoneAware,
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


@pytest.mark.parametrize(
    "kind, policy, taken",
    [
        (ClientKind.GRPC_GO, LeastRequest(), LeastRequest()),
        (ClientKind.GRPC_GO, Maglev(), RoundRobin()),
        (ClientKind.GRPC, PickFirst(), PickFirst()),
        (ClientKind.GRPC_NODE, PickFirst(), RoundRobin()),
        (ClientKind.GRPC_JAVA, LeastRequest(), LeastRequest()),
        (ClientKind.GRPC_JAVA, Random(), RoundRobin()),
        (ClientKind.GRPC_JAVA, Maglev(), RoundRobin()),
        (ClientKind.GRPC_JAVA, PickFirst(), PickFirst()),
    ],
)
def test_each_grpc_is_spared_what_it_refuses_itself(kind, policy, taken):
    snapshot = gather(clusters=[Cluster(name="c", lb_policy=policy)])
    assert adapt(snapshot, kind, print).clusters["c"].lb_policy == taken


def test_grpc_go_is_told_of_clusters_before_calls_go_there():
    names = ("outbound|80||a.b", "outbound|80|v1|a.b", "outbound|80|v2|a.b", "outbound|81||a.b")
    known = table(Route(action=RouteAction(cluster="outbound|80|v1|a.b")), name="outbound|80||a.b")
    listener = Listener(name="a.b:80", http=HttpConnectionManager(routes=Rds(known.name)))
    snapshot = gather(
        listeners=[listener],
        routes=[known],
        clusters=[Cluster(name=name) for name in names],
        endpoints=[ClusterLoadAssignment(cluster_name=name) for name in names],
    )
    made = adapt(snapshot, ClientKind.GRPC_GO, print)
    made.check()
    taken, never = made.routes[known.name].virtual_hosts[0].routes
    assert taken == known.virtual_hosts[0].routes[0]
    assert [one.name for one in never.action.cluster.clusters] == [names[2], names[0]]
    there, absent = never.match.headers
    assert (there.name, there.invert_match) == (absent.name, not absent.invert_match)


@pytest.mark.parametrize("kind", [ClientKind.GRPC_NODE, ClientKind.GRPC_JAVA])
def test_who_refuses_a_route_that_answers_by_itself_is_led_nowhere(kind):
    known = table(Route(action=DirectResponseAction(status=404)))
    listener = Listener(name="a.b:80", http=HttpConnectionManager(routes=Rds(known.name)))
    said = []
    snapshot = gather(listeners=[listener], routes=[known])
    made = adapt(snapshot, kind, said.append)
    made.check()
    (route,) = made.routes[known.name].virtual_hosts[0].routes
    assert made.endpoints[route.action.cluster].endpoints == ()
    assert "its answer" in str(said[0])


@pytest.mark.parametrize(
    ("kind", "retried"),
    [(ClientKind.GRPC_NODE, ()), (ClientKind.GRPC_JAVA, ("unavailable",))],
)
def test_grpc_js_does_not_retry_where_a_fault_would_make_calls_hang(kind, retried):
    hit = FilterOverride(name="fault", config=Fault(abort=FaultAbort(http_status=503)))
    policy = RetryPolicy(retry_on=("unavailable",))
    choice = ClusterWeight(name="c", weight=1, overrides=(hit,))
    routes = (
        Route(action=RouteAction(cluster="c", retry_policy=policy), overrides=(hit,)),
        Route(
            action=RouteAction(cluster=WeightedClusters(clusters=(choice,)), retry_policy=policy)
        ),
        Route(action=RouteAction(cluster="c", retry_policy=policy)),
    )
    known = table(*routes, name="outbound|80||c")
    listener = Listener(name="c:80", http=HttpConnectionManager(routes=Rds(known.name)))
    said = []
    made = adapt(gather(listeners=[listener], routes=[known]), kind, said.append)
    *faulty, sound = made.routes[known.name].virtual_hosts[0].routes
    assert [route.action.retry_policy.retry_on for route in faulty] == [retried] * 2
    assert sound.action.retry_policy == policy
    assert [("would hang" in str(one)) for one in said] == ([True] * 2 if not retried else [])


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
        ("gRPC Go", ClientKind.GRPC_GO),
        ("grpc-node", ClientKind.GRPC_NODE),
        ("gRPC Node Pure JS", ClientKind.GRPC_NODE),
        ("gRPC Java", ClientKind.GRPC_JAVA),
        ("grpc-c++/1.80.0", ClientKind.GRPC),
        ("", ClientKind.OTHER),
    ],
)
def test_a_client_is_known_by_its_user_agent(user_agent, kind):
    assert Node(id="n", user_agent_name=user_agent).kind is kind


def test_what_a_gRPC_client_ignores_of_a_cluster_is_told():
    full = Cluster(
        name="c",
        lb_policy=RingHash(hash_function="murmur_hash_2", hash_balance_factor=150),
        outlier_detection=OutlierDetection(),
        circuit_breakers=CircuitBreakers(default=Thresholds(max_connections=9)),
        tcp_keepalive=TcpKeepalive(),
        locality_lb=ZoneAware(),
    )
    made, said = for_grpc(clusters=[full])
    assert made.clusters["c"].lb_policy == replace(full.lb_policy, hash_function="xx_hash")
    ignored = (
        "circuit_breakers but max_requests, consecutive errors of outlier_detection, "
        "zone_aware_lb_config, hash_balance_factor, tcp_keepalive"
    )
    assert said == [
        f"clusters/c: without effect for gRPC clients: {ignored}",
        "clusters/c: MURMUR_HASH_2 is XX_HASH for gRPC clients",
    ]


def test_limits_that_are_none_are_nothing_to_tell():
    none = 2**32 - 1
    limits = Thresholds(max_connections=none, max_pending_requests=none, max_retries=none)
    _, said = for_grpc(
        clusters=[Cluster(name="c", circuit_breakers=CircuitBreakers(default=limits))]
    )
    assert said == []


@pytest.mark.parametrize(
    ("child", "means"), [(PickFirst(), PickFirst()), (LeastRequest(), RoundRobin())]
)
def test_a_subset_of_endpoints_becomes_all_of_them_for_gRPC(child, means):
    subset = RandomSubsetting(subset_size=2, child_policy=child)
    made, said = for_grpc(clusters=[Cluster(name="c", lb_policy=subset)])
    assert made.clusters["c"].lb_policy == means
    assert "RandomSubsetting is its child policy" in said[0]


def test_an_aggregate_loses_what_is_outside_of_the_mesh_for_gRPC():
    outside = Cluster(name="p", discovery=OriginalDst(), lb_policy=ClusterProvided())
    every = Cluster(name="all", discovery=Aggregate(("c", "p")), lb_policy=ClusterProvided())
    made, said = for_grpc(clusters=[Cluster(name="c"), outside, every])
    assert made.clusters["all"].discovery == Aggregate(("c",))
    assert made.clusters["all"].lb_policy == RoundRobin()
    assert len(said) == 1


@pytest.mark.parametrize(
    ("match", "cluster"),
    [
        (RouteMatch(query_parameters=(QueryParameterMatcher(name="q"),)), "c"),
        (RouteMatch(dynamic_metadata=(MetadataMatcher(filter="f", path=("a",)),)), "c"),
        (RouteMatch(), ClusterHeader("x")),
    ],
)
def test_a_route_that_gRPC_would_misread_is_left_out(match, cluster):
    made, said = for_grpc(routes=[table(Route(match=match, action=RouteAction(cluster=cluster)))])
    assert made.routes["t"].virtual_hosts[0].routes == ()
    assert len(said) == 1
    assert "is left out for gRPC clients" in said[0]


def test_what_a_gRPC_client_ignores_of_a_route_is_told():
    action = RouteAction(
        cluster="c",
        timeout=1.0,
        prefix_rewrite="/",
        hash_policy=(HashHeader(header_name="x"), HashCookie(name="c")),
        retry_policy=RetryPolicy(retry_on=("5xx",), per_try_timeout=1.0),
    )
    _, said = for_grpc(routes=[table(Route(action=action))])
    where = "routes/t: virtual_hosts[h]"
    ignored = "timeout, rewrites, hash_policy, retry_policy, per_try_timeout"
    assert said == [f"{where}: without effect for gRPC clients: {ignored}"]


def test_a_fault_reaches_gRPC_clients_and_other_filters_do_not():
    hit = Fault(abort=FaultAbort(http_status=503, percentage=ALWAYS))
    overrides = (
        FilterOverride(name="cors", config=Cors()),
        FilterOverride(name="fault", config=hit),
        FilterOverride(name="off", config=hit, disabled=True),
        FilterOverride(name="some", config=replace(hit, upstream_cluster="c")),
    )
    route = Route(action=RouteAction(cluster="c"), overrides=overrides)
    made, said = for_grpc(routes=[table(route)])
    assert made.routes["t"].virtual_hosts[0].routes[0].overrides == (
        FilterOverride(name="fault", config=hit),
        FilterOverride(name="off", config=Fault()),
        FilterOverride(name="some", config=Fault()),
    )
    assert [one.rpartition("[")[2] for one in said] == [
        "cors]: left out for gRPC clients",
        "some]: a fault for some calls only is left out for gRPC clients",
    ]


def test_a_gRPC_server_is_sent_no_faults():
    http = HttpConnectionManager(
        routes=table(), http_filters=(HttpFilter(name="fault", config=Fault()), ROUTER)
    )
    real = Listener(name="in", http=http, address=Address("0.0.0.0", 80))
    called = Listener(name="out", http=http)
    made = adapt(gather(listeners=[real, called]), ClientKind.GRPC, lambda _: None)
    assert made.listeners["in"].http.http_filters == (ROUTER,)
    assert made.listeners["out"].http == http


def for_envoy(**kinds):
    said = []
    return adapt(gather(**kinds), ClientKind.ENVOY, said.append), list(map(str, said))


def test_an_envoy_is_sent_balancers_that_it_has():
    subset = RandomSubsetting(subset_size=2, child_policy=PickFirst())
    made, said = for_envoy(
        clusters=[
            Cluster(name="subset", lb_policy=subset),
            Cluster(name="hashed", lb_policy=Maglev(use_hostname_for_hashing=True)),
            Cluster(
                name="zones", lb_policy=ClientSideWeightedRoundRobin(), locality_lb=ZoneAware()
            ),
            Cluster(name="all", discovery=Aggregate(("subset",))),
            Cluster(name="fine", lb_policy=LeastRequest(full_scan=True), locality_lb=ZoneAware()),
        ]
    )
    assert made.clusters["subset"].lb_policy == RoundRobin()
    assert made.clusters["hashed"].lb_policy == Maglev()
    assert made.clusters["zones"].locality_lb is None
    assert made.clusters["all"].lb_policy == ClusterProvided()
    assert made.clusters["fine"].locality_lb == ZoneAware()
    assert [one.partition(":")[0] for one in said] == [
        "clusters/subset",
        "clusters/hashed",
        "clusters/zones",
    ]


def test_an_envoy_is_sent_overrides_that_it_takes():
    overrides = (
        FilterOverride(name="ask", config=GlobalRateLimit(domain="d", cluster="c", timeout=1.0)),
        FilterOverride(name="empty"),
        FilterOverride(name="off", disabled=True),
        FilterOverride(name="shed", config=AdmissionControl()),
    )
    choice = ClusterWeight(name="c", weight=1, overrides=overrides)
    weighted = RouteAction(cluster=WeightedClusters(clusters=(choice,)))
    made, said = for_envoy(routes=[table(Route(action=weighted))])
    (left,) = made.routes["t"].virtual_hosts[0].routes[0].action.cluster.clusters
    assert left.overrides == (
        FilterOverride(name="ask", config=GlobalRateLimit(domain="d", cluster="")),
        FilterOverride(name="off", disabled=True),
    )
    assert len(said) == 3
