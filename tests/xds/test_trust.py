"""Only a control plane that the bootstrap trusts may choose the authority of calls (gRFC A81)."""

from dataclasses import replace

import pytest

from meshlib.model import RouteConfiguration
from meshlib.xds.types import LISTENER, ROUTE


def rewriting(table: RouteConfiguration) -> RouteConfiguration:
    (host,) = table.virtual_hosts
    (route,) = host.routes
    action = replace(route.action, auto_host_rewrite=True)
    routes = (replace(route, action=action),)
    return replace(table, virtual_hosts=(replace(host, routes=routes),))


@pytest.fixture
def told(a_pair, world):
    """What a client makes of routes that rewrite: by RDS, or inside of the listener."""

    def tell(*features, inside=False):
        pair = a_pair(server_features=features)
        pair.watch("a")
        pair.connect()
        table = rewriting(world.table("ra", "x"))
        pair.respond(LISTENER, world.listener("a", table if inside else "ra"))
        if not inside:
            pair.respond(ROUTE, table)
        type_url, name = (LISTENER, "a") if inside else (ROUTE, "ra")
        entry = pair.discovery.watches.get(type_url, name)
        return entry.resource.http.routes if inside else entry.resource, entry.ignored

    return tell


@pytest.mark.parametrize("inside", [False, True])
def test_a_trusted_server_may_rewrite_the_authority(told, world, inside) -> None:
    table, ignored = told("trusted_xds_server", inside=inside)
    assert table == rewriting(world.table("ra", "x"))
    assert ignored == ()


@pytest.mark.parametrize(("inside", "where"), [(False, ""), (True, "route_config.")])
def test_of_any_other_server_it_is_ignored_and_told(told, world, inside, where) -> None:
    table, ignored = told(inside=inside)
    assert table == world.table("ra", "x")
    assert ignored == (f"{where}virtual_hosts[all].routes[0].route.auto_host_rewrite",)


def test_what_rewrites_nothing_is_left_as_it_is(connected, world) -> None:
    pair = connected("a")
    table = world.table("ra", "x")
    pair.respond(LISTENER, world.listener("a"))
    pair.respond(ROUTE, table)
    assert pair.discovery.watches.get(ROUTE, "ra").resource is table
