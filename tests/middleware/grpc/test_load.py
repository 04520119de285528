"""Servers say how loaded they are, in trailers and by a service, and clients spare them."""

import asyncio
from base64 import b64decode
from concurrent import futures

import grpc
import grpc.aio
import pytest

from meshlib.dataplane import Response
from meshlib.middleware._binary import LOAD_REPORT_TEXT
from meshlib.middleware.grpc_load import SERVICE, WINDOW, LoadReporter
from meshlib.model import ClientSideWeightedRoundRobin
from meshlib.testing import FakeClock
from meshlib.xds.orca import REQUEST, BinaryMetadata
from meshlib.xds.protos import message_class

BINARY = BinaryMetadata()
WEIGHED = ClientSideWeightedRoundRobin(blackout_period=0.0, weight_update_period=0.1)


def test_what_is_recorded_is_reported():
    reporter = LoadReporter(BINARY, FakeClock(), cpu=lambda: 0.0)
    reporter.record_application_utilization(0.5)
    reporter.record_memory_utilization(0.25)
    reporter.record_rps(100)
    reporter.record_eps(2)
    reporter.record_utilization("gpu", 0.75)
    reporter.record_metric("queue", 12)
    report = BINARY.read_load(reporter.report())
    assert report.application_utilization == 0.5
    assert report.mem_utilization == 0.25
    assert (report.rps, report.eps) == (100, 2)
    assert report.named == {"utilization.gpu": 0.75, "queue": 12}
    reporter.record_metric("queue", None)
    assert "queue" not in BINARY.read_load(reporter.report()).named


def test_what_is_not_recorded_is_measured():
    clock, used = FakeClock(), [0.0]
    reporter = LoadReporter(BINARY, clock, cpu=lambda: used[0], cpus=2)
    for status in (0, 0, 0, 14):
        reporter.served(Response(200, (), status))
    used[0] += WINDOW
    clock.jump(WINDOW * 2)
    report = BINARY.read_load(reporter.report())
    assert (report.rps, report.eps) == (2.0, 0.5)
    assert report.cpu_utilization == 0.25


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_no_load_is_below_nothing(value):
    with pytest.raises(ValueError, match="cpu_utilization"):
        LoadReporter(BINARY, FakeClock()).record_cpu_utilization(value)


def test_what_is_no_report_is_none():
    assert BINARY.read_load(b"\xff") is None
    assert BINARY.read_interval(b"\xff") == 0.0
    assert BINARY.retry_delay(b"\xff") is None
    assert BINARY.retry_delay(b"") is None


@pytest.mark.parametrize("kind", ["Unary", "Down", "Up", "Both"])
def test_a_server_reports_with_each_answer(world, start, echo, kind):
    world.hooks.load_reporter().record_cpu_utilization(0.5)
    port = start(echo(), interceptors=world.hooks.server_interceptors())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        if kind == "Unary":
            _, call = channel.unary_unary(f"/test.Echo/{kind}").with_call(b"x")
        elif kind == "Up":
            _, call = channel.stream_unary(f"/test.Echo/{kind}").with_call(iter([b"x"]))
        else:
            method = channel.unary_stream if kind == "Down" else channel.stream_stream
            call = method(f"/test.Echo/{kind}")(b"x" if kind == "Down" else iter([b"x"]))
            assert list(call) == [b"one:x"]
        said = dict(call.trailing_metadata())[LOAD_REPORT_TEXT]
    report = BINARY.read_load(b64decode(said.removeprefix("BIN ")))
    assert report.cpu_utilization == 0.5


def test_nobody_reports_unasked(world, start, echo):
    port = start(echo(), interceptors=world.hooks.server_interceptors())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        _, call = channel.unary_unary("/test.Echo/Unary").with_call(b"x")
        assert LOAD_REPORT_TEXT not in dict(call.trailing_metadata())


def asked() -> bytes:
    return message_class(REQUEST)().SerializeToString()


def test_reports_come_without_calls_too(world, start):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    world.hooks.add_load_reporting(server, shortest_interval=0.01).record_rps(7)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.unary_stream(f"/{SERVICE}/StreamCoreMetrics")(asked())
        assert [BINARY.read_load(next(stream)).rps for _ in range(2)] == [7, 7]
        stream.cancel()
    server.stop(None).wait()


async def test_reports_come_without_calls_on_event_loops_too(world):
    server = grpc.aio.server()
    world.hooks.add_load_reporting(server, shortest_interval=0.01).record_rps(7)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.unary_stream(f"/{SERVICE}/StreamCoreMetrics")(asked())
        assert [BINARY.read_load(await stream.read()).rps for _ in range(2)] == [7, 7]
        stream.cancel()
    await server.stop(None)


@pytest.mark.parametrize("kind", ["unary", "down", "up", "both"])
async def test_clients_spare_the_loaded(world, make_world, call_by, start, echo, kind):
    servers = {}
    for name, load in (("busy", 0.9), ("idle", 0.1)):
        servers[name] = echo(name)
        home = make_world()
        reporter = home.hooks.load_reporter()
        reporter.record_application_utilization(load)
        reporter.record_rps(100)
        servers[name, "port"] = start(servers[name], interceptors=home.hooks.server_interceptors())
    world.serve(servers["busy", "port"], servers["idle", "port"], lb_policy=WEIGHED)
    caller = call_by(world)
    cluster = world.engine.clusters["reviews"]

    def weights():
        return [e.load.weight if e.load else 0.0 for e in cluster.balance.endpoints.values()]

    calls = 0
    while not all(weights()):
        calls += 1
        assert calls < 1000
        await getattr(caller, kind)()
    busy, idle = weights()
    assert idle == pytest.approx(9 * busy)


async def test_weights_shift_the_calls(world, make_world, callers, start, echo):
    services = {}
    for name, load in (("busy", 0.9), ("idle", 0.1)):
        services[name] = echo(name)
        home = make_world()
        home.hooks.load_reporter().record_application_utilization(load)
        home.hooks.load_reporter().record_rps(100)
        port = start(services[name], interceptors=home.hooks.server_interceptors())
        services[name] = services[name], port
    ports = [port for _, port in services.values()]
    world.serve(*ports, lb_policy=WEIGHED)
    method = callers(world, "aio_channel").channel.unary_unary("/test.Echo/Unary")
    until = asyncio.get_running_loop().time() + 0.3
    while asyncio.get_running_loop().time() < until:
        await method(b"x")
    before = len(services["busy"][0].calls), len(services["idle"][0].calls)
    for _ in range(100):
        await method(b"x")
    busy = len(services["busy"][0].calls) - before[0]
    idle = len(services["idle"][0].calls) - before[1]
    assert busy + idle == 100
    assert idle > 4 * busy
