"""Copies of calls for other services, over real connections."""

import grpc
import pytest

from meshlib.model import RequestMirrorPolicy

MIRROR = {"request_mirror_policies": (RequestMirrorPolicy(cluster="shadow"),)}


async def test_a_copy_reaches_the_shadow_and_the_answer_is_the_other_ones(
    world, unary_by, auntil, echo, start
):
    service, shadow = echo("one"), echo("shadow")
    world.serve(start(service), clusters={"shadow": (start(shadow),)}, action=MIRROR)
    caller = unary_by(world)
    assert [await caller.unary(metadata=(("k", "v"),)) for _ in range(3)] == [b"one:x"] * 3
    await auntil(lambda: len(shadow.calls) == 3)
    assert all(("k", "v") in seen for seen in shadow.metadata)
    await auntil(lambda: world.active == 0)


async def test_a_slow_or_failing_shadow_changes_nothing(world, unary_by, auntil, echo, start):
    service, slow, bad = echo("one"), echo("slow"), echo("bad")
    slow.is_slow = True
    bad.failures = [(grpc.StatusCode.INTERNAL, "broken")] * 3
    mirrors = tuple(RequestMirrorPolicy(cluster=name) for name in ("slow", "bad", "none"))
    world.serve(
        start(service),
        clusters={"slow": (start(slow),), "bad": (start(bad),), "none": ()},
        action={"request_mirror_policies": mirrors},
    )
    assert await unary_by(world).unary(timeout=1) == b"one:x"
    await auntil(lambda: slow.calls and bad.calls)
    await auntil(lambda: world.active == 0)


async def test_the_fate_of_the_call_is_not_that_of_its_copy(world, unary_by, auntil, echo, start):
    service, shadow = echo("one"), echo("shadow")
    service.failures = [(grpc.StatusCode.NOT_FOUND, "who?")]
    world.serve(start(service), clusters={"shadow": (start(shadow),)}, action=MIRROR)
    with pytest.raises(grpc.RpcError) as caught:
        await unary_by(world).unary()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await auntil(lambda: shadow.calls)
    await auntil(lambda: world.active == 0)


@pytest.mark.parametrize("kind", ["down", "up", "both"])
async def test_streams_are_not_copied(world, call_by, echo, start, kind):
    service, shadow = echo("one"), echo("shadow")
    world.serve(start(service), clusters={"shadow": (start(shadow),)}, action=MIRROR)
    assert await getattr(call_by(world), kind)()
    assert not shadow.calls
    assert world.active == 0


async def test_what_is_fired_and_forgotten_is_copied_too(world, callers, auntil, echo, start):
    service, shadow = echo("one"), echo("shadow")
    world.serve(start(service), clusters={"shadow": (start(shadow),)}, action=MIRROR)
    callers(world, "aio_channel").channel.unary_unary("/test.Echo/Unary")(b"x")
    await auntil(lambda: service.calls and shadow.calls)
    await auntil(lambda: world.active == 0)
