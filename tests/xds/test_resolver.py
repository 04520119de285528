"""One consistent snapshot of what the control plane says, and none that is torn."""

from meshlib.model import (
    ROUTER,
    Aggregate,
    Cluster,
    GlobalRateLimit,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    RouteConfiguration,
    Snapshot,
    gather,
)
from meshlib.testing.ads import Bad
from meshlib.xds.responses import ResourceError
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshlib.xds.watches import NOT_FOUND, ResourceState


def test_a_listener_is_used_when_all_that_it_leads_to_is_there(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "x", "y"))
    pair.respond(CLUSTER, world.cluster("x"), world.cluster("y"))
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert pair.updates == []
    pair.respond(ENDPOINT, world.endpoints("y"))
    assert pair.snapshot == world.chain("a", "x", "y")
    assert list(pair.snapshot.problems()) == []


def test_routes_inside_the_listener_need_no_rds(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a", world.table("inside", "x")))
    assert pair.names(ROUTE) == ()
    pair.respond(CLUSTER, world.cluster("x", service="eds/x"))
    pair.respond(ENDPOINT, world.endpoints("eds/x"))
    assert set(pair.snapshot.endpoints) == {"eds/x"}


def test_one_response_makes_one_update_at_most(connected, world) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, world.listener("a", "r"), world.listener("b", "r"))
    pair.respond(ROUTE, world.table("r", "x"))
    pair.respond(CLUSTER, world.cluster("x"))
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert len(pair.updates) == 1
    assert set(pair.snapshot.listeners) == {"a", "b"}


def test_news_that_change_nothing_make_no_update(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    before = len(pair.updates)
    pair.serve(world.chain("a", "x"), version="2")
    assert len(pair.updates) == before


def test_o2_new_routes_wait_for_their_clusters_while_the_old_ones_serve(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "old"))
    pair.respond(ROUTE, world.table("ra", "new"), version="2")
    assert pair.snapshot == world.chain("a", "old")
    assert pair.names(CLUSTER) == ("old", "new")
    pair.respond(CLUSTER, world.cluster("old"), world.cluster("new"), version="2")
    assert pair.snapshot == world.chain("a", "old")
    pair.respond(ENDPOINT, world.endpoints("new"), version="2")
    assert pair.snapshot == world.chain("a", "new")
    assert (pair.names(CLUSTER), pair.names(ENDPOINT)) == (("new",), ("new",))


def test_o2_the_old_routes_hear_of_endpoints_while_the_new_ones_wait(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "old"))
    pair.respond(ROUTE, world.table("ra", "new"), version="2")
    pair.respond(ENDPOINT, world.endpoints("old", 81), version="2")
    assert pair.snapshot.endpoints["old"] == world.endpoints("old", 81)


def test_o2_a_listener_that_waits_does_not_hold_up_another(connected, world) -> None:
    pair = connected("a", "b")
    pair.respond(LISTENER, world.listener("a"), world.listener("b"))
    pair.respond(ROUTE, world.table("ra", "x"), world.table("rb", "y"))
    pair.respond(CLUSTER, world.cluster("x"))
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert pair.snapshot == world.chain("a", "x")


def test_o3_a_cluster_that_does_not_exist_fails_alone(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "x", "gone"))
    missing = ResourceError("gone", NOT_FOUND, "no cluster gone")
    pair.respond(CLUSTER, world.cluster("x"), errors=[missing])
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert set(pair.snapshot.clusters) == {"x"}
    assert set(pair.snapshot.listeners) == {"a"}
    assert pair.reports == ["gone: no cluster gone"]


def test_o3_a_refused_cluster_fails_alone(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "x", "odd"))
    pair.respond(CLUSTER, world.cluster("x"), Bad("odd"))
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert set(pair.snapshot.clusters) == {"x"}


def test_o3_a_cluster_whose_endpoints_do_not_exist_has_none(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "x"))
    pair.respond(CLUSTER, world.cluster("x"))
    pair.jump(15)
    assert set(pair.snapshot.clusters) == {"x"}
    assert pair.snapshot.endpoints == {}


def test_o3_routes_that_do_not_exist_fail_their_listener_at_once(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.jump(15)
    assert pair.snapshot.routes == {"ra": RouteConfiguration(name="ra")}
    assert pair.absent == frozenset()


def test_a_listener_does_not_leave_routes_that_work_for_routes_that_do_not_exist(
    connected, world
) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    pair.respond(LISTENER, world.listener("a", "other"), version="2")
    pair.jump(15)
    assert pair.snapshot == world.chain("a", "x")


def test_o5_a_changed_cluster_serves_as_before_until_its_endpoints_come(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    warming = world.cluster("x", service="x/2")
    pair.respond(CLUSTER, warming, version="2")
    assert pair.snapshot == world.chain("a", "x")
    assert pair.names(ENDPOINT) == ("x", "x/2")
    pair.respond(ENDPOINT, world.endpoints("x", 81), version="2")
    assert pair.snapshot.endpoints == {"x": world.endpoints("x", 81)}
    pair.respond(ENDPOINT, world.endpoints("x/2"), version="3")
    assert pair.snapshot.clusters["x"] == warming
    assert set(pair.snapshot.endpoints) == {"x/2"}
    assert pair.names(ENDPOINT) == ("x/2",)


def test_a_lost_connection_does_not_force_unfinished_routes_on_a_listener_that_works(
    connected, world
) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "old"))
    pair.respond(ROUTE, world.table("ra", "new"), version="2")
    pair.close()
    pair.connect()
    pair.close("refused")
    assert pair.snapshot == world.chain("a", "old")


def test_with_nothing_older_a_tree_serves_without_the_cluster_that_has_a_passing_error(
    connected, world
) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "x", "later"))
    unavailable = ResourceError("later", 14, "come back")
    pair.respond(CLUSTER, world.cluster("x"), errors=[unavailable])
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert set(pair.snapshot.clusters) == {"x"}


def test_a_deleted_listener_serves_on(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    pair.delete(LISTENER, "a", version="2")
    assert pair.snapshot == world.chain("a", "x")
    assert pair.absent == frozenset()
    assert pair.reports == ["a: the control plane does not have it any more"]


def test_a_deleted_listener_goes_where_the_server_asks_to_fail_on_data_errors(
    a_pair, world
) -> None:
    pair = a_pair(server_features=["fail_on_data_errors"])
    pair.watch("a")
    pair.connect()
    pair.serve(world.chain("a", "x"))
    pair.delete(LISTENER, "a", version="2")
    assert (pair.snapshot, pair.absent) == (Snapshot(), {"a"})
    assert pair.names(CLUSTER) == ()


def test_a_refused_update_leaves_the_last_good_one_in_force(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    for type_url, name in ((LISTENER, "a"), (ROUTE, "ra"), (CLUSTER, "x"), (ENDPOINT, "x")):
        pair.respond(type_url, Bad(name), version="2")
        assert pair.discovery.watches.get(type_url, name).state is ResourceState.NACKED
    assert pair.snapshot == world.chain("a", "x")


def test_what_nobody_refers_to_is_unsubscribed(connected, world) -> None:
    pair = connected("a", "b")
    both = gather(
        listeners=[world.listener("a"), world.listener("b")],
        routes=[world.table("ra", "x", "shared"), world.table("rb", "shared")],
        clusters=[world.cluster("x"), world.cluster("shared")],
        endpoints=[world.endpoints("x"), world.endpoints("shared")],
    )
    pair.serve(both)
    pair.respond(ROUTE, world.table("ra", "shared"), version="2")
    assert pair.names(CLUSTER) == pair.names(ENDPOINT) == ("shared",)
    assert pair.discovery.watches.get(CLUSTER, "x") is None


def test_many_new_references_are_asked_for_in_one_request(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.take()
    pair.respond(ROUTE, world.table("ra", *"vwxyz"))
    asked = [request for request in pair.take() if request.type_url == CLUSTER]
    assert [request.asked for request in asked] == [tuple("vwxyz")]


def test_the_version_says_which_version_of_each_type_is_in_force(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"), version="v1")
    assert pair.snapshot.version == "v1"
    pair.respond(ENDPOINT, world.endpoints("x", 81), version="v2")
    assert pair.snapshot.version == "lds v1, rds v1, cds v1, eds v2"


def test_a_cluster_that_goes_a_moment_before_its_routes_is_no_news(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "old"))
    missing = ResourceError("old", NOT_FOUND, "no old")
    pair.respond(CLUSTER, world.cluster("new"), version="2", errors=[missing])
    pair.serve(world.chain("a", "new"), version="2")
    assert pair.snapshot == world.chain("a", "new")
    assert pair.reports == []


def aggregate(name: str, *children: str) -> Cluster:
    return Cluster(name=name, discovery=Aggregate(children))


def test_the_clusters_of_an_aggregate_are_asked_for_and_served_with_it(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "all"))
    assert pair.names(CLUSTER) == ("all",)
    pair.respond(CLUSTER, aggregate("all", "inner", "x"))
    assert pair.names(CLUSTER) == ("all", "inner", "x")
    pair.respond(CLUSTER, aggregate("all", "inner", "x"), aggregate("inner", "y"))
    assert pair.names(CLUSTER) == ("all", "inner", "x", "y")
    leaves = world.cluster("x"), world.cluster("y")
    pair.respond(CLUSTER, aggregate("all", "inner", "x"), aggregate("inner", "y"), *leaves)
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert pair.updates == []
    pair.respond(ENDPOINT, world.endpoints("y"))
    assert set(pair.snapshot.clusters) == {"all", "inner", "x", "y"}
    assert set(pair.snapshot.endpoints) == {"x", "y"}


def test_a_cluster_that_an_aggregate_misses_is_passed_over(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "all"))
    pair.respond(CLUSTER, aggregate("all", "x", "missing"))
    missing = ResourceError("missing", NOT_FOUND, "no such cluster")
    pair.respond(CLUSTER, aggregate("all", "x", "missing"), world.cluster("x"), errors=[missing])
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert set(pair.snapshot.clusters) == {"all", "x"}


def test_an_aggregate_changes_when_all_that_it_is_made_of_is_there(connected, world) -> None:
    pair = connected("a")
    old = aggregate("all", "x")
    pair.serve(
        gather(
            listeners=[world.listener("a")],
            routes=[world.table("ra", "all")],
            clusters=[old, world.cluster("x")],
            endpoints=[world.endpoints("x")],
        )
    )
    known = world.cluster("x"), world.cluster("y")
    pair.respond(CLUSTER, aggregate("all", "y"), *known, version="2")
    assert pair.names(CLUSTER) == ("all", "x", "y")
    pair.respond(CLUSTER, aggregate("all", "y"), *known, version="2")
    assert pair.snapshot.clusters["all"] == old
    assert "y" not in pair.snapshot.clusters
    pair.respond(ENDPOINT, world.endpoints("y"), version="2")
    assert set(pair.snapshot.clusters) == {"all", "y"}
    assert pair.names(CLUSTER) == ("all", "y")


def test_aggregates_that_lead_back_to_themselves_have_an_end(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "one"))
    round_trip = aggregate("one", "other", "x"), aggregate("other", "one")
    pair.respond(CLUSTER, *round_trip, world.cluster("x"))
    pair.respond(CLUSTER, *round_trip, world.cluster("x"))
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert set(pair.snapshot.clusters) == {"one", "other", "x"}


def test_aggregates_are_followed_to_a_depth_of_sixteen(connected, world) -> None:
    pair = connected("a")
    chain = [aggregate(f"c{depth}", f"c{depth + 1}") for depth in range(30)]
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "c0"))
    for _ in chain:
        pair.respond(CLUSTER, *chain)
    assert len(pair.names(CLUSTER)) == 17


def test_clusters_that_filters_ask_are_followed(connected, world) -> None:
    ask = HttpFilter(name="ask", config=GlobalRateLimit(domain="d", cluster="limits"))
    http = HttpConnectionManager(routes=world.table("inside", "x"), http_filters=(ask, ROUTER))
    pair = connected("a")
    pair.respond(LISTENER, Listener(name="a", http=http))
    assert pair.names(CLUSTER) == ("x", "limits")
    pair.respond(CLUSTER, world.cluster("x"), world.cluster("limits"))
    pair.respond(ENDPOINT, world.endpoints("x"), world.endpoints("limits"))
    assert set(pair.snapshot.clusters) == {"x", "limits"}


def test_c9_what_does_not_come_in_time_is_not_waited_for_and_stays_asked_for(
    connected, world
) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, world.table("ra", "x", "y"))
    pair.respond(CLUSTER, world.cluster("x"), world.cluster("y"))
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert pair.updates == []
    pair.jump(15)
    assert set(pair.snapshot.endpoints) == {"x"}
    assert pair.names(ENDPOINT) == ("x", "y")
    pair.respond(ENDPOINT, world.endpoints("x"), world.endpoints("y"), version="2")
    assert pair.snapshot == world.chain("a", "x", "y")
