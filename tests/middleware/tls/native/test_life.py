"""What else belongs to it: rotation, a process's life, other judges, and whoever else calls."""

import asyncio
import json
import os
import sys
import tempfile

import grpc
import pytest

from meshlib.dataplane.upstream.health import Result
from meshlib.middleware._probes import probe_for
from meshlib.middleware._service_client import ServiceClient
from meshlib.middleware._services import UnansweredError
from meshlib.model import GrpcHealthCheck, HealthCheck

REFUSED = "Custom verification check failed"


async def test_a_forked_child_has_a_shim_of_its_own(library, stock, ca, caller, client, words):
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    [endpoint] = caller.engine.clusters["reviews"].balance.endpoints.values()
    security = caller.runtime.security.upstream
    transport = security.wanted_for(endpoint)
    before = security.dial(transport, words.HOST)
    assert security.dial(transport, words.HOST) is before
    caller.runtime.reset()
    after = security.dial(transport, words.HOST)
    assert dict(after.options) != dict(before.options)
    assert await client(caller, library).call()


class GoServer:
    """grpc-go, with the certificate; it ends with the block."""

    def __init__(self, program, folder, ca, svid) -> None:
        for name, content in (
            ("CHAIN", svid.certificate_chain),
            ("KEY", svid.private_key),
            ("ROOTS", ca.pem),
        ):
            (folder / name).write_bytes(content)
        files = {name: str(folder / name) for name in ("CHAIN", "KEY", "ROOTS")}
        self._command = [str(program), "tls", "127.0.0.1:0", "gopher"]
        self._environ = os.environ | files

    async def __aenter__(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        told = json.loads(await self._process.stdout.readline())
        return int(told["address"].rpartition(":")[2])

    async def __aexit__(self, *_) -> None:
        self._process.stdin.close()
        await self._process.wait()


async def test_a_server_of_grpc_go_is_known_by_its_spiffe_id(
    library, go_judges, tmp_path, ca, caller, played, words
):
    svid = ca.svid(words.REVIEWS, dns=())
    async with GoServer(go_judges / "server", tmp_path, ca, svid) as port:
        caller.lead_to(port, tls=words.mutual(words.REVIEWS))
        assert await played(caller, library, path="/test.Who/Are") == [b"gopher"]
        caller.engine.renew()
        caller.lead_to(port, tls=words.mutual(words.RATINGS), spiffe_id=words.RATINGS)
        with pytest.raises(grpc.RpcError, match=REFUSED):
            await played(caller, library, path="/test.Who/Are")


async def test_health_and_rate_limits_are_asked_so_as_well(
    stock, ca, foreign, joined, caller, words
):
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    security = caller.runtime.security.upstream

    def dial(endpoint):
        return security.dial(security.wanted_for(endpoint), words.HOST)

    checker = GrpcHealthCheck()
    check = HealthCheck(
        timeout=5.0, interval=1.0, unhealthy_threshold=1, healthy_threshold=1, checker=checker
    )
    for wanted, result in ((words.REVIEWS, Result.FAILED), (words.RATINGS, Result.UNREACHED)):
        caller.engine.renew()
        caller.lead_to(port, tls=words.mutual(wanted), spiffe_id=wanted)
        [endpoint] = caller.engine.clusters["reviews"].balance.endpoints.values()
        probe = probe_for(check, "reviews", lambda: security)
        assert await probe.ask(endpoint) is result
        await probe.close()
        services = ServiceClient(dial)
        if result is Result.FAILED:  # it was reached, and does not say that it serves
            assert services.ask(endpoint, "/test.Echo/Say", b"", 20.0) == b"user-agent"
            assert await services.aask(endpoint, "/test.Echo/Say", b"", 20.0) == b"user-agent"
        else:
            with pytest.raises(UnansweredError, match=REFUSED):
                services.ask(endpoint, "/test.Echo/Say", b"", 20.0)
        await services.aclose()
        services.close()


async def test_leaves_and_roots_are_exchanged_under_load(
    library, serve, ca, foreign, caller, client, words
):
    new = words.Ca()
    both = words.replace(ca.bundle, roots=(ca.pem, new.pem), sequence=1)
    reviews = words.Member(foreign(ca, words.REVIEWS))
    reviews.let_in()
    caller.lead_to(await serve(reviews, library), tls=words.mutual(words.REVIEWS))
    calling, over = client(caller, library), asyncio.Event()
    await calling.call()

    async def load() -> None:
        while not over.is_set():
            await calling.call()

    async def turn(member, issuer, bundle, name) -> None:
        made = words.replace(foreign(issuer, name), bundles={"cluster.local": bundle})
        member.rotate(made)
        begun = len(caller.ended)
        while len(caller.ended) < begun + 20:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(load())
        steps = ((ca, both), (new, both), (new, new.bundle), (new, new.bundle), (new, new.bundle))
        for issuer, bundle in steps:
            await turn(reviews, issuer, bundle, words.REVIEWS)
            await turn(caller, issuer, bundle, words.PRODUCTPAGE)
        over.set()
    assert len(caller.ended) >= 200
    assert set(caller.causes) == {""}


async def test_an_old_leaf_is_not_shown_to_new_connections(
    library, serve, ca, foreign, caller, client, seen, words
):
    reviews = words.Member(foreign(ca, words.REVIEWS))
    reviews.let_in()
    caller.lead_to(await serve(reviews, library), tls=words.mutual(words.REVIEWS))
    calling = client(caller, library)
    await calling.call()
    caller.rotate(foreign(ca, words.RATINGS))
    await calling.call()
    assert seen.callers == [words.PRODUCTPAGE, words.RATINGS]


async def test_the_xds_of_an_application_is_another_matter(
    library, stock, ca, caller, client, words, monkeypatch, tmp_path
):
    """gRPC core's own bootstrap is neither read nor written."""
    nobody = tmp_path / "bootstrap.json"
    nobody.write_text("no bootstrap")
    monkeypatch.setenv("GRPC_XDS_BOOTSTRAP", str(nobody))
    caller.lead_to(stock(ca.svid(words.REVIEWS, dns=()), ca), tls=words.mutual(words.REVIEWS))
    assert await client(caller, library).call()
    assert nobody.read_text() == "no bootstrap"


async def test_who_forbids_roots_by_trust_domain_gets_no_connection(
    library, caller, client, words, monkeypatch
):
    monkeypatch.setenv("GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE", "false")
    listening = words.Listening()
    caller.lead_to(listening.port, tls=words.mutual(words.REVIEWS))
    assert "only where GRPC_EXPERIMENTAL_XDS" in await client(caller, library).error()
    listening.close()
    assert listening.heard == b""


async def test_it_goes_without_a_folder_of_its_own(
    library, stock, ca, caller, client, words, monkeypatch
):
    """As in a container whose file system is read-only."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    caller.lead_to(stock(ca.svid(words.REVIEWS, dns=()), ca), tls=words.mutual(words.REVIEWS))
    assert await client(caller, library).call()


async def test_where_no_socket_can_be_made_there_is_no_connection(
    library, caller, client, words, monkeypatch, tmp_path
):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    listening = words.Listening()
    caller.lead_to(listening.port, tls=words.mutual(words.REVIEWS))
    assert "gRPC cannot be told whom to believe" in await client(caller, library).error()
    listening.close()
    assert listening.heard == b""


CALLS_AND_LEAVES = """
from meshlib.identity.material import Material
from meshlib.mesh.native import NativeResources
from meshlib.middleware._tls_native import Shim
import grpc, sys
native, credentials = Shim(NativeResources()).native(
    Material(), {"cluster.local": open(sys.argv[1], "rb").read()}, [sys.argv[3]]
)
from meshlib.model import Address
target = native.target(Address("127.0.0.1", int(sys.argv[2])))
channel = grpc.secure_channel(target, credentials, native.options)
print(channel.unary_unary("/test.Echo/Say")(b"", timeout=20))
"""


async def test_a_process_that_closes_nothing_ends(tmp_path, stock, ca, words):
    """Its stream to the shim is open, and holds nobody up."""
    roots = tmp_path / "roots.pem"
    roots.write_bytes(ca.pem)
    port = stock(ca.svid(words.REVIEWS, dns=()))
    command = [sys.executable, "-c", CALLS_AND_LEAVES, str(roots), str(port), words.REVIEWS]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 40)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, said) == (0, b"b'user-agent'\n")
