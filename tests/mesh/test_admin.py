"""What a server says of itself: its health, and over CSDS what the mesh runs on."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import meshlib
from meshlib.testing import control_plane
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

CSDS = "/envoy.service.status.v3.ClientStatusDiscoveryService"
REQUEST = "envoy.service.status.v3.ClientStatusRequest"
RESPONSE = "envoy.service.status.v3.ClientStatusResponse"
GENERIC = "envoy.service.status.v3.ClientConfig.GenericXdsConfig"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
MANY = 30.0


class Served:
    """A server with the admin services of a mesh, and a plain channel to it."""

    def __init__(self, mesh: meshlib.Mesh, token: str | None = None) -> None:
        self.server = grpc.server(ThreadPoolExecutor(4))
        self.health = mesh.grpc.add_admin(self.server, token=token)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.health_stub = health_pb2_grpc.HealthStub(self.channel)

    def fetch(self, metadata: Any = (), **fields: Any) -> Any:
        call = self.channel.unary_unary(f"{CSDS}/FetchClientStatus")
        request = message_class(REQUEST)(**fields).SerializeToString()
        return message_class(RESPONSE).FromString(call(request, metadata=metadata, timeout=MANY))

    def close(self) -> None:
        self.channel.close()
        self.server.stop(None).wait()


@pytest.fixture
def serve() -> Iterator[Any]:
    made: list[Served] = []

    def start(mesh: meshlib.Mesh, token: str | None = None) -> Served:
        made.append(Served(mesh, token))
        return made[-1]

    yield start
    for each in made:
        each.close()


def by_type(answer: Any) -> dict[str, list[Any]]:
    (client,) = answer.config
    found: dict[str, list[Any]] = {}
    for each in client.generic_xds_configs:
        found.setdefault(each.type_url, []).append(each)
    return found


def state_of(config: Any) -> str:
    field = message_class(GENERIC).DESCRIPTOR.fields_by_name["client_status"]
    return field.enum_type.values_by_number[config.client_status].name


# --- CSDS ---


def test_each_resource_is_told_with_state_version_time_and_contents(serve, reviews_at) -> None:
    with (
        control_plane([reviews_at(1)]) as plane,
        meshlib.Mesh("ratings", control_plane=plane.address) as mesh,
    ):
        assert mesh.ready("reviews:9080", timeout=MANY)
        answer = serve(mesh).fetch()
        types = mesh.status()["source"]["types"]
    found = by_type(answer)
    assert set(found) == {LISTENER, ROUTE, CLUSTER, ENDPOINT}
    for configs in found.values():
        for each in configs:
            assert state_of(each) == "ACKED"
            known = types[each.type_url]["resources"][each.name]
            assert each.version_info == known["version"] != ""
            assert each.last_updated.seconds > 1_600_000_000
            assert each.xds_config.type_url == each.type_url
    (listener,) = found[LISTENER]
    assert listener.name == "reviews:9080"
    (client,) = answer.config
    assert client.client_scope == "ratings"
    assert client.node.metadata["NAMESPACE"] == "default"


def test_a_resource_that_does_not_exist_is_told_with_the_reason_and_no_contents(serve) -> None:
    with control_plane([]) as plane, meshlib.Mesh("r", control_plane=plane.address) as mesh:
        assert mesh.ready("nobody:80", timeout=MANY)
        ((config,),) = by_type(serve(mesh).fetch()).values()
    assert (config.name, state_of(config)) == ("nobody:80", "DOES_NOT_EXIST")
    assert not config.HasField("xds_config")
    assert "does not have it" in config.error_state.details


def test_what_was_asked_for_in_vain_is_told_as_requested(serve) -> None:
    with meshlib.Mesh("r", control_plane="127.0.0.1:1") as mesh:
        assert not mesh.ready("reviews:9080", timeout=0.2)
        ((config,),) = by_type(serve(mesh).fetch()).values()
    assert (config.name, state_of(config)) == ("reviews:9080", "REQUESTED")


def test_a_mesh_without_a_control_plane_tells_what_it_compiled(serve, reviews_at) -> None:
    with meshlib.Mesh("ratings", config=[reviews_at(1)]) as mesh:
        found = by_type(serve(mesh).fetch())
        assert {each.name for each in found[LISTENER]} == set(mesh.status()["listeners"])
    assert state_of(found[CLUSTER][0]) == "ACKED"


def test_contents_are_left_out_where_they_are_not_wanted(serve, reviews_at) -> None:
    with meshlib.Mesh("ratings", config=[reviews_at(1)]) as mesh:
        found = by_type(serve(mesh).fetch(exclude_resource_contents=True))
    assert not any(each.HasField("xds_config") for configs in found.values() for each in configs)


def test_questions_can_be_streamed(serve, reviews_at) -> None:
    with meshlib.Mesh("ratings", config=[reviews_at(1)]) as mesh:
        stream = serve(mesh).channel.stream_stream(f"{CSDS}/StreamClientStatus")
        answers = list(stream(iter([b"", b""]), timeout=MANY))
    first, second = (message_class(RESPONSE).FromString(each) for each in answers)
    assert by_type(first).keys() == by_type(second).keys() == {LISTENER, ROUTE, CLUSTER, ENDPOINT}


@pytest.mark.parametrize(
    ("request_bytes", "said"),
    [(b"\x0a\x00", "node_matchers are not supported"), (b"\xff", "not a ClientStatusRequest")],
)
def test_a_question_without_an_answer_is_refused(serve, request_bytes, said) -> None:
    with meshlib.Mesh("ratings") as mesh:
        call = serve(mesh).channel.unary_unary(f"{CSDS}/FetchClientStatus")
        with pytest.raises(grpc.RpcError) as refused:
            call(request_bytes, timeout=MANY)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in refused.value.details()


@pytest.mark.parametrize(
    "metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", "secret"),)]
)
def test_with_a_token_nobody_is_answered_without_it(serve, reviews_at, metadata) -> None:
    with meshlib.Mesh("ratings", config=[reviews_at(1)]) as mesh:
        served = serve(mesh, token="secret")
        with pytest.raises(grpc.RpcError) as refused:
            served.fetch(metadata)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert served.fetch((("authorization", "Bearer secret"),)).config


def test_without_a_token_only_this_machine_is_answered() -> None:
    from meshlib.middleware._grpc_admin import Admin

    class Call:
        def __init__(self, peer: str) -> None:
            self._peer = peer

        def peer(self) -> str:
            return self._peer

    messages: Any = None
    admin = Admin(messages, None)
    for near in ("ipv4:127.0.0.1:5", "ipv6:%5B::1%5D:5", "ipv6:[::1]:5", "unix:", "unix:/a"):
        assert not admin.why_not(Call(near))
    for far in ("ipv4:10.0.0.1:5", "ipv4:12.7.0.1:5", "ipv6:[2001:db8::1]:5", "vsock:2:5", ""):
        assert "only callers on this machine" in admin.why_not(Call(far))


# --- health ---


def test_a_server_is_healthy_until_something_else_is_said(serve) -> None:
    with meshlib.Mesh("ratings") as mesh:
        served = serve(mesh)
        ask = served.health_stub.Check
        assert ask(health_pb2.HealthCheckRequest()).status == SERVING
        served.health.set("", serving=False)
        assert ask(health_pb2.HealthCheckRequest()).status == NOT_SERVING
        served.health.set("test.T", serving=True)
        assert ask(health_pb2.HealthCheckRequest(service="test.T")).status == SERVING
        served.health.drain()
        assert ask(health_pb2.HealthCheckRequest(service="test.T")).status == NOT_SERVING


def test_a_service_that_nobody_spoke_of_is_not_found(serve) -> None:
    with meshlib.Mesh("ratings") as mesh, pytest.raises(grpc.RpcError) as missing:
        serve(mesh).health_stub.Check(health_pb2.HealthCheckRequest(service="test.T"))
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND


def test_who_watches_hears_of_each_change(serve) -> None:
    with meshlib.Mesh("ratings") as mesh:
        served = serve(mesh)
        watch = served.health_stub.Watch(health_pb2.HealthCheckRequest(service="test.T"))
        assert next(watch).status == SERVICE_UNKNOWN
        served.health.set("test.T", serving=True)
        assert next(watch).status == SERVING
        served.health.drain()
        assert next(watch).status == NOT_SERVING
        watch.cancel()


def test_who_goes_away_while_watching_gives_its_thread_back(serve) -> None:
    with meshlib.Mesh("ratings") as mesh:
        served = serve(mesh)
        for _ in range(10):  # more than the server has threads
            watch = served.health_stub.Watch(health_pb2.HealthCheckRequest(), timeout=MANY)
            assert next(watch).status == SERVING
            watch.cancel()


async def test_an_asyncio_server_tells_the_same(reviews_at) -> None:
    async with meshlib.Mesh("ratings", config=[reviews_at(1)]) as mesh:
        server = grpc.aio.server()
        health = mesh.grpc.add_admin(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = await channel.unary_unary(f"{CSDS}/FetchClientStatus")(b"", timeout=MANY)
            assert LISTENER in by_type(message_class(RESPONSE).FromString(answer))
            stream = channel.stream_stream(f"{CSDS}/StreamClientStatus")(iter([b""]))
            assert [each async for each in stream]
            with pytest.raises(grpc.aio.AioRpcError, match="node_matchers"):
                await channel.unary_unary(f"{CSDS}/FetchClientStatus")(b"\x0a\x00", timeout=MANY)
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            await asyncio.to_thread(health.drain)
            assert (await watch.read()).status == NOT_SERVING
            watch.cancel()
        await server.stop(None)


def test_the_admin_services_begin_no_thread_of_their_own(serve) -> None:
    before = set(threading.enumerate())
    with meshlib.Mesh("ratings") as mesh:
        mesh.grpc.add_admin(grpc.server(ThreadPoolExecutor(1)))
        begun = set(threading.enumerate()) - before
        assert not [thread for thread in begun if thread.name.startswith("meshlib")]
