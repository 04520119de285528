"""Layers of runtime values that a control plane sends (RTDS)."""

from collections.abc import Iterator

import pytest

import meshlib
from meshlib.model import (
    HttpConnectionManager,
    Listener,
    Percentage,
    RouteConfiguration,
    Snapshot,
    VirtualHost,
    gather,
)
from meshlib.model.runtime import RuntimeLayer
from meshlib.testing.ads_server import AdsServer

HOST = "reviews:9080"
MANY = 30.0


def world(**shares: float) -> Snapshot:
    values: tuple[tuple[str, float | Percentage], ...] = tuple(shares.items())
    host = VirtualHost(name="all", domains=("*",))
    table = RouteConfiguration(name="r", virtual_hosts=(host,))
    return gather(
        listeners=[Listener(name=HOST, http=HttpConnectionManager(routes=table))],
        runtimes=[RuntimeLayer(name="rtds", values=values), RuntimeLayer(name="other")],
    )


@pytest.fixture
def server() -> Iterator[AdsServer]:
    made = AdsServer()
    yield made
    made.stop()


def shares(mesh: meshlib.Mesh) -> dict[str, float]:
    return mesh._engine.snapshot.runtime


def until(mesh: meshlib.Mesh, wanted: dict[str, float]) -> None:
    assert mesh._runtime.wait_for(lambda: shares(mesh) == wanted, MANY), shares(mesh)


def test_a_layer_is_asked_for_by_name_and_followed(server) -> None:
    server.serve(world(canary=5.0), "1")
    with meshlib.Mesh(
        "ratings", control_plane=f"127.0.0.1:{server.port}", runtime_layers=["rtds"]
    ) as mesh:
        assert mesh.ready(HOST, timeout=MANY)
        until(mesh, {"canary": 0.05})
        server.serve(world(canary=50.0), "2")
        until(mesh, {"canary": 0.5})
        assert set(mesh._engine.snapshot.runtimes) == {"rtds"}


def test_who_names_no_layer_is_sent_none(server) -> None:
    server.serve(world(canary=5.0), "1")
    with meshlib.Mesh("ratings", control_plane=f"127.0.0.1:{server.port}") as mesh:
        assert mesh.ready(HOST, timeout=MANY)
        assert shares(mesh) == {}


def test_a_layer_that_does_not_exist_holds_nothing_up(server) -> None:
    server.serve(world(), "1")
    with meshlib.Mesh(
        "ratings", control_plane=f"127.0.0.1:{server.port}", runtime_layers=["nobody's"]
    ) as mesh:
        assert mesh.ready(HOST, timeout=MANY)


def test_the_environment_may_name_layers(monkeypatch) -> None:
    monkeypatch.setenv("MESHLIB_RUNTIME_LAYERS", "one, two")
    assert meshlib.Mesh("ratings").options.runtime_layers == ("one", "two")
    assert meshlib.Mesh("r", runtime_layers=["three"]).options.runtime_layers == ("three",)


def test_layers_are_a_list_of_names() -> None:
    with pytest.raises(meshlib.ConfigError, match="runtime_layers: a list is needed"):
        meshlib.Mesh("ratings", runtime_layers="one")


def test_a_runtime_layer_has_a_name():
    with pytest.raises(meshlib.ConfigError, match="runtime_layers: 5 is not a name"):
        meshlib.Mesh("ratings", control_plane="127.0.0.1:1", runtime_layers=[5])
