"""TLS to servers that are no members: known by their names, to roots from files."""

import ssl

import pytest
from aiohttp import web

from meshlib.dataplane.upstream.health import Result
from meshlib.middleware._probes import probe_for
from meshlib.model import Exact, HealthCheck, HttpHealthCheck, Prefix
from meshlib.model.security import (
    CertificateFiles,
    CertificateValidation,
    RootFile,
    SanMatcher,
    SanType,
    SdsSecret,
    Secret,
    SystemRoots,
    UpstreamTls,
)


@pytest.fixture
async def outside(ca, tmp_path):
    """A server with a certificate for these DNS names; its port, and the SNI names it heard."""
    runners = []

    async def start(*names, verify=False):
        svid = ca.svid(dns=names)
        file = tmp_path / "server.pem"
        file.write_bytes(svid.private_key + svid.certificate_chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        heard = []
        context.sni_callback = lambda _connection, name, _context: heard.append(name)
        if verify:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=ca.pem.decode())

        async def handler(request):
            shown = request.transport.get_extra_info("peercert") or {}
            return web.Response(text=f"{request.host} {dict(shown).get('subjectAltName', '')}")

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.05)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        return site.port, heard

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def roots(ca, tmp_path):
    path = tmp_path / "roots.pem"
    path.write_bytes(ca.pem)
    return RootFile(str(path))


async def get(client, member, words):
    return await client(member, "aiohttp").call()


async def test_a_server_is_known_by_the_host_that_is_called(outside, roots, client, words):
    port, heard = await outside("reviews")
    member = words.Member()
    member.lead_to(port, tls=UpstreamTls(validation=CertificateValidation(roots=roots)))
    assert (await get(client, member, words)).startswith("reviews:9080")
    assert heard == ["reviews"]


async def test_the_server_name_that_is_said_is_asked_for_and_verified(
    outside, roots, client, words
):
    port, heard = await outside("api.example.com")
    member = words.Member()
    validation = CertificateValidation(roots=roots)
    member.lead_to(port, tls=UpstreamTls(validation=validation, sni="api.example.com"))
    await get(client, member, words)
    member.lead_to(port, tls=UpstreamTls(validation=validation, sni="other.example.com"))
    await client(member, "aiohttp").error()
    assert heard == ["api.example.com", "other.example.com"]
    assert member.causes[-1] == "CONNECT"


@pytest.mark.parametrize(
    ("matcher", "fits"),
    [
        (SanMatcher(match=Exact("api.example.com"), san_type=SanType.DNS), True),
        (SanMatcher(match=Prefix("api.")), True),
        (SanMatcher(match=Exact("api.example.com"), san_type=SanType.URI), False),
        (SanMatcher(match=Exact("API.example.com")), False),
    ],
)
async def test_names_of_the_certificate_are_matched_kind_by_kind(
    outside, roots, client, words, matcher, fits
):
    port, _ = await outside("api.example.com")
    member = words.Member()
    validation = CertificateValidation(roots=roots, match_subject_alt_names=(matcher,))
    member.lead_to(port, tls=UpstreamTls(validation=validation))
    if fits:
        await get(client, member, words)
    else:
        assert "not those to call" in await client(member, "aiohttp").error()


async def test_roots_of_the_system_do_not_know_a_private_ca(outside, client, words):
    port, _ = await outside("reviews")
    member = words.Member()
    member.lead_to(port, tls=UpstreamTls(validation=CertificateValidation(roots=SystemRoots())))
    await client(member, "aiohttp").error()
    assert member.causes == ["CONNECT"]


async def test_a_certificate_from_files_is_shown(outside, ca, roots, client, words, tmp_path):
    port, _ = await outside("reviews", verify=True)
    svid = ca.svid(dns=("client.example",))
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(svid.certificate_chain)
    key.write_bytes(svid.private_key)
    key.chmod(0o600)
    member = words.Member()
    files = CertificateFiles(str(chain), str(key))
    tls = UpstreamTls(certificate=files, validation=CertificateValidation(roots=roots))
    member.lead_to(port, tls=tls)
    assert "client.example" in await get(client, member, words)
    key.chmod(0o644)
    again = words.Member()
    again.lead_to(port, tls=tls)
    assert "lets others at it" in await client(again, "aiohttp").error()


async def test_a_secret_by_another_name_is_found_where_there_is_one(outside, ca, client, words):
    port, _ = await outside("reviews")
    member = words.Member()
    validation = CertificateValidation(roots=SdsSecret("kubernetes://reviews-cacert"))
    member.lead_to(port, tls=UpstreamTls(validation=validation))
    assert "'kubernetes://reviews-cacert' is not there" in await client(member, "aiohttp").error()
    found = {"kubernetes://reviews-cacert": Secret(name="x", trusted_ca=ca.pem)}
    member.runtime.security.secrets = found.get
    member.engine.renew()
    await get(client, member, words)


async def test_grpc_verifies_the_one_name_that_it_can(ca, serve, roots, client, words):
    """Our own member answers it, whose certificate has a DNS name besides."""
    server = words.Member(words.believing(ca, svid=ca.svid(words.REVIEWS, dns=("reviews",))))
    one_sided = {"validation": None, "require_client_certificate": False}
    server.let_in(tls=words.replace(words.MUTUAL, **one_sided))
    port = await serve(server, "grpc.aio")
    member = words.Member()
    validation = CertificateValidation(roots=roots)
    member.lead_to(port, tls=UpstreamTls(validation=validation))
    assert await client(member, "grpc.aio").call() == "nobody"
    other = words.Member()
    other.lead_to(port, tls=UpstreamTls(validation=validation, sni="ratings"))
    await client(other, "grpc.aio").error()
    fuzzy = SanMatcher(match=Prefix("rev"))
    vague = words.replace(validation, match_subject_alt_names=(fuzzy,))
    other.lead_to(port, tls=UpstreamTls(validation=vague))
    other.engine.renew()
    assert "one exact DNS name" in await client(other, "grpc.aio").error()


async def test_a_ca_without_derived_names_is_no_way_for_grpc(ca, client, words):
    listening = words.Listening()
    credentials = words.replace(ca.credentials(words.PRODUCTPAGE), derived_names=False)
    member = words.Member(credentials)
    member.lead_to(listening.port, tls=words.mutual(words.REVIEWS))
    for library in ("grpc", "grpc.aio"):
        member.engine.renew()
        assert "no DNS names that stand for" in await client(member, library).error()
    listening.close()
    assert listening.heard == b""


async def test_health_is_asked_over_tls_where_calls_go_over_tls(
    serve, reviews, productpage, words, eventually
):
    port = await serve(reviews, "aiohttp")
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    [endpoint] = productpage.engine.clusters["reviews"].balance.endpoints.values()
    check = HealthCheck(
        timeout=5.0,
        interval=1.0,
        unhealthy_threshold=1,
        healthy_threshold=1,
        checker=HttpHealthCheck(path="/healthz"),
    )
    probe = probe_for(check, "reviews", lambda: productpage.runtime.security.upstream)
    assert await probe.ask(endpoint) is Result.PASSED
    await probe.close()
    blind = probe_for(check, "reviews")
    assert await blind.ask(endpoint) is Result.UNREACHED
    await blind.close()
