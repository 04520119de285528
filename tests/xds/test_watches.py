"""What is not there, what is wrong, and what is kept: timers, data errors, cache states."""

import pytest

from meshlib.testing.ads import AdsPair, Bad, Named
from meshlib.xds.responses import ResourceError
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshlib.xds.watches import (
    NOT_FOUND,
    PERMISSION_DENIED,
    AmbientError,
    Entry,
    ResourceChanged,
    ResourceFailed,
    ResourceState,
    Watches,
)

UNAVAILABLE = 14


def test_n1_a_resource_that_never_comes_does_not_exist_after_15_seconds(connected) -> None:
    pair = connected("a")
    pair.jump(14.9)
    assert pair.absent == frozenset()
    pair.jump(0.1)
    assert pair.absent == {"a"}


def test_n1_the_timer_waits_for_the_connection(pair) -> None:
    pair.watch("a")
    pair.open()
    pair.jump(60)
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.REQUESTED
    pair.connect()
    pair.jump(15)
    assert pair.absent == {"a"}


def test_n1_the_timer_ends_with_the_resource(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    assert (LISTENER, "a") not in pair.discovery.conversation(pair.servers[None][0])._timers
    pair.jump(60)
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.ACKED


def test_n1_the_timer_ends_with_a_nack_of_the_resource(connected) -> None:
    pair = connected("a")
    pair.respond(LISTENER, Bad("a"))
    pair.jump(60)
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.NACKED


def test_n1_the_timer_ends_with_an_error_from_the_server(connected) -> None:
    pair = connected("a")
    pair.respond(LISTENER, errors=[ResourceError("a", UNAVAILABLE, "later")])
    pair.jump(60)
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.RECEIVED_ERROR


def test_n1_the_timer_ends_with_the_stream_and_begins_anew_on_the_next(connected) -> None:
    pair = connected("a")
    pair.jump(14)
    pair.close()
    pair.jump(2)
    assert pair.absent == frozenset()
    pair.connect()
    pair.jump(14)
    assert pair.absent == frozenset()
    pair.jump(1)
    assert pair.absent == {"a"}


def test_n1_what_is_cached_gets_no_timer_on_a_new_stream(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.close()
    pair.connect()
    pair.jump(60)
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.ACKED


def test_n1_a_changed_subscription_does_not_begin_the_timer_anew(connected) -> None:
    pair = connected("a")
    pair.jump(14)
    pair.watch("b")
    pair.jump(1)
    assert pair.absent == {"a"}


def test_n2_a_server_may_declare_the_timer_a_passing_error_of_30_seconds() -> None:
    pair = AdsPair(server_features=["resource_timer_is_transient_error"])
    pair.watch("a")
    pair.connect()
    pair.jump(29)
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.REQUESTED
    pair.jump(1)
    entry = pair.discovery.watches.get(LISTENER, "a")
    assert (entry.state, entry.transient, pair.absent) == (ResourceState.TIMEOUT, True, frozenset())


def an_entry(resource: object = "v1", **facts: object) -> Entry:
    return Entry(type_url=LISTENER, name="a", resource=resource, **facts)


@pytest.fixture
def watches() -> Watches:
    watches = Watches()
    watches.watch(LISTENER, "a")
    return watches


@pytest.fixture
def cached(watches: Watches) -> Watches:
    watches.accept(an_entry())
    return watches


def test_n3_a_resource_clears_the_ambient_error(cached) -> None:
    cached.reject(LISTENER, "a", "2", "odd")
    assert cached.accept(an_entry()) == (AmbientError(LISTENER, "a", ""),)
    assert cached.accept(an_entry("v2")) == (ResourceChanged(LISTENER, "a", "v2"),)


def test_n4_with_nothing_cached_every_error_is_a_failure(watches) -> None:
    assert watches.reject(LISTENER, "a", "1", "odd") == (ResourceFailed(LISTENER, "a", "odd"),)
    [failed] = watches.receive_error(LISTENER, "a", UNAVAILABLE, "later")
    assert failed == ResourceFailed(LISTENER, "a", "later", transient=True)


def test_n4_with_nothing_cached_a_lost_connection_is_a_failure(watches) -> None:
    assert list(watches.disconnect("refused")) == [
        ResourceFailed(LISTENER, "a", "refused", transient=True)
    ]


@pytest.mark.parametrize("code", [UNAVAILABLE, NOT_FOUND, PERMISSION_DENIED])
def test_n4_a_cached_resource_is_kept_whatever_the_server_says_of_it(cached, code) -> None:
    assert cached.receive_error(LISTENER, "a", code, "no") == (AmbientError(LISTENER, "a", "no"),)
    assert cached.get(LISTENER, "a").resource == "v1"


def test_n4_a_cached_resource_is_kept_when_refused_or_deleted(cached) -> None:
    assert cached.reject(LISTENER, "a", "2", "odd") == (AmbientError(LISTENER, "a", "odd"),)
    [ambient] = cached.delete(LISTENER, "a")
    assert isinstance(ambient, AmbientError)
    entry = cached.get(LISTENER, "a")
    assert (entry.state, entry.resource) == (ResourceState.DOES_NOT_EXIST, "v1")


@pytest.mark.parametrize("code", [NOT_FOUND, PERMISSION_DENIED])
def test_n4_fail_on_data_errors_drops_what_was_cached(code) -> None:
    watches = Watches()
    watches.watch(LISTENER, "a")
    watches.accept(an_entry())
    assert watches.receive_error(LISTENER, "a", code, "no", drop=True) == (
        ResourceFailed(LISTENER, "a", "no"),
    )
    assert watches.get(LISTENER, "a").resource is None


def test_n4_fail_on_data_errors_keeps_what_meets_a_passing_error() -> None:
    watches = Watches()
    watches.watch(LISTENER, "a")
    watches.accept(an_entry())
    [ambient] = watches.receive_error(LISTENER, "a", UNAVAILABLE, "later", drop=True)
    assert ambient == AmbientError(LISTENER, "a", "later")


def test_n5_ignore_resource_deletion_changes_nothing(world) -> None:
    pair = AdsPair(server_features=["ignore_resource_deletion"])
    pair.watch("a")
    pair.connect()
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(LISTENER, version="2")
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.DOES_NOT_EXIST
    assert pair.discovery.watches.get(LISTENER, "a").resource == world.listener("a")


def test_n6_a_late_watcher_hears_the_resource_and_then_the_error(cached) -> None:
    cached.reject(LISTENER, "a", "2", "odd")
    assert cached.watch(LISTENER, "a") == (
        ResourceChanged(LISTENER, "a", "v1"),
        AmbientError(LISTENER, "a", "odd"),
    )


def test_n6_a_late_watcher_hears_that_there_is_no_connection(watches) -> None:
    list(watches.disconnect("refused"))
    assert watches.watch(LISTENER, "late") == (
        ResourceFailed(LISTENER, "late", "refused", transient=True),
    )


@pytest.mark.parametrize("type_url", [LISTENER, CLUSTER])
def test_n7_absence_deletes_listeners_and_clusters(world, type_url) -> None:
    pair = AdsPair()
    pair.watch("a")
    pair.connect()
    pair.serve(world.chain("a", "c"))
    pair.respond(type_url, version="2")
    name = {LISTENER: "a", CLUSTER: "c"}[type_url]
    assert pair.discovery.watches.get(type_url, name).state is ResourceState.DOES_NOT_EXIST


@pytest.mark.parametrize("type_url", [ROUTE, ENDPOINT])
def test_n7_absence_means_nothing_for_routes_and_endpoints(connected, world, type_url) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "c"))
    pair.respond(type_url, version="2")
    name = {ROUTE: "ra", ENDPOINT: "c"}[type_url]
    assert pair.discovery.watches.get(type_url, name).state is ResourceState.ACKED


def test_n7_absence_says_nothing_of_a_name_that_the_server_may_not_have_seen(
    connected, world
) -> None:
    pair = connected("a")
    pair.watch("b")
    pair.respond(LISTENER, world.listener("a"))
    assert pair.discovery.watches.get(LISTENER, "b").state is ResourceState.REQUESTED


def test_n7_a_bad_resource_without_name_may_be_the_missing_one(connected, world) -> None:
    pair = connected("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(LISTENER, Bad("", "garbage"), version="2")
    assert pair.discovery.watches.get(LISTENER, "a").state is ResourceState.ACKED


def test_n8_what_ails_a_cluster_is_told_though_it_is_served_on(connected, world) -> None:
    pair = connected("a")
    pair.serve(world.chain("a", "x"))
    assert pair.discovery.trouble(CLUSTER, "x") == ""
    pair.close()
    pair.connect()
    pair.close("refused")
    trouble = pair.discovery.trouble(CLUSTER, "x")
    assert trouble == "the control plane is not connected: refused"
    pair.jump(2)
    pair.connect()
    pair.respond(ENDPOINT, Bad("x", "is odd"), version="2")
    assert pair.discovery.trouble(CLUSTER, "x") == "x: x: is odd"


def test_n9_what_does_not_exist_stays_subscribed_and_may_appear(connected, world) -> None:
    pair = connected("a")
    pair.jump(15)
    assert pair.absent == {"a"}
    assert pair.names(LISTENER) == ("a",)
    pair.serve(world.chain("a", "c"))
    assert pair.absent == frozenset()
    assert set(pair.snapshot.listeners) == {"a"}


def test_n10_a_host_that_the_server_does_not_have_is_absent_at_once(connected) -> None:
    pair = connected("a")
    pair.respond(LISTENER, errors=[ResourceError("a", NOT_FOUND, "no listener a")])
    assert pair.absent == {"a"}
    assert pair.take()[0].error == ""
    assert pair.reports == []


@pytest.mark.parametrize("code", [2, 13, 14, 99])
def test_n10_other_codes_are_passing_errors_and_remembered(connected, code) -> None:
    pair = connected("a")
    pair.respond(LISTENER, errors=[ResourceError("a", code, "try later")])
    pair.respond(LISTENER, version="2")
    entry = pair.discovery.watches.get(LISTENER, "a")
    assert (entry.transient, entry.error) == (True, "try later")


def test_n11_a_resource_goes_through_the_states_of_the_cache(connected, world) -> None:
    pair = connected("a")

    def state() -> tuple[ResourceState, bool]:
        entry = pair.discovery.watches.get(LISTENER, "a")
        return entry.state, entry.resource is not None

    assert state() == (ResourceState.REQUESTED, False)
    pair.respond(LISTENER, Bad("a"))
    assert state() == (ResourceState.NACKED, False)
    pair.respond(LISTENER, world.listener("a"))
    assert state() == (ResourceState.ACKED, True)
    pair.respond(LISTENER, Bad("a"), version="2")
    assert state() == (ResourceState.NACKED, True)
    pair.respond(LISTENER, errors=[ResourceError("a", UNAVAILABLE, "later")], version="3")
    assert state() == (ResourceState.RECEIVED_ERROR, True)
    pair.respond(LISTENER, errors=[ResourceError("a", NOT_FOUND, "gone")], version="4")
    assert state() == (ResourceState.DOES_NOT_EXIST, True)


def test_fields_without_effect_are_kept_and_reported_once(connected, world) -> None:
    pair = connected("a")
    listener = Named("a", world.listener("a"), ignored=("api_listener.odd",))
    pair.respond(LISTENER, listener)
    pair.respond(LISTENER, listener, version="2")
    assert pair.discovery.watches.get(LISTENER, "a").ignored == ("api_listener.odd",)
    assert pair.reports == ["a: api_listener.odd is accepted but not acted on"]


def test_an_unknown_host_stays_unknown_while_the_control_plane_is_away(connected) -> None:
    pair = connected("a")
    pair.respond(LISTENER, errors=[ResourceError("a", NOT_FOUND, "no")])
    pair.close()
    pair.connect()
    pair.close("refused")
    assert pair.absent == {"a"}
