"""Who a member is by its environment, and what its own word about mutual TLS comes to."""

import asyncio
import ssl
import time

import aiohttp
import pytest
from aiohttp import web

import meshlib
from meshlib import ConfigError, Mesh
from meshlib.identity.client import CaSource
from meshlib.identity.sources import FileSource
from meshlib.identity.spiffe import SpiffeId
from meshlib.identity.workload_api import WorkloadApiSource
from meshlib.mesh.identity import identity_of
from meshlib.mesh.options import options
from meshlib.mesh.securing import fit_for
from meshlib.model import Cluster, Snapshot, Struct
from meshlib.model.security import SdsSecret, TransportSocketMatch, UpstreamTls

NOTHING = dict.fromkeys(
    ("namespace", "version", "labels", "config", "bootstrap", "outbound_traffic_policy")
)


def chosen(**given):
    fields = {"service": "reviews", "control_plane": None, "mtls": None, **NOTHING, **given}
    return options(**fields, propagate=(), environ={})


def source(environ, **given):
    return identity_of(chosen(**given), environ).source


def test_nothing_in_the_environment_is_no_identity():
    assert source({}) is None


def test_the_ca_comes_before_the_workload_api_and_both_before_files(tmp_path):
    root = {"MESHLIB_CA": "ca:15012", "MESHLIB_CA_ROOT": "root.pem"}
    api = {"SPIFFE_ENDPOINT_SOCKET": "unix:///run/spire.sock"}
    files = {"MESHLIB_CERT_DIR": str(tmp_path)}
    assert isinstance(source({**root, **api, **files}), CaSource)
    assert isinstance(source({**api, **files}), WorkloadApiSource)
    assert isinstance(source(files), FileSource)


def test_the_ca_is_at_the_control_plane_where_nothing_else_is_said():
    found = source({"MESHLIB_CA_ROOT": "root.pem"}, control_plane="plane:18000")
    assert found.status()["address"] == "plane:18000"


def test_the_files_of_a_bootstrap_are_an_identity(tmp_path):
    names = {"certificate_file": "c", "private_key_file": "k", "ca_certificate_file": "r"}
    bootstrap = {
        "xds_servers": [{"server_uri": "p:1", "channel_creds": [{"type": "insecure"}]}],
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": names}},
    }
    assert isinstance(source({}, bootstrap=bootstrap), FileSource)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MESHLIB_CA": "ca:15012"}, "MESHLIB_CA_ROOT must name a file"),
        ({"MESHLIB_CA_ROOT": "root.pem"}, "nothing says where the CA is"),
        ({"MESHLIB_CA": "ca:1", "MESHLIB_CA_ROOT": "sha256:12"}, "64 hex digits"),
        ({"SPIFFE_ENDPOINT_SOCKET": "http://here"}, "SPIFFE_ENDPOINT_SOCKET"),
        ({"MESHLIB_CONTROL_PLANE_TLS": "perhaps"}, "neither 'on' nor 'off'"),
    ],
)
def test_what_is_half_said_is_refused(environ, said):
    with pytest.raises(ConfigError, match=said):
        identity_of(chosen(), environ)


def test_strict_needs_an_identity():
    with pytest.raises(ConfigError, match="'strict' needs an identity"):
        identity_of(chosen(mtls="strict"), {})


def test_who_turned_it_off_shows_nothing_to_others():
    made = identity_of(chosen(mtls="off"), {"MESHLIB_CERT_DIR": "certs"})
    assert made.source is not None
    assert made.for_calls is None


# -- clusters ------------------------------------------------------------------------------------

OWN = UpstreamTls(certificate=SdsSecret("default"), validation=None)
ISTIO = TransportSocketMatch(name="istio", match=Struct((("tlsMode", "istio"),)), tls=OWN)
PLAIN = TransportSocketMatch(name="plain")


def snapshot_of(**fields):
    return Snapshot(clusters={"c": Cluster(name="c", **fields)})


def test_strict_leaves_no_way_in_plain_text():
    found = fit_for("strict", has_identity=True)(
        snapshot_of(transport_socket_matches=(ISTIO, PLAIN))
    )
    cluster = found.clusters["c"]
    assert cluster.transport_socket_matches == (ISTIO,)
    assert cluster.tls is not None


def test_without_an_identity_only_what_comes_by_itself_is_left_out():
    fit = fit_for("auto", has_identity=False)
    assert fit(snapshot_of(transport_socket_matches=(ISTIO, PLAIN))).clusters[
        "c"
    ].transport_socket_matches == (PLAIN,)
    ruled = snapshot_of(tls=OWN)
    assert fit(ruled) is ruled


@pytest.mark.parametrize("mtls", ["auto", "off"])
def test_with_an_identity_or_with_none_wanted_the_configuration_is_as_it_is(mtls):
    given = snapshot_of(transport_socket_matches=(ISTIO, PLAIN))
    assert fit_for(mtls, has_identity=True)(given) is given


def test_what_did_not_change_is_the_same_again():
    fit, cluster = fit_for("strict", has_identity=True), Cluster(name="c")
    one, other = (fit(Snapshot(clusters={"c": cluster})) for _ in range(2))
    assert one.clusters["c"] is other.clusters["c"]


# -- for real ------------------------------------------------------------------------------------


@pytest.fixture
async def reviews(member, free_port):
    """The mesh of the service, and where it serves: it says who called."""
    mesh = member("reviews")

    async def who(request):
        found = meshlib.peer(request)
        return web.json_response({"peer": found.spiffe_id, "secure": found.secure})

    app = web.Application()
    app.router.add_get("/", who)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    site = mesh.aiohttp.site(runner, host="127.0.0.1", port=port)
    await site.start()
    async with mesh:
        await mesh.aregister(port, linger=0)
        assert await mesh.aready("inbound")
        yield mesh, port
    await runner.cleanup()


async def get(mesh, url="http://reviews:9080/"):
    async with mesh.aiohttp.session() as session, session.get(url) as response:
        return await response.json()


@pytest.mark.parametrize("mtls", ["auto", "strict"])
async def test_two_members_know_each_other_by_their_certificates(reviews, member, mtls):
    async with member("productpage", mtls=mtls) as mesh:
        assert await get(mesh) == {
            "peer": "spiffe://cluster.local/ns/default/sa/productpage",
            "secure": True,
        }


async def test_the_status_tells_who_this_is_and_no_secret(reviews, member):
    told = reviews[0].status()["identity"]
    assert told["spiffe_id"] == "spiffe://cluster.local/ns/default/sa/reviews"
    assert told["not_after"] > time.time()
    assert (told["kind"], told["error"], told["mtls"]) == ("ca", "", "auto")
    assert "PRIVATE" not in repr(reviews[0].status())


async def test_what_is_called_in_plain_text_does_not_answer(reviews):
    with pytest.raises(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://127.0.0.1:{reviews[1]}/")


async def test_who_shows_no_certificate_is_not_answered(reviews, plane):
    context = ssl.create_default_context(cadata=plane.ca.authority.bundle().pem.decode())
    context.check_hostname = False
    with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
        async with aiohttp.ClientSession() as session:
            await session.get(f"https://127.0.0.1:{reviews[1]}/", ssl=context)


async def test_strict_calls_nobody_whom_it_cannot_verify(reviews, member):
    async with member("productpage", mtls="strict") as mesh:
        with pytest.raises(aiohttp.ClientError):
            await get(mesh, f"http://127.0.0.1:{reviews[1]}/")


async def test_who_is_revoked_is_refused_at_once(reviews, member, plane):
    async with member("productpage") as mesh:
        assert (await get(mesh))["secure"]
        revoked = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/productpage")
        server, heard = reviews[0], []
        forget = server._identity.source.watch(heard.append)
        plane.ca.authority.revoke(str(revoked), time.time())
        deadline = time.monotonic() + 5
        while not any(str(revoked) in found.revoked for found in tuple(heard)):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        forget()
        with pytest.raises(aiohttp.ClientError):
            await get(mesh)


async def test_a_member_without_credentials_is_not_ready(plane, tmp_path, monkeypatch):
    monkeypatch.setenv("MESHLIB_CA", f"unix:{tmp_path}/nobody.sock")
    monkeypatch.setattr("meshlib.mesh.identity.PATIENCE", 0.1)
    mesh = Mesh("reviews", control_plane=plane.address, mtls="strict")
    async with mesh:
        assert not await mesh.aready(timeout=0.1)
        assert mesh.status()["identity"]["error"]


@pytest.mark.parametrize("plane", ["PERMISSIVE"], indirect=True)
async def test_a_server_tells_the_control_plane_who_calls_it_in_plain_text(plane, reviews):
    mesh, port = reviews
    async with aiohttp.ClientSession() as session:
        assert (await session.get(f"http://127.0.0.1:{port}/")).status == 200
    deadline = time.monotonic() + 10
    while not (told := plane.status["registered"][0])["plaintext_callers"]:
        assert time.monotonic() < deadline
        mesh._registered[0].hurry()
        await asyncio.sleep(0.05)
    assert (told["mtls"], list(told["plaintext_callers"])) == ("auto", ["127.0.0.1"])
