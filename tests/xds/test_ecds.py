"""Filters that discover their configuration (ECDS): warming, refusals, defaults."""

import pytest

from meshlib.model import (
    ROUTER,
    ExtensionConfig,
    Fault,
    FaultAbort,
    FilterDiscovery,
    GlobalRateLimit,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalRateLimit,
    RouteConfiguration,
    discovered,
)
from meshlib.testing.ads import Bad
from meshlib.xds.responses import ResourceError
from meshlib.xds.types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE
from meshlib.xds.watches import ResourceState

ABORT = Fault(abort=FaultAbort(http_status=503))
DEFAULT = Fault(abort=FaultAbort(http_status=418))
AT_ONCE = FilterDiscovery(
    types=(Fault,), default_config=DEFAULT, apply_default_config_without_warming=True
)
WITH_DEFAULT = FilterDiscovery(types=(Fault,), default_config=DEFAULT)
WITHOUT = FilterDiscovery(types=(Fault,))


def listener(discovery: FilterDiscovery = WITHOUT, *, prefix: str = "mesh") -> Listener:
    filters = (HttpFilter(name="f", config=discovery), ROUTER)
    table = RouteConfiguration(name="inside")
    return Listener(
        name="a",
        http=HttpConnectionManager(routes=table, http_filters=filters, stat_prefix=prefix),
    )


def config(config=ABORT) -> ExtensionConfig:
    return ExtensionConfig(name="f", config=config)


def in_force(pair):
    """What the filter runs on; ``None``: there is no such listener yet."""
    found = pair.snapshot.listeners.get("a")
    if found is None:
        return None
    return discovered(found, pair.snapshot.extensions).http.http_filters[0].config


def entry(pair):
    return pair.discovery.watches.get(EXTENSION, "f")


@pytest.fixture
def told(connected):
    """A pair whose listener discovers its filter, or is told the filter too."""

    def tell(discovery=WITHOUT, *configs):
        pair = connected("a")
        pair.respond(LISTENER, listener(discovery))
        if configs:
            pair.respond(EXTENSION, *configs)
        return pair

    return tell


@pytest.mark.parametrize("discovery", [WITHOUT, WITH_DEFAULT])
def test_a_listener_waits_for_what_its_filters_discover(told, discovery) -> None:
    pair = told(discovery)
    assert pair.names(EXTENSION) == ("f",)
    assert pair.updates == []
    pair.respond(EXTENSION, config())
    assert in_force(pair) == ABORT
    assert list(pair.snapshot.problems()) == []


def test_a_default_that_applies_at_once_is_not_waited_for(told) -> None:
    pair = told(AT_ONCE)
    assert in_force(pair) == DEFAULT
    pair.respond(EXTENSION, config())
    assert in_force(pair) == ABORT


def test_the_default_holds_where_nothing_comes_in_time(told) -> None:
    pair = told(WITH_DEFAULT)
    pair.jump(15)
    assert in_force(pair) == DEFAULT


def test_without_a_default_the_filter_stays_without_configuration(told) -> None:
    pair = told(WITHOUT)
    pair.jump(15)
    assert in_force(pair) == WITHOUT
    (problem,) = pair.snapshot.problems()
    assert str(problem) == (
        "listeners/a: http_filters[f].config_discovery: no extension config 'f' of its types"
    )


def test_a_new_configuration_replaces_the_old_one(told) -> None:
    pair = told(WITHOUT, config())
    pair.respond(EXTENSION, config(DEFAULT), version="2")
    assert in_force(pair) == DEFAULT
    assert len(pair.updates) == 2


def test_a_configuration_of_another_type_is_refused_and_the_last_good_one_kept(told) -> None:
    pair = told(WITH_DEFAULT, config())
    pair.take()
    pair.respond(EXTENSION, config(LocalRateLimit()), version="2")
    (nack,) = pair.take()
    assert nack.error == (
        "extensions/f: typed_config: is of a type that no filter asked for (type_urls)"
    )
    assert entry(pair).state is ResourceState.NACKED
    assert in_force(pair) == ABORT


def test_a_refused_configuration_leaves_the_last_good_one(told) -> None:
    pair = told(WITH_DEFAULT, config())
    pair.respond(EXTENSION, Bad("f", "odd"), version="2")
    assert in_force(pair) == ABORT


def test_where_the_first_configuration_is_refused_the_default_holds(told) -> None:
    pair = told(WITH_DEFAULT, config(LocalRateLimit()))
    assert entry(pair).state is ResourceState.NACKED
    assert in_force(pair) == DEFAULT


def test_a_configuration_that_is_taken_back_gives_way_to_the_default(a_pair) -> None:
    pair = a_pair(server_features=["fail_on_data_errors"])
    pair.watch("a")
    pair.connect()
    pair.respond(LISTENER, listener(WITH_DEFAULT))
    pair.respond(EXTENSION, config())
    taken_back(pair)
    assert in_force(pair) == DEFAULT


@pytest.mark.parametrize(("discovery", "left"), [(WITH_DEFAULT, DEFAULT), (WITHOUT, ABORT)])
def test_what_is_taken_back_stays_only_where_there_is_no_default(told, discovery, left) -> None:
    pair = told(discovery, config())
    taken_back(pair)
    assert in_force(pair) == left


def taken_back(pair) -> None:
    pair.respond(EXTENSION, version="2", errors=[ResourceError("f", 5, "gone")])


def test_an_older_listener_serves_while_the_new_one_waits_for_its_filters(connected) -> None:
    pair = connected("a")
    plain = Listener(name="a", http=HttpConnectionManager(routes=RouteConfiguration(name="x")))
    pair.respond(LISTENER, plain)
    pair.respond(LISTENER, listener(), version="2")
    pair.jump(15)
    assert pair.snapshot.listeners == {"a": plain}
    pair.respond(EXTENSION, config())
    assert in_force(pair) == ABORT


def test_a_listener_that_takes_another_type_waits_for_one(told) -> None:
    pair = told(WITHOUT, config())
    pair.respond(LISTENER, listener(FilterDiscovery(types=(LocalRateLimit,))), version="2")
    assert in_force(pair) == ABORT
    pair.respond(EXTENSION, config(LocalRateLimit()), version="2")
    assert in_force(pair) == LocalRateLimit()


def test_the_service_that_a_discovered_filter_asks_is_warmed_with_it(told, world) -> None:
    asked = GlobalRateLimit(domain="d", cluster="rls")
    pair = told(FilterDiscovery(types=(GlobalRateLimit,)), config(asked))
    assert pair.names(CLUSTER) == ("rls",)
    assert pair.updates == []
    pair.respond(CLUSTER, world.cluster("rls"))
    pair.respond(ENDPOINT, world.endpoints("rls"))
    assert in_force(pair) == asked
    assert set(pair.snapshot.clusters) == {"rls"}


def test_a_filter_that_nobody_has_any_more_is_not_asked_for(told) -> None:
    pair = told(WITHOUT, config())
    plain = Listener(name="a", http=HttpConnectionManager(routes=RouteConfiguration(name="x")))
    pair.respond(LISTENER, plain, version="2")
    assert pair.names(EXTENSION) == ()
    assert dict(pair.snapshot.extensions) == {}


def test_routes_and_clusters_come_beside_it(connected, world) -> None:
    pair = connected("b")
    rds = world.listener("b")
    filters = (HttpFilter(name="f", config=WITHOUT), ROUTER)
    made = Listener(
        name="b", http=HttpConnectionManager(routes=rds.http.routes, http_filters=filters)
    )
    pair.respond(LISTENER, made)
    pair.respond(ROUTE, world.table("rb", "x"))
    pair.respond(EXTENSION, config())
    assert pair.updates == []
    pair.respond(CLUSTER, world.cluster("x"))
    pair.respond(ENDPOINT, world.endpoints("x"))
    assert set(pair.snapshot.extensions) == {"f"}


def test_filters_routes_and_clusters_are_waited_for_at_once(connected, world) -> None:
    asked = GlobalRateLimit(domain="d", cluster="rls")
    limit = FilterDiscovery(types=(GlobalRateLimit,))
    filters = (HttpFilter(name="f", config=WITHOUT), HttpFilter(name="g", config=limit), ROUTER)
    http = HttpConnectionManager(routes=world.listener("b").http.routes, http_filters=filters)
    pair = connected("b")
    pair.respond(LISTENER, Listener(name="b", http=http))
    assert pair.names(EXTENSION) == ("f", "g")
    assert pair.names(ROUTE) == ("rb",)
    pair.respond(EXTENSION, ExtensionConfig(name="g", config=asked))
    assert pair.names(CLUSTER) == ("rls",)
    pair.respond(ROUTE, world.table("rb", "x"))
    assert set(pair.names(CLUSTER)) == {"rls", "x"}
    pair.respond(CLUSTER, world.cluster("x"), world.cluster("rls"))
    pair.respond(ENDPOINT, world.endpoints("x"), world.endpoints("rls"))
    assert pair.updates == []
    pair.respond(EXTENSION, config(), ExtensionConfig(name="g", config=asked), version="2")
    assert set(pair.snapshot.extensions) == {"f", "g"}
    assert set(pair.snapshot.clusters) == {"x", "rls"}
