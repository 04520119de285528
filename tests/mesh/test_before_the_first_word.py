"""A member with a control plane serves nobody before it knows who may call it."""

import time

import aiohttp
import grpc
import pytest
from aiohttp import web

from meshlib import Mesh
from meshlib.identity.authority import Authority
from meshlib.identity.credentials import Bundle, Credentials
from meshlib.identity.sources import StaticSource
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.mesh.identity import Identity
from meshlib.model import HttpConnectionManager, Listener, RouteConfiguration, gather
from meshlib.testing.ads_server import AdsServer
from meshlib.testing.grpc_servers import serving

METHOD = "/test.Echo/Say"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The certificate of a member, as files."""
    ca = Authority.create(MemoryStore(), TrustDomain("cluster.local"), time.time())
    svid = ca.issue(SpiffeId.parse("spiffe://cluster.local/ns/default/sa/reviews"), time.time())
    (tmp_path / "svid.pem").write_bytes(svid.certificate_chain)
    (tmp_path / "key.pem").write_bytes(svid.private_key)
    (tmp_path / "key.pem").chmod(0o600)
    (tmp_path / "bundle.pem").write_bytes(ca.bundle().pem)
    monkeypatch.setenv("MESHLIB_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("MESHLIB_CONTROL_PLANE_TLS", "off")
    return tmp_path


async def status_of(mesh, patience=0.3):
    """What a caller gets of it by aiohttp, who waits so long and no longer."""

    async def served(_request):
        return web.Response(text="served")

    app = web.Application()
    app.router.add_get("/", served)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    headers = {"x-envoy-expected-rq-timeout-ms": str(int(patience * 1000))}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/", headers=headers) as answer,
        ):
            return answer.status
    finally:
        await runner.cleanup()
        await mesh.aclose()


@pytest.mark.parametrize("on_no_config", ["wait", "fail", "last_good"])
async def test_nobody_is_served_before_policies_are_known(folder, nowhere, on_no_config, tmp_path):
    kept = tmp_path / "kept" if on_no_config == "last_good" else None
    mesh = Mesh("me", control_plane=nowhere, on_no_config=on_no_config, last_known_good=kept)
    assert await status_of(mesh) == 503


@pytest.mark.parametrize("on_no_config", ["wait", "fail", "last_good"])
async def test_who_has_no_identity_serves_nobody_before_either(nowhere, on_no_config, tmp_path):
    kept = tmp_path / "kept" if on_no_config == "last_good" else None
    mesh = Mesh("me", control_plane=nowhere, on_no_config=on_no_config, last_known_good=kept)
    assert await status_of(mesh) == 503


async def test_who_has_no_identity_and_says_direct_serves_without_policies(nowhere):
    mesh = Mesh("me", control_plane=nowhere, on_no_config="direct")
    assert await status_of(mesh, patience=20) == 200


async def test_who_asks_for_no_inbound_listener_waits_for_none(nowhere):
    """A bootstrap without a template for servers says that nothing of them is configured."""
    servers = [{"server_uri": nowhere, "channel_creds": [{"type": "insecure"}]}]
    mesh = Mesh("me", bootstrap={"xds_servers": servers, "node": {"id": "me"}})
    assert await status_of(mesh) == 200


async def test_who_says_direct_is_served_without_policies(folder, nowhere):
    mesh = Mesh("me", control_plane=nowhere, on_no_config="direct")
    assert await status_of(mesh, patience=20) == 200


def test_no_grpc_call_is_served_before_policies_are_known(folder, nowhere):
    mesh = Mesh("me", control_plane=nowhere, on_no_config="fail")
    with (
        mesh,
        serving(METHOD, lambda _, __: b"", interceptors=mesh.grpc.server_interceptors()) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary(METHOD)(b"hello", timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_waits_for_the_first_word(folder):
    inbound = Listener(
        name="inbound", http=HttpConnectionManager(routes=RouteConfiguration(name="inside"))
    )
    plane = AdsServer(snapshot=gather(listeners=[inbound]))
    try:
        mesh = Mesh("me", control_plane=f"127.0.0.1:{plane.port}")
        assert await status_of(mesh, patience=20) == 404  # no route leads to a handler
    finally:
        plane.stop()


def test_a_federated_domain_does_not_vouch_for_the_control_plane():
    ours = Authority.create(MemoryStore(), TrustDomain("cluster.local"), time.time())
    theirs = Authority.create(MemoryStore(), TrustDomain("other.example"), time.time())
    svid = ours.issue(SpiffeId.parse("spiffe://cluster.local/ns/default/sa/me"), time.time())
    bundles: dict[str, Bundle] = {b.trust_domain: b for b in (theirs.bundle(), ours.bundle())}
    source = StaticSource(Credentials(svid=svid, bundles=bundles))
    roots, _, _ = Identity(source, "auto").shown_to_plane()
    assert roots == ours.bundle().pem
