"""Members that registered themselves, and a control plane that dies and comes back."""

from typing import Any

import grpc.aio
import pytest

import meshlib
from meshlib.testing.grpc_servers import aio_serving

pytestmark = pytest.mark.interop

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec:
  selector: {app: greeter}
  ports: [{name: grpc, port: 9080}]
"""
METHOD = "/greeter.Greeter/Greet"


async def test_a_new_caller_finds_who_registered_with_the_plane_before(
    plane: Any, folder: Any, until: Any
) -> None:
    folder.write("greeter.yaml", SERVICE)

    async def greet(request: bytes, _call: Any) -> bytes:
        return request

    async with (
        aio_serving(METHOD, greet) as port,
        meshlib.Mesh("greeter", control_plane=plane.address) as member,
    ):
        await member.aregister(port, linger=0)
        plane.kill()
        await plane.start()
        async with meshlib.Mesh("late", control_plane=plane.address) as late:
            call = late.grpc.aio_channel("greeter:9080").unary_unary(METHOD)

            async def answer() -> bytes:
                try:
                    return await call(b"hello", timeout=10)
                except grpc.aio.AioRpcError:
                    return b""

            assert await until(answer) == b"hello"
