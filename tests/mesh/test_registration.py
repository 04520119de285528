"""Members that add themselves to their service, at a control plane over real sockets."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families

import meshlib
from meshlib.controlplane import ControlPlane
from meshlib.errors import ConfigError, MeshError
from meshlib.testing.grpc_servers import aio_serving
from meshlib.xds.codec import decode
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER

GREETER = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "greeter"},
    "spec": {"selector": {"app": "greeter"}, "ports": [{"name": "grpc", "port": 9080}]},
}
HOST = "greeter:9080"


@contextlib.asynccontextmanager
async def plane_of(**options):
    listen = options.pop("listen", "127.0.0.1:0")
    async with ControlPlane([GREETER], listen=listen, **options) as plane:
        yield plane


def server_of(answer):
    async def unary(_request, _call):
        return answer

    return aio_serving("/test.T/Unary", unary)


def member(plane, **options):
    return meshlib.Mesh("greeter", control_plane=plane.address, **options)


@contextlib.asynccontextmanager
async def caller(plane):
    async with meshlib.Mesh("caller", control_plane=plane.address) as mesh:
        call = mesh.grpc.aio_channel(HOST).unary_unary("/test.T/Unary")

        async def answer():
            try:
                return await call(b"", timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code().name

        yield answer


async def until(answer, expected):
    async with asyncio.timeout(30):
        while await answer() != expected:  # noqa: ASYNC110 - a call that fails at once waits for nothing
            await asyncio.sleep(0)


async def test_a_member_that_registers_is_called_until_it_deregisters():
    async with plane_of() as plane, server_of(b"a") as port, caller(plane) as answer:
        assert await answer() == "UNAVAILABLE"
        async with member(plane) as mesh:
            async with await mesh.aregister(port, linger=0) as registration:
                assert registration.status()["hosts"] == ["greeter.default.svc.cluster.local"]
                await until(answer, b"a")
                (shown,) = plane.status["registered"]
                assert (shown["address"], shown["port"]) == ("127.0.0.1", port)
                assert shown["state"] == "SERVING"
            assert plane.status["registered"] == []
            await until(answer, "UNAVAILABLE")


async def test_only_endpoints_are_pushed_and_the_version_of_the_config_stays():
    async with plane_of() as plane, server_of(b"a") as port, caller(plane) as answer:
        await answer()
        (client,) = plane.status["clients"]
        version = plane.version
        async with member(plane) as mesh, await mesh.aregister(port, linger=0):
            await until(answer, b"a")
        (now,) = plane.status["clients"]
        told = {kind: now["types"][kind]["sent"] for kind in now["types"]}
        before = {kind: client["types"][kind]["sent"] for kind in client["types"]}
        assert [kind for kind in told if told[kind] != before[kind]] in ([], ["eds"])
        assert plane.version == version


async def test_closing_the_mesh_deregisters():
    async with plane_of() as plane, member(plane) as mesh:
        await mesh.aregister(5000, linger=0)
        await mesh.aclose()
        assert plane.status["registered"] == []


async def test_a_member_that_says_it_does_not_serve_is_not_called():
    async with (
        plane_of() as plane,
        server_of(b"a") as port,
        caller(plane) as answer,
        member(plane) as mesh,
        await mesh.aregister(port, linger=0) as registration,
    ):
        await until(answer, b"a")
        registration.set(serving=False)
        await until(answer, "UNAVAILABLE")
        registration.set(serving=True)
        await until(answer, b"a")


async def test_the_token_is_asked_for_and_never_shown(caplog):
    async with plane_of(registration_token="sesame") as plane, member(plane) as mesh:
        for wrong in (None, "guess-this"):
            with pytest.raises(MeshError, match="UNAUTHENTICATED"):
                await mesh.aregister(5000, token=wrong)
        assert plane.status["registered"] == []
        async with await mesh.aregister(5000, token="sesame", linger=0):
            assert len(plane.status["registered"]) == 1
    assert "sesame" not in caplog.text
    assert "guess-this" not in caplog.text


async def test_what_makes_no_sense_is_refused_with_the_reason():
    async with plane_of() as plane, member(plane) as mesh:
        with pytest.raises(MeshError, match=r"0\.0\.0\.0 is not an address"):
            await mesh.aregister(5000, address="0.0.0.0")


async def test_without_a_control_plane_there_is_nobody_to_register_with():
    async with meshlib.Mesh("greeter", config=[GREETER]) as mesh:
        with pytest.raises(ConfigError, match="no control plane"):
            await mesh.aregister(5000)


async def test_a_restart_of_the_control_plane_within_the_grace_is_no_gap_for_callers():
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(server_of(b"a"))
        async with contextlib.AsyncExitStack() as first:
            plane = await first.enter_async_context(plane_of())
            mesh = await stack.enter_async_context(member(plane))
            await mesh.aregister(port, linger=0)
            answer = await stack.enter_async_context(caller(plane))
            await until(answer, b"a")
        async with plane_of(listen=plane.address) as again:
            async with asyncio.timeout(30):
                while not (again.status["registered"] and again.status["clients"]):
                    assert await answer() == b"a"
            for _ in range(50):
                assert await answer() == b"a"
            await mesh.aclose()


async def test_a_member_registers_anew_as_soon_as_its_control_plane_is_there():
    """Which says nothing of a service until it knows who serves, or that nobody comes back."""
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(server_of(b"a"))
        async with contextlib.AsyncExitStack() as first:
            plane = await first.enter_async_context(plane_of())
            mesh = await stack.enter_async_context(member(plane))
            registration = await mesh.aregister(port, linger=0)
            await asyncio.to_thread(mesh.ready, HOST)
            registration._reconnects = Hopeless()
        assert await asyncio.to_thread(mesh._runtime.wait_for, lambda: outage_of(mesh), 30)
        patient = plane_of(listen=plane.address, registration_grace=600)
        async with patient as again, caller(again) as answer:
            await until(answer, b"a")
            await mesh.aclose()


def outage_of(mesh):
    return mesh.status()["source"]["error"]


class Hopeless:
    """Leaves a control plane alone that did not answer."""

    def answered(self):
        pass

    def after_failure(self):
        return 3600.0

    def after_life(self, _seconds):
        return 3600.0


async def test_who_calls_first_after_a_restart_finds_those_that_registered_before():
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(server_of(b"a"))
        async with contextlib.AsyncExitStack() as first:
            plane = await first.enter_async_context(plane_of())
            mesh = await stack.enter_async_context(member(plane))
            await mesh.aregister(port, linger=0)
        async with plane_of(listen=plane.address) as again, caller(again) as answer:
            await until(answer, b"a")
            (shown,) = again.status["registered"]
            assert (shown["port"], shown["state"]) == (port, "SERVING")
            await mesh.aclose()


OTHER = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "other"},
    "spec": {"hosts": ["other"], "ports": [{"number": 80, "name": "http"}], "resolution": "STATIC"},
}
OTHERS = "outbound|80||other"


@contextlib.asynccontextmanager
async def client_of(plane):
    """A client that wants all clusters and refuses what it does not like."""
    async with grpc.aio.insecure_channel(plane.address) as channel:
        call = channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(
                "envoy.service.discovery.v3.DiscoveryResponse"
            ).FromString,
        )()
        last = None

        async def answer(error=None):
            request = message_class("envoy.service.discovery.v3.DiscoveryRequest")(type_url=CLUSTER)
            request.node.id = "picky"
            if last is not None:
                request.response_nonce = last.nonce
            if error is not None:
                request.error_detail.message = error
            await call.write(request)

        async def follow(refuses=None):
            """The names of the next response, which is accepted or refused."""
            nonlocal last
            if last is None:
                await answer()
            last = await asyncio.wait_for(call.read(), 10)
            decoded = [decode(packed.type_url, packed.value).name for packed in last.resources]
            await answer(f"{refuses}: not to my taste" if refuses in decoded else None)
            return decoded

        yield follow


async def test_an_edit_that_is_taken_back_takes_nobody_with_it_and_brings_nobody_back():
    async with plane_of(rollback_on_nack=True) as plane, client_of(plane) as follow:
        first, second = member(plane), member(plane)
        async with first, second:
            staying = await first.aregister(5000, linger=0)
            leaving = await second.aregister(5001, linger=0)
            assert OTHERS not in await follow()
            await plane.apply([GREETER, OTHER])
            await leaving.aclose()
            assert OTHERS in await follow(refuses=OTHERS)
            assert OTHERS not in await follow()
            assert [one["port"] for one in plane.status["registered"]] == [5000]
            assert "not to my taste" in plane.status["errors"][0]
            async with server_of(b"a") as port, caller(plane) as answer:
                await staying.aclose()
                async with await first.aregister(port, linger=0):
                    await until(answer, b"a")


async def test_callers_know_a_registered_member_by_the_name_that_it_has_itself(monkeypatch):
    monkeypatch.setenv("MESHLIB_WORKLOAD", "greeter-v1")
    monkeypatch.setenv("MESHLIB_CLUSTER", "west")
    async with plane_of() as plane, server_of(b"a") as port:
        registering = member(plane, version="v1")
        monkeypatch.undo()
        async with (
            registering,
            await registering.aregister(port, linger=0),
            meshlib.Mesh("caller", control_plane=plane.address, metrics=True) as mesh,
        ):
            call = mesh.grpc.aio_channel(HOST).unary_unary("/test.T/Unary")
            assert await call(b"", timeout=10) == b"a"
            families = list(text_string_to_metric_families(mesh.metrics()))
    (counted,) = [
        sample.labels
        for family in families
        for sample in family.samples
        if sample.name == "istio_requests_total"
    ]
    named = registering._seen.workload.facts
    assert (named.workload, named.cluster) == ("greeter-v1", "west")
    assert counted["destination_workload"] == "greeter-v1"
    assert counted["destination_canonical_service"] == "greeter"
    assert counted["destination_version"] == "v1"
    assert counted["destination_cluster"] == "west"
    assert counted["source_workload"] == "caller"
