"""What calls have left to be told is told before a mesh is closed."""

from collections import deque

import pytest

from meshlib import Mesh


def closed(mesh):
    mesh.close()


async def aclosed(mesh):
    await mesh.aclose()


@pytest.mark.parametrize("close", [closed, aclosed])
async def test_a_mesh_that_is_closed_tells_of_the_calls_that_were_given_up_last(close, tmp_path):
    mesh, told = Mesh("reviews", config=tmp_path), deque()
    mesh.start()
    with mesh._runtime.lock:  # a finaliser in the middle of somebody's step
        mesh._runtime.soon(lambda: mesh._runtime.afterwards.append(lambda: told.append("ended")))
        assert not told
    done = close(mesh)
    if done is not None:
        await done
    assert list(told) == ["ended"]
