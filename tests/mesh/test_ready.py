"""When a mesh says that it is ready."""

import pytest

import meshlib
from meshlib.testing import control_plane

NOBODY = 0.3


def test_a_mesh_without_its_control_plane_is_not_ready(nowhere) -> None:
    with meshlib.Mesh("ratings", control_plane=nowhere) as mesh:
        assert not mesh.ready(timeout=NOBODY)
        assert not mesh.ready("reviews:9080", timeout=NOBODY)


async def test_a_coroutine_hears_the_same(nowhere) -> None:
    async with meshlib.Mesh("ratings", control_plane=nowhere) as mesh:
        assert not await mesh.aready(timeout=NOBODY)


def test_a_mesh_is_ready_when_its_control_plane_can_be_reached() -> None:
    with control_plane([]) as plane, meshlib.Mesh("ratings", control_plane=plane.address) as mesh:
        assert mesh.ready()
        assert mesh.ready("example.com:80")


async def test_a_mesh_without_a_source_is_always_ready() -> None:
    async with meshlib.Mesh("ratings") as mesh:
        assert await mesh.aready()


@pytest.mark.parametrize("target", ["", "xds:///"])
def test_a_channel_to_nobody_is_refused_at_once(target) -> None:
    with meshlib.Mesh("ratings") as mesh, pytest.raises(ValueError, match="names no host"):
        mesh.grpc.channel(target)
