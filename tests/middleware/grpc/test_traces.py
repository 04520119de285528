"""What the hooks tell of a call to whoever traces it, and the headers that they send for it."""

import asyncio
import gc

import grpc
import pytest

from meshlib.dataplane import CallEnded, CallRecord, Failure, Response
from meshlib.model import HedgePolicy, RequestMirrorPolicy, RetryPolicy


@pytest.fixture
def tracing(traces_with):
    return traces_with(("x-trace-bin", "AAEC"))


@pytest.fixture
def traced(make_world, tracing):
    return make_world(propagation=tracing)


def sent(metadata):
    return [(key, value) for key, value in metadata if key in ("traceparent", "x-trace-bin")]


def attempt_headers(number):
    return [("traceparent", str(number)), ("x-trace-bin", b"\0\1\2")]


@pytest.mark.parametrize("kind", ["unary", "down", "up", "both"])
async def test_every_attempt_carries_headers_of_its_own(
    traced, tracing, call_by, start, echo, kind
):
    service = echo()
    traced.serve(start(service))
    await getattr(call_by(traced), kind)(metadata=(("traceparent", "mine"), ("x-own", "2")))
    (metadata,) = service.metadata
    assert sorted(sent(metadata)) == attempt_headers(1)
    assert {("x-kept", "1"), ("x-own", "2")} <= set(metadata)
    assert [foreign for _, foreign in tracing.begun] == [False]


async def test_attempts_made_anew_have_headers_anew(traced, unary_by, start, echo):
    service = echo()
    service.failures = [(grpc.StatusCode.UNAVAILABLE, "warming up")]
    traced.serve(start(service), retry=RetryPolicy(retry_on=("unavailable",)))
    await unary_by(traced).unary()
    assert [sorted(sent(one)) for one in service.metadata] == [
        attempt_headers(1),
        attempt_headers(2),
    ]


async def test_attempts_beside_each_other_have_their_own(traced, tracing, unary_by, start, echo):
    hanging, quick = echo(), echo()
    hanging.is_slow = True
    ports = start(hanging), start(quick)
    hedge = HedgePolicy(hedge_on_per_try_timeout=True)
    retry = RetryPolicy(retry_on=("unavailable",), num_retries=3, per_try_timeout=0.01)
    traced.serve(*ports, retry=retry, action={"hedge_policy": hedge})
    await unary_by(traced).unary()
    numbers = [dict(one)["traceparent"] for one in (*hanging.metadata, *quick.metadata)]
    assert len(set(numbers)) == len(numbers)
    assert "caller" not in numbers


async def test_a_copy_of_a_call_is_no_attempt_of_it(traced, tracing, call_by, start, echo, auntil):
    service, shadow = echo(), echo()
    ports = start(service), start(shadow)
    mirrors = (RequestMirrorPolicy(cluster="shadow"),)
    traced.serve(
        ports[0],
        clusters={"shadow": (ports[1],)},
        action={"request_mirror_policies": mirrors},
    )
    await call_by(traced).unary()
    await auntil(lambda: shadow.metadata)
    assert sorted(sent(service.metadata[0])) == attempt_headers(1)
    assert sent(shadow.metadata[0]) == [("traceparent", "caller")]
    ((request, _),) = tracing.begun
    assert len(request.meter.trace.sends) == 1


async def test_a_call_that_leaves_the_mesh_is_begun_as_such(traced, tracing, call_by, start, echo):
    service = echo()
    await call_by(traced, f"localhost:{start(service)}").unary()
    assert [foreign for _, foreign in tracing.begun] == [True]
    assert sorted(sent(service.metadata[0])) == attempt_headers(1)


async def test_waiting_for_an_endpoint_is_one_call_to_who_traces_it(
    traced, unary_by, start, echo, dead_port, auntil, tracing
):
    traces = []

    def note(event):
        if isinstance(event, CallEnded):
            traces.append((event.record.request.meter.trace, type(event.outcome)))

    traced.engine.around.observe = note
    traced.serve(dead_port())
    waiting = asyncio.create_task(unary_by(traced).unary(wait_for_ready=True, timeout=30))
    await auntil(lambda: traces)
    traced.serve(start(echo()))
    await waiting
    await auntil(lambda: traces[-1][1] is Response)
    ((request, _),) = tracing.begun
    assert [trace for trace, _ in traces[:-1]] == [None] * (len(traces) - 1)
    assert traces[-1][0] is request.meter.trace
    assert {outcome for _, outcome in traces[:-1]} == {Failure}


@pytest.mark.parametrize("kind", ["unary", "down", "up", "both"])
async def test_a_handler_that_was_entered_is_left(
    traced, tracing, call_by, start, echo, auntil, kind
):
    traced.serve(start(echo(), interceptors=traced.hooks.server_interceptors()))
    await getattr(call_by(traced), kind)()
    await auntil(lambda: tracing.left)
    assert tracing.left == tracing.entered
    (request,) = tracing.entered
    assert request.meter is not None


async def test_a_stream_that_its_caller_drops_is_left(traced, tracing, start, echo, auntil):
    service = echo()
    port = start(service, interceptors=traced.hooks.server_interceptors())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answers = channel.unary_stream("/test.Echo/Forever")(b"x")
        next(answers)
        answers.cancel()
        del answers
        await auntil(service.cancelled.is_set)
        gc.collect()
        await auntil(lambda: tracing.left)
    assert tracing.left == tracing.entered


async def test_who_records_a_call_finds_its_meter(traced, call_by, start, echo, auntil):
    traced.serve(start(echo(), interceptors=traced.hooks.server_interceptors()))
    await call_by(traced).unary()
    await auntil(lambda: len(traced.ended) == 2)
    records: list[CallRecord] = [event.record for event in traced.ended]
    assert all(record.request.meter is not None for record in records)
