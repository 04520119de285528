"""Forked children are members of the mesh of their own, whatever the parent did before."""

import pytest

from meshlib.testing import control_plane

USED = """
async def over_http(mesh):
    async with mesh.aiohttp.session() as session, session.get("http://details:9080/") as answer:
        assert await answer.text() == "ok"


def use(mesh, channel):
    assert channel.unary_unary(UNARY)(b"1", timeout=10) == b"ok:1"
    asyncio.run(over_http(mesh))


async def over_aio(mesh):
    async with mesh.grpc.aio_channel("greeter:9080") as channel:
        assert await channel.unary_unary(UNARY)(b"1", timeout=10) == b"ok:1"


def in_child(work):
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        return
    signal.alarm(20)
    work()
    sys.exit(0)
"""


@pytest.fixture(params=["embedded", "control plane"])
def source(request, manifests):
    """The arguments of a Mesh that has its configuration from here."""
    if request.param == "embedded":
        yield "config=MANIFESTS"
        return
    with control_plane(manifests) as plane:
        yield f"control_plane={plane.address!r}"


def test_children_of_a_parent_that_made_the_mesh_call_as_it_does(run_program, source):
    said = run_program(
        USED
        + f"""
mesh = meshlib.Mesh({source})
channel = mesh.grpc.channel("greeter:9080")
def child():
    use(mesh, channel)
    asyncio.run(over_aio(mesh))
for _ in range(4):
    in_child(child)
use(mesh, channel)
mesh.close()
print("the parent goes on")
"""
    )
    assert said == "the parent goes on\n"


def test_children_of_a_parent_that_called_call_as_it_does(run_program):
    run_program(
        USED
        + """
mesh = meshlib.Mesh(config=MANIFESTS)
channel = mesh.grpc.channel("greeter:9080")
use(mesh, channel)
for _ in range(4):
    in_child(lambda: use(mesh, channel))
use(mesh, channel)
mesh.close()
"""
    )


def test_calls_of_the_parent_hold_no_permit_in_a_child(run_program):
    run_program(
        USED
        + """
MANIFESTS.append({
    "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
    "metadata": {"name": "greeter"},
    "spec": {"host": "greeter", "trafficPolicy": {
        "connectionPool": {"http": {"http2MaxRequests": 1}}}},
})
mesh = meshlib.Mesh(config=MANIFESTS)
channel = mesh.grpc.channel("greeter:9080")
from meshlib.mesh import request_for
mesh.start()
steps = mesh._runtime.outbound(request_for("POST", "grpc://greeter:9080" + HANG))
mesh._runtime.step(steps, None)
def child():
    use(mesh, channel)
    calls = mesh.status()["calls"]["calls"]
    assert sum(row["count"] for row in calls) == 2, calls
in_child(child)
mesh.close()
"""
    )


def test_multiprocessing_may_fork(run_program):
    run_program(
        USED
        + """
import multiprocessing
mesh = meshlib.Mesh(config=MANIFESTS)
channel = mesh.grpc.channel("greeter:9080")
use(mesh, channel)
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=use, args=(mesh, channel)) for _ in range(3)]
[child.start() for child in children]
use(mesh, channel)
[child.join(20) for child in children]
assert [child.exitcode for child in children] == [0, 0, 0]
mesh.close()
"""
    )


def test_a_child_forked_while_a_channel_opens_is_not_locked_out(run_program):
    run_program(
        USED
        + """
mesh = meshlib.Mesh(config=MANIFESTS)
mesh.start()
locked = mesh.grpc.aio_channel("greeter:9080")
async def touch():
    locked.place()
asyncio.run(touch())
[pool] = locked._pools.values()
from meshlib.telemetry import threads
with pool._lock, threads._lock, mesh._runtime.lock, mesh._starting:
    in_child(lambda: use(mesh, mesh.grpc.channel("greeter:9080")))
mesh.close()
"""
    )


def test_a_child_has_an_admin_port_of_its_own(run_program):
    said = run_program(
        USED
        + """
import urllib.request
def ask(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.status
mesh = meshlib.Mesh("productpage", config=MANIFESTS, admin="127.0.0.1:0")
mesh.start()
before = mesh.admin_address
def child():
    mesh.start()
    assert mesh.admin_address != before
    assert ask(mesh.admin_address, "/readyz") == 200
in_child(child)
print(ask(before, "/healthz"))
mesh.close()
"""
    )
    assert said == "200\n"


def test_a_child_forked_while_others_count_and_read_shows_what_it_counts(run_program):
    run_program(
        USED
        + """
import urllib.request
from meshlib.mesh.admin_ports import PORTS
mesh = meshlib.Mesh("productpage", config=MANIFESTS, admin="127.0.0.1:0")
mesh.start()
def child():
    mesh.start()
    with urllib.request.urlopen(f"http://{mesh.admin_address}/metrics", timeout=10) as answer:
        assert b"meshlib_cluster_endpoints" in answer.read()
with PORTS._lock, mesh._runtime.lock:
    in_child(child)
mesh.close()
"""
    )


def test_a_child_exports_its_metrics_by_itself(run_program):
    run_program(
        USED
        + """
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource
from meshlib.telemetry.metrics.otlp import MetricsExport
came = threading.Event()
class Kept(MetricExporter):
    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        came.set()
        return MetricExportResult.SUCCESS
    def force_flush(self, timeout_millis=10_000):
        return True
    def shutdown(self, timeout_millis=30_000, **kwargs):
        pass
export = MetricsExport(Kept(), interval=0.01, resource=Resource({"service.name": "productpage"}))
export.start()
mesh = meshlib.Mesh("productpage", config=MANIFESTS)
mesh.start()
assert came.wait(10)
def child():
    global came
    came = threading.Event()
    assert came.wait(10)
in_child(child)
export.close()
mesh.close()
"""
    )


def test_a_child_does_not_wait_for_threads_of_its_parent_that_asked_services(run_program):
    run_program(
        USED
        + """
from meshlib.middleware._service_client import ServiceClient
mesh = meshlib.Mesh(config=MANIFESTS)
mesh.start()
[cluster] = [c for name, c in mesh._engine.clusters.items() if "greeter" in name]
endpoint, client = cluster.pick(), ServiceClient()
loop = asyncio.new_event_loop()
assert loop.run_until_complete(client.aask(endpoint, UNARY, b"1", 10)) == b"ok:1"
def child():
    client.reset()
    gc.collect()
    os._exit(0)  # gRPC core itself is of no use here: an asyncio channel is open
in_child(child)
loop.run_until_complete(client.aclose())
mesh.close()
"""
    )


def test_a_child_draws_traces_of_its_own(run_program):
    run_program(
        USED
        + """
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from meshlib.telemetry.deciding import LOW, Share
from meshlib.telemetry.ids import Ids
from meshlib.telemetry.lots import AHEAD, Lots
from meshlib.telemetry.marks import Forms
ids = Ids()
ids.inner = RandomIdGenerator()
lots = Lots(ids, Share(LOW + 1), Forms())
lots.draw()
reading, writing = os.pipe()
in_child(lambda: os.write(writing, f"{lots.draw().trace_id:032x}".encode()))
theirs = int(os.read(reading, 32), 16)
assert theirs not in [lots.draw().trace_id for _ in range(AHEAD - 1)]
"""
    )
