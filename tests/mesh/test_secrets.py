"""Who a member is, and whom it believes, as its control plane tells it (SDS over ADS)."""

import socket
import time
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

import meshlib
from meshlib import ConfigError, Mesh
from meshlib.controlplane import SnapshotCache, serve
from meshlib.identity.authority import Authority
from meshlib.identity.secret_source import SecretSource
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.mesh.identity import identity_of
from meshlib.mesh.options import options
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    Exact,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    NonForwardingAction,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
)
from meshlib.model.security import (
    CertificateValidation,
    DownstreamTls,
    SanMatcher,
    SanType,
    SdsSecret,
    Secret,
    UpstreamTls,
)

DOMAIN = TrustDomain("cluster.local")
API = "kubernetes://api-cacert"
OWN = CertificateValidation(roots=SdsSecret("ROOTCA"))
NOTHING = dict.fromkeys(
    ("namespace", "version", "labels", "config", "bootstrap", "outbound_traffic_policy")
)


def spiffe_id(service):
    return SpiffeId(DOMAIN, f"/ns/default/sa/{service}")


@pytest.fixture
def authority():
    return Authority.create(MemoryStore(), DOMAIN, time.time())


@pytest.fixture
def own(authority):
    """The two secrets of a service."""

    def make(service):
        svid = authority.issue(spiffe_id(service), time.time())
        chain, key = svid.certificate_chain, svid.private_key
        roots = Secret(name="ROOTCA", trusted_ca=authority.bundle().pem)
        return [Secret(name="default", certificate_chain=chain, private_key=key), roots]

    return make


def tls_to(service, roots="ROOTCA"):
    name = SanMatcher(match=Exact(str(spiffe_id(service))), san_type=SanType.URI)
    validation = CertificateValidation(roots=SdsSecret(roots), match_subject_alt_names=(name,))
    return UpstreamTls(certificate=SdsSecret("default"), validation=validation)


def way_to(port, tls):
    """What a caller of ``reviews:9080`` has to know."""
    action = RouteAction(cluster="c")
    host = VirtualHost(name="all", domains=("*",), routes=(Route(action=action),))
    table = RouteConfiguration(name="r", virtual_hosts=(host,))
    place = Endpoint(address=Address("127.0.0.1", port))
    return [
        Listener(name="reviews:9080", http=HttpConnectionManager(routes=table)),
        Cluster(name="c", tls=tls),
        ClusterLoadAssignment(
            cluster_name="c", endpoints=(LocalityLbEndpoints(lb_endpoints=(place,)),)
        ),
    ]


def doorway():
    tls = DownstreamTls(
        certificate=SdsSecret("default"), validation=OWN, require_client_certificate=True
    )
    host = VirtualHost(name="all", domains=("*",), routes=(Route(action=NonForwardingAction()),))
    routes = RouteConfiguration(name="in", virtual_hosts=(host,))
    http = HttpConnectionManager(routes=routes)
    return Listener(name="inbound", http=http, tls=tls, address=Address("0.0.0.0", 0))


@pytest.fixture
async def plane():
    cache = SnapshotCache(lambda node: node.id.partition("-")[0], check=False)
    async with serve(cache, "127.0.0.1:0") as server:
        cache.address = server.address
        yield cache


@pytest.fixture
def member(plane, monkeypatch):
    def make(service, **given):
        monkeypatch.setenv("MESHLIB_SDS", "on")
        return Mesh(service, control_plane=plane.address, **given)

    return make


@pytest.fixture
async def reviews(member, plane, own):
    """The port of a server, which says who called."""
    plane.set_snapshot("reviews", [doorway(), *own("reviews")])
    mesh = member("reviews")

    async def who(request):
        return web.json_response(meshlib.peer(request).spiffe_id)

    app = web.Application()
    app.router.add_get("/", who)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    async with mesh:
        assert await mesh.aready()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        await mesh.aiohttp.site(runner, host="127.0.0.1", port=port).start()
        yield port
        await runner.cleanup()


async def get(mesh):
    url = "http://reviews:9080/"
    async with mesh.aiohttp.session() as session, session.get(url) as response:
        return await response.json()


async def test_two_members_are_who_their_control_plane_says(plane, member, reviews, own):
    plane.set_snapshot("web", [*way_to(reviews, tls_to("reviews")), *own("web")])
    async with member("web") as mesh:
        assert await get(mesh) == "spiffe://cluster.local/ns/default/sa/web"
        told = mesh.status()["identity"]
        assert (told["kind"], told["error"]) == ("sds", "")
        assert "PRIVATE" not in repr(mesh.status())


async def test_a_certificate_that_is_pushed_takes_the_place_of_the_old_one(
    plane, member, reviews, own
):
    plane.set_snapshot("web", [*way_to(reviews, tls_to("reviews")), *own("web")])
    async with member("web") as mesh:
        await get(mesh)
        before = mesh.status()["identity"]["serial"]
        plane.update("web", own("web"))
        while mesh.status()["identity"]["serial"] == before:
            await get(mesh)
        assert await get(mesh) == "spiffe://cluster.local/ns/default/sa/web"


async def test_another_than_the_named_one_is_not_called(plane, member, reviews, own):
    plane.set_snapshot("web", [*way_to(reviews, tls_to("ratings")), *own("web")])
    async with member("web") as mesh:
        with pytest.raises(aiohttp.ClientError):
            await get(mesh)


async def test_without_its_secret_a_cluster_is_not_called_at_all_until_it_comes(
    plane, member, reviews, own, authority
):
    tls = replace(tls_to("reviews", API), certificate=SdsSecret("default"))
    plane.set_snapshot("web", [*way_to(reviews, tls), *own("web")])
    async with member("web") as mesh:
        with pytest.raises(aiohttp.ClientError, match=API):
            await get(mesh)
        plane.update("web", [Secret(name=API, trusted_ca=authority.bundle().pem)])
        while True:
            try:
                assert await get(mesh) == "spiffe://cluster.local/ns/default/sa/web"
            except aiohttp.ClientError:
                continue
            break


async def test_nobody_speaks_plain_text_while_the_own_certificate_is_missing(
    plane, member, reviews
):
    plane.set_snapshot("web", way_to(reviews, tls_to("reviews")))
    async with member("web") as mesh:
        assert not await mesh.aready(timeout=0.1)
        with pytest.raises(aiohttp.ClientError, match="no credentials yet"):
            await get(mesh)


# -- who says it ---------------------------------------------------------------------------------


def identity(environ, **given):
    fields = {"service": "web", "control_plane": "p:1", "mtls": None, **NOTHING, **given}
    return identity_of(options(**fields, propagate=(), environ={}), environ)


def test_strict_takes_its_name_from_the_control_plane_where_nothing_else_says_it():
    made = identity({}, mtls="strict")
    assert isinstance(made.source, SecretSource)
    assert made.secrets.always == ("default", "ROOTCA")
    assert made.shown_to_plane is None


def test_who_does_not_want_it_is_nobody_and_has_the_secrets_of_others():
    made = identity({})
    assert made.source is None
    assert not made.secrets.wants("default")
    assert made.secrets.wants(API)
    assert made.named(API) is None


@pytest.mark.parametrize(
    ("environ", "given", "said"),
    [
        ({"MESHLIB_SDS": "on", "MESHLIB_CERT_DIR": "c"}, {}, "something else says who this is"),
        ({"MESHLIB_SDS": "on"}, {"control_plane": None}, "there is no control plane"),
        ({"MESHLIB_SDS": "perhaps"}, {}, "neither 'on' nor 'off'"),
        ({"MESHLIB_TRUST_DOMAIN": "UPPER!"}, {}, "MESHLIB_TRUST_DOMAIN"),
    ],
)
def test_what_contradicts_itself_is_refused(environ, given, said):
    with pytest.raises(ConfigError, match=said):
        identity(environ, **given)
