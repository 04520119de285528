"""Our client under go-control-plane's snapshot cache, and under ours: one suite for both."""

import signal
from dataclasses import replace
from typing import Any

import pytest

from meshlib import model

pytestmark = pytest.mark.interop
HOST = "reviews:9080"
SPOILED = "other-7:80"


async def test_the_first_configuration_is_obeyed_and_each_change(
    call: Any, control_plane: Any, world: Any, load: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        for version in ("2", "3", "4", "5"):
            wanted = "v1" if int(version) % 2 else "v2"
            await control_plane.serve(version, world(wanted))
            await calls.only(wanted, 50)
    assert calls.failed == []


async def test_what_is_removed_is_no_longer_of_the_mesh(
    call: Any, control_plane: Any, states: Any, world: Any, until: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    left = [one for one in world("v1") if getattr(one, "name", "") != HOST]
    await control_plane.serve("2", left)

    async def is_gone() -> bool:
        return states("Listener")[HOST] == "DOES_NOT_EXIST"

    await until(is_gone)
    await control_plane.serve("3", world("v2"))

    async def is_back() -> bool:
        return states("Listener")[HOST] == "ACKED"

    await until(is_back)

    async def is_called_again() -> bool:  # its routes may follow a moment later
        return await call() == "v2"

    await until(is_called_again)


async def test_one_bad_resource_of_a_hundred_spoils_no_other(
    call: Any, control_plane: Any, mesh: Any, states: Any, world: Any, load: Any, until: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    assert await mesh.aready(SPOILED)
    async with load(call) as calls:
        await control_plane.serve("2", map(spoiled, world("v2")))
        await calls.only("v2", 50)
    assert calls.failed == []

    async def is_refused() -> bool:
        known = states("RouteConfiguration")
        return (known[f"{SPOILED}|v1"], known[f"{HOST}|v2"]) == ("NACKED", "ACKED")

    await until(is_refused)


def spoiled(resource: Any) -> Any:
    """A regular expression that cannot be read, in the table of one other service."""
    if not isinstance(resource, model.RouteConfiguration) or SPOILED not in resource.name:
        return resource
    (host,) = resource.virtual_hosts
    route = replace(host.routes[0], match=model.RouteMatch(path=model.PathRegex("(")))
    return replace(resource, virtual_hosts=(replace(host, routes=(route,)),))


@pytest.mark.parametrize("version", ["1", "2"], ids=["same-version", "other-version"])
async def test_calls_go_on_when_the_control_plane_is_started_anew(
    call: Any, control_plane: Any, world: Any, load: Any, version: str
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        await control_plane.kill()
        await calls.more(50)
        await control_plane.start()
        await control_plane.serve(version, world("v1"))
        await calls.more(50)
        await control_plane.serve("3", world("v2"))
        await calls.only("v2", 50)
    assert calls.failed == []


async def test_calls_go_on_when_every_stream_ends(
    call: Any, control_plane: Any, world: Any, load: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        await control_plane.end_streams()
        await control_plane.serve("2", world("v2"))
        await calls.only("v2", 50)
    assert calls.failed == []


async def test_calls_go_on_while_the_control_plane_stands_still(
    call: Any, control_plane: Any, world: Any, load: Any
) -> None:
    await control_plane.serve("1", world("v1"))
    assert await call() == "v1"
    async with load(call) as calls:
        control_plane.signal(signal.SIGSTOP)
        await calls.more(500)
        control_plane.signal(signal.SIGCONT)
        await control_plane.serve("2", world("v2"))
        await calls.only("v2", 50)
    assert calls.failed == []
