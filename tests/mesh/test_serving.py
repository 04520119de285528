"""A member that serves asks what is to stand before its handlers."""

from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

import meshlib
from meshlib.model import HttpConnectionManager, Listener, RouteConfiguration, gather
from meshlib.testing.ads_server import AdsServer

ROUTES = RouteConfiguration(name="inside")


@pytest.fixture
def plane() -> Iterator[AdsServer]:
    listeners = [
        Listener(name=name, http=HttpConnectionManager(routes=ROUTES))
        for name in ("inbound", "what/i/obey")
    ]
    server = AdsServer(snapshot=gather(listeners=listeners))
    yield server
    server.stop()


def listeners_of(mesh: meshlib.Mesh) -> list[str]:
    with mesh:
        assert mesh.ready(timeout=20)
        return list(mesh.status()["listeners"])


def grpc_hook(mesh: meshlib.Mesh) -> object:
    return mesh.grpc.server_interceptors()


def grpc_aio_hook(mesh: meshlib.Mesh) -> object:
    return mesh.grpc.aio_server_interceptors()


def aiohttp_hook(mesh: meshlib.Mesh) -> object:
    return mesh.aiohttp.setup(web.Application())


@pytest.mark.parametrize("hook", [grpc_hook, grpc_aio_hook, aiohttp_hook])
def test_a_member_with_a_server_hook_asks_for_the_inbound_listener(plane, hook) -> None:
    mesh = meshlib.Mesh("me", control_plane=f"127.0.0.1:{plane.port}")
    hook(mesh)
    assert listeners_of(mesh) == ["inbound"]


def test_a_hook_that_is_made_late_asks_at_once(plane) -> None:
    mesh = meshlib.Mesh("me", control_plane=f"127.0.0.1:{plane.port}")
    mesh.start()
    grpc_hook(mesh)
    assert listeners_of(mesh) == ["inbound"]


def test_a_member_that_only_calls_does_not_ask(plane) -> None:
    assert listeners_of(meshlib.Mesh("me", control_plane=f"127.0.0.1:{plane.port}")) == []


def by_bootstrap(plane: AdsServer, **more: Any) -> meshlib.Mesh:
    address = f"127.0.0.1:{plane.port}"
    server = {"server_uri": address, "channel_creds": [{"type": "insecure"}]}
    mesh = meshlib.Mesh("me", bootstrap={"xds_servers": [server], **more})
    grpc_hook(mesh)
    return mesh


def test_a_bootstrap_may_say_what_the_listener_is_called(plane) -> None:
    mesh = by_bootstrap(plane, server_listener_resource_name_template="what/i/obey")
    assert listeners_of(mesh) == ["inbound"]


@pytest.mark.parametrize("more", [{}, {"server_listener_resource_name_template": "inbound/%s"}])
def test_a_control_plane_that_keeps_no_such_listener_is_not_asked(plane, more) -> None:
    assert listeners_of(by_bootstrap(plane, **more)) == []
