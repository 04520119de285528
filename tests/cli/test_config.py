"""``meshlib status`` and ``meshlib config`` of a control plane that has clients."""

import asyncio
import json
import threading

import grpc
import pytest

import meshlib
from meshlib.controlplane import ControlPlane
from meshlib.xds.load_report import METHOD, REQUEST, RESPONSE
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER

DISCOVERY = "envoy.service.discovery.v3"
NAME = "outbound|9080||ratings.default.svc.cluster.local"


class Running:
    """A control plane on a thread of its own, with one client that refuses its cluster."""

    def __init__(self, folder, token):
        self._ready = threading.Event()
        self._folder = folder
        self._token = token
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(20)

    async def _run(self):
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        free = "127.0.0.1:0"
        async with ControlPlane(
            self._folder, listen=free, admin=free, admin_token=self._token
        ) as plane:
            self.admin = plane.admin_address
            async with grpc.aio.insecure_channel(plane.address) as channel:
                await self._refuse(channel)
                await self._lack(channel)
                async with meshlib.Mesh("mine", control_plane=plane.address) as member:
                    await member.aregister(5000, linger=0)
                    await self._tell_load(channel)
                    self._ready.set()
                    await self._stop.wait()

    async def _tell_load(self, channel):
        stream = channel.stream_stream(
            METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(RESPONSE).FromString,
        )()
        request = message_class(REQUEST)()
        request.node.id = "picky/1"
        stats = request.cluster_stats.add(cluster_name="busy")
        stats.load_report_interval.seconds = 2
        stats.upstream_locality_stats.add(total_successful_requests=30, total_error_requests=1)
        await stream.write(request)
        await stream.read()
        self._load = stream  # what it told goes when it is forgotten

    def _stream(self, channel):
        return channel.stream_stream(
            f"/{DISCOVERY}.AggregatedDiscoveryService/StreamAggregatedResources",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(f"{DISCOVERY}.DiscoveryResponse").FromString,
        )()

    async def _lack(self, channel):
        """Come as a client of a kind that does not have everything."""
        self._java = self._stream(channel)
        first = message_class(f"{DISCOVERY}.DiscoveryRequest")(type_url=CLUSTER)
        first.node.id, first.node.user_agent_name = "picky/2", "gRPC Java"
        await self._java.write(first)
        await self._java.read()

    async def _refuse(self, channel):
        stream = self._stream(channel)
        request = message_class(f"{DISCOVERY}.DiscoveryRequest")
        first = request(type_url=CLUSTER, resource_names=[NAME])
        first.node.id = "picky/1"
        await stream.write(first)
        response = await stream.read()
        again = request(type_url=CLUSTER, resource_names=[NAME], response_nonce=response.nonce)
        again.error_detail.message = f"{NAME}: not to my taste"
        await stream.write(again)
        await stream.write(request(type_url=CLUSTER.replace("Cluster", "None")))
        await stream.write(
            request(type_url=CLUSTER, resource_names=[NAME, "more"], response_nonce=response.nonce)
        )
        await stream.read()

    def end(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)


@pytest.fixture
def running(mesh, monkeypatch):
    monkeypatch.delenv("MESHLIB_ADMIN_TOKEN", raising=False)
    started = []

    def start(token=None):
        started.append(Running(mesh, token))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_config_shows_what_a_client_was_sent(running, run):
    admin = running().admin
    said = run("config", "picky/1", "--admin", admin)
    assert said.exit_code == 0, said.output
    assert said.output.splitlines()[0].split() == ["TYPE", "RESOURCE", "VERSION", "STATE"]
    (row,) = [line.split() for line in said.output.splitlines() if line.startswith("cds")]
    assert (row[:2], row[-1]) == (["cds", NAME], "NACK")
    assert "1 resources on 1 stream of picky/1." in said.output
    assert any(line.startswith("  CDS NACK: ") for line in said.output.splitlines())


def test_config_as_json_has_the_resources_of_the_type(running, run):
    said = run("config", "picky/1", "cds", "--admin", running().admin, "-o", "json")
    (stream,) = json.loads(said.output)["streams"]
    assert [one["name"] for one in stream["types"]["cds"]["resources"]] == [NAME]


def test_config_of_nobody_says_who_is_there(running, run):
    said = run("config", "nobody", "--admin", running().admin)
    assert said.exit_code == 1
    assert "no client 'nobody'" in said.stderr
    assert "one of picky/1" in said.stderr


def test_a_type_that_is_none_is_wrong_usage(run):
    said = run("config", "anna", "xyz")
    assert said.exit_code == 2
    assert "lds" in said.stderr


@pytest.mark.parametrize("command", [("status",), ("config", "picky/1")], ids=" ".join)
def test_without_its_token_a_control_plane_says_nothing(running, run, tmp_path, command):
    admin = running("sesame").admin
    said = run(*command, "--admin", admin)
    assert said.exit_code == 1
    assert "wants its token" in said.stderr
    (tmp_path / "token").write_text("sesame\n")
    said = run(*command, "--admin", admin, "--token-file", tmp_path / "token")
    assert "picky/1" in said.output


def test_status_tells_refusals_and_lines_its_columns_up(running, run):
    said = run("status", "--admin", running().admin)
    head, row = said.output.splitlines()[:2]
    assert row.startswith("picky/1")
    for name, value in (("XDS", "sotw"), ("KIND", "other")):
        assert row[head.index(name) :].startswith(value)


def test_status_tells_what_was_downgraded_for_whom(running, run):
    said = run("status", "--admin", running().admin).output
    assert f"  downgraded: clusters/{NAME}: without effect for gRPC clients: " in said


def test_status_tells_the_load_and_who_registered(running, run):
    lines = run("status", "--admin", running().admin).stdout.splitlines()
    busy = next(line.split() for line in lines if line.startswith("busy"))
    assert busy == ["busy", "1", "15.5", "0.5", "0.0", "0"]
    mine = next(line.split() for line in lines if line.startswith("127.0.0.1:5000"))
    assert mine[1:4] == ["default", "app=mine", "SERVING"]
    assert mine[5:7] == ["ends", "in"]


def test_an_admin_address_elsewhere_wants_a_token(mesh, run, monkeypatch):
    monkeypatch.delenv("MESHLIB_ADMIN_TOKEN", raising=False)
    said = run("serve", mesh, "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0")
    assert said.exit_code == 1
    assert "an admin token is needed" in said.stderr


def test_a_token_file_that_is_empty_is_wrong_usage(mesh, run, tmp_path):
    (tmp_path / "token").write_text("\n")
    assert run("serve", mesh, "--admin-token-file", tmp_path / "token").exit_code == 2


@pytest.mark.parametrize("content", [b"\x8e\xff", b"a\nb", "tök".encode()])
@pytest.mark.parametrize("option", ["--admin-token-file", "--registration-token-file"])
def test_a_token_that_no_header_can_carry_is_wrong_usage(mesh, run, tmp_path, content, option):
    (tmp_path / "token").write_bytes(content)
    said = run("serve", mesh, option, tmp_path / "token")
    assert said.exit_code == 2
    assert "is not one line of ASCII" in said.stderr


def test_a_token_of_the_environment_is_looked_at_too(run, monkeypatch):
    monkeypatch.setenv("MESHLIB_ADMIN_TOKEN", "a\nb")
    said = run("status")
    assert said.exit_code == 2
    assert "MESHLIB_ADMIN_TOKEN is not one line of ASCII" in said.stderr
