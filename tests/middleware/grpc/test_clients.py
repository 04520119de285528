"""What is true of every client hook: sync and asyncio, channel and interceptors."""

import asyncio
from collections import Counter

import grpc
import pytest

from meshlib import CallError
from meshlib.dataplane import Options
from meshlib.model import (
    ClusterWeight,
    Exact,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    Metadata,
    OriginalDst,
    PathPrefix,
    RetryBackOff,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    Struct,
    WeightedClusters,
)

KINDS = ("unary", "down", "up", "both")
SOON = RetryBackOff(base_interval=0.001)


async def test_all_four_kinds_of_calls_arrive(world, call_by, start, echo):
    world.serve(start(echo()))
    caller = call_by(world)
    assert await caller.unary(b"x") == b"one:x"
    assert await caller.down(b"ab") == [b"one:a", b"one:b"]
    assert await caller.up([b"a", b"b"]) == b"one:ab"
    assert await caller.both([b"a", b"b"]) == [b"one:a", b"one:b"]
    assert world.active == 0
    assert [event.outcome.grpc_status for event in world.ended] == [0, 0, 0, 0]


async def test_a_header_chooses_the_route(world, call_by, start, echo, make_snapshot):
    canary = Route(
        match=RouteMatch(headers=(HeaderMatcher(name="end-user", match=Exact("jason")),)),
        action=RouteAction(cluster="v2"),
    )
    stable = Route(action=RouteAction(cluster="v1"))
    world.apply(
        make_snapshot(
            {"v1": (start(echo("v1")),), "v2": (start(echo("v2")),)}, routes=(canary, stable)
        )
    )
    caller = call_by(world)
    for kind in KINDS:
        answers = [
            await getattr(caller, kind)(),
            await getattr(caller, kind)(metadata=(("end-user", "jason"),)),
        ]
        served = [b"".join(a) if isinstance(a, list) else a for a in answers]
        assert [answer[:2] for answer in served] == [b"v1", b"v2"]


async def test_weights_split_the_calls(world, call_by, start, echo, make_snapshot):
    split = WeightedClusters(
        clusters=(ClusterWeight(name="v1", weight=75), ClusterWeight(name="v2", weight=25))
    )
    world.apply(
        make_snapshot(
            {"v1": (start(echo("v1")),), "v2": (start(echo("v2")),)},
            routes=(Route(action=RouteAction(cluster=split)),),
        )
    )
    caller = call_by(world)
    served = Counter([(await caller.unary())[:2] for _ in range(200)])
    assert 120 < served[b"v1"] < 180
    assert served[b"v2"] == 200 - served[b"v1"]


@pytest.mark.parametrize("kind", ["unary", "down"])
async def test_a_policy_retries_what_is_unavailable(world, call_by, start, echo, kind):
    service = echo()
    world.serve(start(service), retry=RetryPolicy(retry_on=("unavailable",), retry_back_off=SOON))
    service.failures = [(grpc.StatusCode.UNAVAILABLE, "warming up")]
    await getattr(call_by(world), kind)()
    assert len(service.calls) == 2
    assert world.active == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_retried_without_a_policy(world, call_by, start, echo, kind):
    service = echo()
    world.serve(start(service))
    service.failures = [(grpc.StatusCode.UNAVAILABLE, "warming up")]
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world), kind)()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(service.calls) == 1
    assert world.active == 0


@pytest.mark.parametrize("kind", ["up", "both"])
async def test_a_stream_of_requests_is_never_sent_again(world, call_by, start, echo, kind):
    service = echo()
    world.serve(start(service), retry=RetryPolicy(retry_on=("unavailable",), retry_back_off=SOON))
    service.failures = [(grpc.StatusCode.UNAVAILABLE, "warming up")]
    with pytest.raises(grpc.RpcError):
        await getattr(call_by(world), kind)()
    assert len(service.calls) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_dead_endpoints_among_several_never_fail_a_call(
    world, call_by, start, echo, dead_port, kind
):
    world.serve(dead_port(), start(echo()), dead_port())
    caller = call_by(world)
    for _ in range(8):
        answer = await getattr(caller, kind)()
        assert answer in (b"one:x", [b"one:a", b"one:b"], b"one:ab")
    assert world.active == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_without_any_live_endpoint_the_error_names_them(world, call_by, dead_port, kind):
    port = dead_port()
    world.serve(port)
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world), kind)()
    error = caught.value
    assert isinstance(error, CallError)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.mesh.flags == ("UF",)
    assert error.mesh.endpoint == f"127.0.0.1:{port}"
    assert f"endpoint=127.0.0.1:{port}" in error.details()
    assert world.active == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_server_says_is_passed_on_untouched(world, call_by, start, echo, kind):
    service = echo()
    world.serve(start(service))
    service.failures = [(grpc.StatusCode.FAILED_PRECONDITION, "not today")]
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world), kind)()
    error = caught.value
    assert not isinstance(error, CallError)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "not today"
    assert ("why", "asked for") in [tuple(pair) for pair in error.trailing_metadata()]
    assert error.mesh.host == "reviews:9080"


async def test_words_of_an_application_do_not_make_a_connection_failure(
    world, call_by, start, echo
):
    ours, other = echo("ours"), echo("other")
    port = start(ours)
    world.serve(port, start(other))
    words = (
        "failed to connect to all addresses; last error: UNKNOWN: "
        f"ipv4:127.0.0.1:{port}: Failed to connect to remote host: Connection refused"
    )
    for service in (ours, other):
        service.failures = [(grpc.StatusCode.UNAVAILABLE, words)]
    caller = call_by(world)
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            await caller.unary()
        assert caught.value.details() == words
        assert not isinstance(caught.value, CallError)
    assert len(ours.calls) + len(other.calls) == 2


async def test_a_deadline_ends_the_call_and_its_retries(world, call_by, start, echo):
    service = echo()
    world.serve(start(service))
    caller = call_by(world)
    for kind in ("unary_unary", "unary_stream"):
        method = getattr(caller.channel, kind)("/test.Echo/Hang")
        with pytest.raises(grpc.RpcError) as caught:
            await finished(method(b"x", timeout=0.1) if is_aio(caller) else None, method)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert isinstance(caught.value, CallError)
        assert caught.value.mesh.flags == ("UT",)
    assert world.active == 0


def is_aio(caller) -> bool:
    return type(caller).__name__ == "AioCaller"


async def finished(call, method):
    """Run a call to its end, whatever it is."""
    if call is None:

        def blocking():
            answer = method(b"x", timeout=0.1)
            return list(answer) if hasattr(answer, "__next__") else answer

        return await asyncio.to_thread(blocking)
    if hasattr(call, "__aiter__"):
        return [message async for message in call]
    return await call


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_waits_for_its_configuration(make_world, auntil, call_by, start, echo, kind):
    world = make_world(options=Options())
    caller = call_by(world)
    going = asyncio.ensure_future(getattr(caller, kind)())
    await auntil(lambda: world.wanted)
    assert world.wanted == ["reviews:9080"]
    world.serve(start(echo()))
    assert await going in (b"one:x", [b"one:a", b"one:b"], b"one:ab")


@pytest.mark.parametrize("kind", KINDS)
async def test_without_configuration_the_error_names_the_listener(make_world, call_by, kind):
    world = make_world(options=Options())
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world), kind)(timeout=0.05)
    assert caught.value.code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )
    assert "'reviews:9080'" in caught.value.details()
    assert "NOCONFIG" in caught.value.mesh.flags


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unknown_host_is_called_as_without_a_mesh(world, call_by, start, echo, kind):
    service = echo()
    caller = call_by(world, f"localhost:{start(service)}")
    assert await getattr(caller, kind)() in (b"one:x", [b"one:a", b"one:b"], b"one:ab")
    assert [event.outcome.grpc_status for event in world.ended] == [0]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unknown_host_is_refused_where_only_the_mesh_may_be_called(
    make_world, call_by, start, echo, kind
):
    service = echo()
    port = start(service)
    world = make_world(options=Options(complete=True, passthrough=False))
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(call_by(world, f"localhost:{port}"), kind)()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "REGISTRY_ONLY" in caught.value.details()
    assert not service.calls


@pytest.mark.parametrize(
    ("name", "value", "arrives"),
    [
        ("raw-bin", "AP8=", b"\x00\xff"),
        ("raw-bin", "AP8", b"\x00\xff"),
        ("raw-bin", "no base64!", b"no base64!"),
        ("x-name", "Zo\u00eb", None),
    ],
)
async def test_what_a_route_adds_is_added_as_far_as_metadata_can_hold_it(
    world, call_by, echo, start, name, value, arrives
):
    service = echo()
    added = HeaderValueOption(name=name, value=value)
    world.serve(start(service), headers=HeaderMutations(request_headers_to_add=(added,)))
    await call_by(world).unary()
    assert dict(service.metadata[0]).get(name) == arrives


async def test_metadata_arrives_and_binary_values_survive_changes(
    world, call_by, start, echo, make_snapshot
):
    service = echo()
    port = start(service)
    add = HeaderMutations(
        request_headers_to_add=(HeaderValueOption(name="x-by", value="mesh"),),
        request_headers_to_remove=("x-secret",),
    )
    caller = call_by(world)
    sent = (("x-user", "ann"), ("x-secret", "s"), ("raw-bin", b"\x00\xff"))
    for headers in (HeaderMutations(), add):
        route = Route(action=RouteAction(cluster="reviews"), headers=headers)
        world.apply(make_snapshot({"reviews": (port,)}, routes=(route,)))
        await caller.unary(metadata=sent)
    plain, changed = [dict(metadata) for metadata in service.metadata]
    assert {**plain, "user-agent": ""} == {**dict(sent), "user-agent": ""}
    assert changed["x-user"] == "ann"
    assert changed["raw-bin"] == b"\x00\xff"
    assert changed["x-by"] == "mesh"
    assert "x-secret" not in changed


class Handing:
    """Hands on two headers, of which one must not leave the mesh."""

    def receive(self, request):
        return None

    def release(self, token):
        pass

    def outgoing(self, *, foreign=False):
        trace = (("x-trace", "t1"),)
        return trace if foreign else (*trace, ("x-private", "p"))

    def begin(self, request, *, foreign=False):
        pass


EXTERNAL = Metadata((("istio", Struct((("external", True),))),))
"""As Istio marks clusters of hosts outside of the mesh."""


@pytest.mark.parametrize("added", [(), (HeaderValueOption(name="x-by", value="mesh"),)])
async def test_what_is_private_to_the_mesh_does_not_leave_it(
    make_world, call_by, start, echo, make_snapshot, added
):
    service = echo()
    target = f"localhost:{start(service)}"
    world = make_world(propagation=Handing())
    caller = call_by(world, target)
    headers = HeaderMutations(request_headers_to_add=added)
    out = Route(action=RouteAction(cluster="out"), headers=headers)
    await caller.unary()
    world.apply(make_snapshot({"out": ()}, routes=(out,), listener=target, discovery=OriginalDst()))
    await caller.unary()
    port = int(target.rpartition(":")[2])
    marked = {"metadata": EXTERNAL}
    world.apply(make_snapshot({"out": (port,)}, routes=(out,), listener=target, **marked))
    await caller.unary()
    for metadata in service.metadata:
        assert dict(metadata)["x-trace"] == "t1"
        assert "x-private" not in dict(metadata)
    assert ("x-by" in dict(service.metadata[1])) is bool(added)
    assert ("x-by" in dict(service.metadata[2])) is bool(added)


async def test_the_path_can_be_rewritten(world, call_by, start, echo, make_snapshot):
    rewrite = Route(
        match=RouteMatch(path=PathPrefix("/test.Echo/")),
        action=RouteAction(cluster="reviews", prefix_rewrite="/other.Echo/"),
    )
    service = echo()
    seen = []
    service_of = service.service
    service.service = lambda details: (seen.append(details.method), service_of(details))[1]
    world.apply(make_snapshot({"reviews": (start(service),)}, routes=(rewrite,)))
    assert await call_by(world).unary() == b"one:x"
    assert seen == ["/other.Echo/Unary"]


async def test_a_call_that_waits_for_ready_outlives_an_outage(
    world, auntil, call_by, start, echo, dead_port
):
    world.serve(dead_port())
    caller = call_by(world)
    going = asyncio.ensure_future(caller.unary(wait_for_ready=True, timeout=20))
    await auntil(lambda: any("UF" in failure_flags(event) for event in world.ended))
    world.serve(start(echo()))
    assert await going == b"one:x"


def failure_flags(event):
    cause = getattr(event.outcome, "cause", None)
    return cause.flags if cause else ()


async def test_an_endpoint_that_left_is_not_called_any_more(world, call_by, start, echo):
    old, new = echo("old"), echo("new")
    world.serve(start(old))
    caller = call_by(world)
    assert await caller.unary() == b"old:x"
    world.serve(start(new))
    assert await caller.unary() == b"new:x"


async def test_the_scheme_by_which_a_target_is_named_is_remembered(world):
    hooks, named = world.hooks, world.engine.around.schemes
    hooks.channel("reviews:9080").close()
    assert named == {}
    hooks.channel("xds:///Reviews:9080").close()
    await hooks.aio_channel("xds:///ratings:9080").close()
    hooks.channel("dns:///details:9080").close()
    assert named == {"reviews:9080": "xds:///", "ratings:9080": "xds:///"}
