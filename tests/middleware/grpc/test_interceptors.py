"""The mesh on channels that the user made."""

import grpc
import grpc.aio
import pytest

from meshlib import MeshError


class Own(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, continuation, client_call_details, request):
        return continuation(client_call_details, request)


class OwnAio(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation, client_call_details, request):
        return await continuation(client_call_details, request)


async def test_a_named_target_is_the_host_of_the_mesh(world, start, echo):
    world.serve(start(echo()))
    plain = grpc.insecure_channel("elsewhere:1")
    with grpc.intercept_channel(plain, *world.hooks.client_interceptors("reviews:9080")) as channel:
        assert channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
        assert channel.unary_unary("/test.Echo/Unary").future(b"x").result() == b"one:x"
    interceptors = world.hooks.aio_client_interceptors("reviews:9080")
    async with grpc.aio.insecure_channel("elsewhere:1", interceptors=interceptors) as channel:
        assert await channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
    await world.hooks.aclose()


async def test_interceptors_after_the_mesh_would_be_skipped_so_it_says_so(world, start, echo):
    world.serve(start(echo()))
    plain = grpc.insecure_channel("reviews:9080")
    ours = world.hooks.client_interceptors()
    with (
        grpc.intercept_channel(plain, *ours, Own()) as channel,
        pytest.raises(MeshError, match=r"last.*Own "),
    ):
        channel.unary_unary("/test.Echo/Unary")(b"x")
    interceptors = [*world.hooks.aio_client_interceptors(), OwnAio()]
    async with grpc.aio.insecure_channel("reviews:9080", interceptors=interceptors) as channel:
        with pytest.raises(MeshError, match=r"last.*OwnAio "):
            await channel.unary_unary("/test.Echo/Unary")(b"x")


async def test_interceptors_before_the_mesh_are_met_first(world, start, echo):
    world.serve(start(echo()))
    plain = grpc.insecure_channel("reviews:9080")
    with grpc.intercept_channel(plain, Own(), *world.hooks.client_interceptors()) as channel:
        assert channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
    interceptors = [OwnAio(), *world.hooks.aio_client_interceptors()]
    async with grpc.aio.insecure_channel("reviews:9080", interceptors=interceptors) as channel:
        assert await channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
    await world.hooks.aclose()


async def test_unknown_hosts_are_called_over_the_user_s_own_channel(world, start, echo):
    service = echo()
    target = f"localhost:{start(service)}"
    options = (("grpc.primary_user_agent", "mine"),)
    plain = grpc.insecure_channel(target, options=options)
    with grpc.intercept_channel(plain, *world.hooks.client_interceptors()) as channel:
        channel.unary_unary("/test.Echo/Unary")(b"x")
        list(channel.unary_stream("/test.Echo/Down")(b"x"))
        channel.stream_unary("/test.Echo/Up").future(iter([b"x"])).result()
    interceptors = world.hooks.aio_client_interceptors()
    async with grpc.aio.insecure_channel(
        target, options=options, interceptors=interceptors
    ) as channel:
        await channel.unary_unary("/test.Echo/Unary")(b"x")
    await world.hooks.aclose()
    agents = [dict(metadata)["user-agent"] for metadata in service.metadata]
    assert [agent.startswith("mine ") for agent in agents] == [True] * 4
    assert len(world.ended) == 4


def test_targets_of_other_schemes_are_left_alone(world, start, echo):
    port = start(echo())
    with world.hooks.channel(f"dns:///localhost:{port}") as channel:
        assert channel.unary_unary("/test.Echo/Unary")(b"x") == b"one:x"
    assert world.ended == []
