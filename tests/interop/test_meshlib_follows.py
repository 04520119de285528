"""meshlib's own clients under ``meshlib serve``: split, edits, and a control plane that dies."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import meshlib

pytestmark = pytest.mark.interop

# 5 points are 5 standard deviations of so many even draws: a false alarm in two million runs.
CALLS = 2500
POINTS = 5.0


@pytest.fixture
async def mesh(plane: Any) -> AsyncIterator[meshlib.Mesh]:
    async with meshlib.Mesh("productpage", version="v1", control_plane=plane.address) as mesh:
        yield mesh


@pytest.fixture
async def call(member: Any, mesh: meshlib.Mesh) -> AsyncIterator[Any]:
    async with member(mesh) as call:
        yield call


async def test_calls_are_split_by_weight(call: Any, share: Any) -> None:
    assert await share(call, CALLS) == {
        "v1": pytest.approx(50, abs=POINTS),
        "v2": pytest.approx(50, abs=POINTS),
    }


async def test_every_resource_is_accepted(call: Any, plane: Any, until: Any) -> None:
    await call()

    async def in_sync() -> dict[str, Any] | None:
        status = await plane.status()
        assert status["nacks"] == []
        (client,) = status["clients"]
        states = {each["state"] for each in client["types"].values()}
        return client if len(client["types"]) == 4 and states == {"ACK"} else None

    client = await until(in_sync)
    assert client["kind"] == "meshlib"
    assert client["labels"] == {"app": "productpage", "version": "v1"}
    assert (await plane.status())["nacks"] == []


async def test_an_edit_is_followed_without_a_failed_call(
    call: Any, folder: Any, share: Any, load: Any
) -> None:
    async with load(call) as calls:
        await calls.more(200)
        folder.split(0, 100)
        await calls.only("v2", 200)
    assert calls.failed == []
    assert await share(call, 200) == {"v2": 100}


async def test_an_edit_that_is_refused_changes_nothing(
    call: Any, folder: Any, plane: Any, mesh: meshlib.Mesh, share: Any, load: Any
) -> None:
    folder.split(0, 100)
    async with load(call) as calls:
        await calls.only("v2", 50)
        before = mesh.status()["version"]
        folder.write("routes.yaml", "kind: VirtualService\nspec: {hosts: [")
        assert "routes.yaml:" in await plane.refuses()
        await calls.more(100)
    assert calls.failed == []
    assert await share(call, 100) == {"v2": 100}
    assert mesh.status()["version"] == before


async def test_calls_outlive_the_control_plane_and_follow_the_next(
    call: Any, folder: Any, plane: Any, load: Any
) -> None:
    async with load(call) as calls:
        await calls.more(200)
        plane.kill()
        await calls.more(200)
        folder.split(0, 100)
        await plane.start()
        await calls.only("v2", 200)
    assert calls.failed == []
