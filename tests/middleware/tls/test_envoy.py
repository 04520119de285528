"""Envoy at the other end, secured by what our codec says of it: known, or refused."""

from contextlib import AsyncExitStack

import aiohttp
import grpc
import pytest
from aiohttp import web

from meshlib.mesh.native import NativeResources
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    Exact,
    HttpConnectionManager,
    HttpProtocolOptions,
    Listener,
    LocalityLbEndpoints,
    Route,
    RouteAction,
    RouteConfiguration,
    Static,
    VirtualHost,
)
from meshlib.model.security import (
    CertificateFiles,
    CertificateValidation,
    DownstreamTls,
    RootFile,
    SanMatcher,
    SanType,
    UpstreamTls,
)
from meshlib.testing.envoy import bootstrap, running
from meshlib.xds.codec import encode_json

ECHO = "/test.Echo/Say"


@pytest.fixture
def files(ca, tmp_path):
    """A certificate for the id, as the files that Envoy reads."""

    def write(spiffe_id, **made):
        svid = ca.svid(spiffe_id, **made)
        (tmp_path / "chain.pem").write_bytes(svid.certificate_chain)
        (tmp_path / "key.pem").write_bytes(svid.private_key)
        (tmp_path / "roots.pem").write_bytes(ca.pem)
        shown = CertificateFiles(str(tmp_path / "chain.pem"), str(tmp_path / "key.pem"))
        return shown, RootFile(str(tmp_path / "roots.pem"))

    return write


@pytest.fixture
async def start_envoy(envoy, tmp_path):
    async with AsyncExitStack() as stack:

        async def start(listener, cluster):
            """The port that it listens at."""
            config = bootstrap(listeners=[encode_json(listener)], clusters=[encode_json(cluster)])
            started = await stack.enter_async_context(running(envoy, config, tmp_path))
            return await started.port()

        yield start


def a_listener(tls=None, plaintext=False):
    route = Route(action=RouteAction(cluster="onward", timeout=0.0))
    host = VirtualHost(name="all", domains=("*",), routes=(route,))
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="all", virtual_hosts=(host,)), stat_prefix="x"
    )
    address = Address("127.0.0.1", 0)
    return Listener(name="in", http=http, address=address, tls=tls, plaintext=plaintext)


def a_cluster(port, *, http2=False, **fields):
    group = LocalityLbEndpoints(lb_endpoints=(Endpoint(address=Address("127.0.0.1", port)),))
    assignment = ClusterLoadAssignment(cluster_name="onward", endpoints=(group,))
    options = HttpProtocolOptions(http2=http2)
    return Cluster(
        name="onward", discovery=Static(assignment), http_protocol_options=options, **fields
    )


def only(spiffe_id):
    return (SanMatcher(match=Exact(spiffe_id), san_type=SanType.URI),)


@pytest.fixture
async def backend():
    """An application behind Envoy that knows nothing of TLS; its port, and what it heard."""
    heard = []

    async def handler(request):
        heard.append(request.path)
        return web.Response(text="backend")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.port, heard
    await runner.cleanup()


@pytest.mark.parametrize("plaintext", [False, True])
async def test_our_client_and_envoy_as_a_server_know_each_other(
    plaintext, files, start_envoy, backend, client, ca, productpage, words
):
    shown, roots = files(words.REVIEWS)
    validation = CertificateValidation(roots=roots, match_subject_alt_names=only(words.PRODUCTPAGE))
    tls = DownstreamTls(certificate=shown, validation=validation, require_client_certificate=True)
    port = await start_envoy(a_listener(tls, plaintext), a_cluster(backend[0]))
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    assert await client(productpage, "aiohttp").call() == "backend"
    ratings = words.Member(ca.credentials(words.RATINGS))
    ratings.lead_to(port, tls=words.mutual(words.REVIEWS))
    await client(ratings, "aiohttp").error()
    productpage.lead_to(port, tls=words.mutual(words.RATINGS), spiffe_id=words.RATINGS)
    await client(productpage, "aiohttp").error()
    assert backend[1] == ["/"]
    plain = words.Member()
    plain.lead_to(port, tls=None)
    if plaintext:
        assert await client(plain, "aiohttp").call() == "backend"
    else:
        await client(plain, "aiohttp").error()


@pytest.mark.parametrize("library", ["grpc", "grpc.aio"])
async def test_our_grpc_client_knows_an_envoy_that_has_a_spiffe_id_and_no_dns_name(
    library, files, start_envoy, ca, client, productpage, reviews, serve, words, seen
):
    """As the sidecars of Istio have it."""
    shown, roots = files(words.REVIEWS, dns=())
    validation = CertificateValidation(roots=roots, match_subject_alt_names=only(words.PRODUCTPAGE))
    tls = DownstreamTls(
        certificate=shown,
        validation=validation,
        require_client_certificate=True,
        alpn_protocols=("h2",),
    )
    behind = words.Member()
    port = await start_envoy(a_listener(tls), a_cluster(await serve(behind, library), http2=True))
    productpage.runtime.native = NativeResources()
    foreign = words.replace(ca.credentials(words.PRODUCTPAGE), derived_names=False)
    productpage.rotate(foreign)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    assert await client(productpage, library).call() == "nobody"
    productpage.engine.renew()
    productpage.lead_to(port, tls=words.mutual(words.RATINGS), spiffe_id=words.RATINGS)
    assert "SANs from certificate did not match" in await client(productpage, library).error()
    productpage.rotate(words.replace(ca.credentials(words.RATINGS), derived_names=False))
    productpage.engine.renew()
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    await client(productpage, library).error()
    assert seen.callers == [""]


async def test_envoy_as_a_client_is_known_to_our_server(
    kind, files, start_envoy, serve, reviews, words, seen
):
    shown, roots = files(words.PRODUCTPAGE)
    port = await serve(reviews, kind)
    validation = CertificateValidation(roots=roots, match_subject_alt_names=only(words.REVIEWS))
    tls = UpstreamTls(certificate=shown, validation=validation, sni="reviews")
    cluster = a_cluster(port, http2=kind != "aiohttp", tls=tls)
    assert await called(kind, await start_envoy(a_listener(), cluster)) == words.PRODUCTPAGE
    assert seen.callers == [words.PRODUCTPAGE]


async def test_envoy_refuses_our_server_by_another_name(
    kind, files, start_envoy, serve, reviews, words, seen
):
    shown, roots = files(words.PRODUCTPAGE)
    port = await serve(reviews, kind)
    validation = CertificateValidation(roots=roots, match_subject_alt_names=only(words.RATINGS))
    tls = UpstreamTls(certificate=shown, validation=validation)
    cluster = a_cluster(port, http2=kind != "aiohttp", tls=tls)
    assert await called(kind, await start_envoy(a_listener(), cluster)) is None
    assert seen.callers == []


async def called(kind, port):
    """What Envoy brought back; ``None``: nothing."""
    if kind == "aiohttp":
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/") as response,
        ):
            return await response.text() if response.status == 200 else None
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            return (await channel.unary_unary(ECHO)(b"", timeout=20)).decode()
        except grpc.aio.AioRpcError:
            return None
