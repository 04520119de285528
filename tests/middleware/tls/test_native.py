"""Servers whose certificates have a SPIFFE id and no other name: gRPC core verifies them itself."""

import asyncio
import sys
from concurrent import futures

import grpc
import grpc.aio
import pytest

from meshlib.mesh.native import NativeResources
from meshlib.model import Exact, Prefix
from meshlib.model.security import (
    CertificateFiles,
    CertificateValidation,
    RootFile,
    SanMatcher,
    UpstreamTls,
)

LIBRARIES = ("grpc", "grpc.aio")
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
OTHER = "spiffe://other.org/ns/default/sa/reviews"
REFUSED = "Custom verification check failed"


@pytest.fixture(params=LIBRARIES)
def library(request):
    return request.param


@pytest.fixture
def foreign(words):
    """The credentials of a CA that gives no DNS names, as those of Istio and SPIRE."""

    def make(ca, *ids, **bad):
        svid = ca.svid(*ids, dns=(), **bad)
        return words.replace(words.believing(ca, svid=svid), derived_names=False)

    return make


@pytest.fixture
def joined(words):
    def make(credentials):
        member = words.Member(credentials)
        member.runtime.native = NativeResources()
        return member

    return make


@pytest.fixture
def caller(ca, foreign, joined, words):
    return joined(foreign(ca, words.PRODUCTPAGE))


class Stock(grpc.GenericRpcHandler):
    """A server of gRPC alone, that says how it was called."""

    def __init__(self, asked) -> None:
        self._asked = asked

    def service(self, details):
        def answer(_request, context):
            asked = context._rpc_event.call_details.host  # gRPC tells it nowhere else
            self._asked.append(asked.decode())
            found = dict(context.invocation_metadata())
            return ",".join(sorted(found)).encode()

        def stream(_requests, context):
            yield answer(None, context)

        if details.method.endswith("Stream"):
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def stock():
    """Serves with the certificate, and asks for one of these CAs; the port."""
    closing, asked = [], []

    def start(svid, *cas):
        pool = futures.ThreadPoolExecutor(4)
        server = grpc.server(pool, handlers=[Stock(asked)])
        shown = [(svid.private_key, svid.certificate_chain)]
        roots = b"".join(ca.pem for ca in cas) or None
        credentials = grpc.ssl_server_credentials(shown, roots, bool(cas))
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        closing.append((server, pool))
        return port

    start.asked = asked
    yield start
    for server, pool in closing:
        server.stop(0).wait()
        pool.shutdown()


async def played(member, library, shape, words):
    """All messages of a call of this shape."""
    path = "/test.Echo/Stream" if shape == "stream_stream" else "/test.Echo/Say"
    message = iter([b"secret"]) if shape.startswith("stream") else b"secret"
    if library == "grpc":
        with member.grpc.channel(words.HOST) as channel:
            return await asyncio.to_thread(_sync, getattr(channel, shape)(path), message, shape)
    async with member.grpc.aio_channel(words.HOST) as channel:
        made = getattr(channel, shape)(path)(message, timeout=20)
        return [await made] if shape.endswith("unary") else [one async for one in made]


def _sync(call, message, shape):
    made = call(message, timeout=20)
    return [made] if shape.endswith("unary") else list(made)


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_kind_of_call_reaches_a_server_with_a_uri_and_no_dns_name(
    library, shape, serve, ca, foreign, caller, words
):
    reviews = words.Member(foreign(ca, words.REVIEWS))
    reviews.let_in()
    port = await serve(reviews, library)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    heard = await played(caller, library, shape, words)
    assert set(heard) == {words.PRODUCTPAGE.encode()}


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_kind_of_call_says_a_byte_to_somebody_else(
    library, shape, serve, ca, foreign, caller, seen, words
):
    ratings = words.Member(foreign(ca, words.RATINGS))
    ratings.let_in()
    port = await serve(ratings, library)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    with pytest.raises(grpc.RpcError) as refused:
        await played(caller, library, shape, words)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caller.causes == ["CONNECT"]
    assert seen.callers == []


async def test_nothing_of_how_it_was_picked_gets_to_the_server(library, stock, ca, caller, words):
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    [plain] = await played(caller, library, "unary_unary", words)
    assert plain == b"user-agent"


@pytest.mark.parametrize(
    "ids",
    [
        ("spiffe://cluster.local/ns/default/sa/Reviews",),
        ("spiffe://cluster.local/ns/default/sa/reviews/v2",),
        ("spiffe://cluster.local/ns/default/sa/review",),
        ("spiffe://cluster.local/ns/default/sa/reviews", "spiffe://cluster.local/ns/x/sa/y"),
        ("spiffe://cluster.local/ns/x/sa/y", "spiffe://cluster.local/ns/default/sa/reviews"),
        (OTHER,),
        (),
    ],
)
async def test_an_id_is_that_very_id_and_the_only_one(
    library, ids, stock, ca, caller, client, words
):
    dns = () if ids else ("reviews",)
    caller.lead_to(stock(ca.svid(*ids, dns=dns), ca), tls=words.mutual(words.REVIEWS))
    assert "failed to connect" in await client(caller, library).error()
    assert caller.causes == ["CONNECT"]


async def test_other_roots_and_other_times_are_refused(
    library, stock, ca, foreign_ca, caller, client, words
):
    hour = ca.certificate.not_valid_after_utc - ca.certificate.not_valid_before_utc
    bad = (
        foreign_ca.svid(words.REVIEWS, dns=()),
        ca.svid(words.REVIEWS, dns=(), begins=-hour / 24, ends=-hour / 48),
        ca.svid(words.REVIEWS, dns=(), begins=hour / 48, ends=hour / 24),
        ca.svid(dns=("reviews",), subject=words.REVIEWS),
    )
    for svid in bad:
        caller.engine.renew()
        caller.lead_to(stock(svid, ca), tls=words.mutual(words.REVIEWS))
        assert "failed to connect" in await client(caller, library).error()


async def test_a_server_in_plain_text_hears_nothing(library, caller, client, words):
    listening = words.Listening()
    caller.lead_to(listening.port, tls=words.mutual(words.REVIEWS), connect_timeout=0.3)
    await client(caller, library).error()
    listening.close()
    assert b"secret" not in listening.heard
    assert b"PRI * HTTP/2" not in listening.heard


async def test_the_ca_of_one_trust_domain_vouches_for_no_id_of_another(
    library, stock, ca, foreign, joined, client, words
):
    """Both are believed, each of its own alone."""
    other = words.Ca("other.org")
    mine = foreign(ca, words.PRODUCTPAGE)
    both = words.replace(mine, bundles={**mine.bundles, "other.org": other.bundle})
    caller = joined(both)
    caller.lead_to(stock(other.svid(OTHER, dns=()), ca), tls=words.mutual(OTHER), spiffe_id=OTHER)
    assert await client(caller, library).call()
    for liar, said in ((other, words.REVIEWS), (ca, OTHER)):
        caller.engine.renew()
        port = stock(liar.svid(said, dns=()), ca)
        caller.lead_to(port, tls=words.mutual(said), spiffe_id=said)
        assert "failed to connect" in await client(caller, library).error()


async def test_a_federated_server_is_verified_so_by_a_member_of_our_own_ca(
    library, stock, ca, joined, client, words
):
    other = words.Ca("other.org")
    mine = ca.credentials(words.PRODUCTPAGE)
    assert mine.derived_names
    caller = joined(words.replace(mine, bundles={**mine.bundles, "other.org": other.bundle}))
    caller.lead_to(stock(other.svid(OTHER, dns=()), ca), tls=words.mutual(OTHER), spiffe_id=OTHER)
    assert await client(caller, library).call()


async def test_any_of_several_ids_may_answer_where_the_cluster_says_so(
    library, stock, ca, caller, client, words
):
    """As istiod says it: the service accounts of the service, and nothing at the endpoint."""
    tls = words.mutual(words.REVIEWS, words.RATINGS)
    caller.lead_to(stock(ca.svid(words.RATINGS, dns=()), ca), tls=tls, spiffe_id="")
    assert await client(caller, library).call()
    caller.engine.renew()
    caller.lead_to(stock(ca.svid(words.PRODUCTPAGE, dns=()), ca), tls=tls, spiffe_id="")
    assert "failed to connect" in await client(caller, library).error()


async def test_names_that_are_only_alike_are_no_ids_to_verify_by(library, caller, client, words):
    fuzzy = SanMatcher(match=Prefix("spiffe://cluster.local/ns/default/"))
    mutual = words.mutual()
    named = words.replace(mutual.validation, match_subject_alt_names=(fuzzy,))
    caller.lead_to(1, tls=words.replace(mutual, validation=named), spiffe_id="")
    assert "has to know the SPIFFE ids" in await client(caller, library).error()


async def test_a_revoked_id_is_not_called(library, stock, ca, foreign, joined, client, words):
    credentials = foreign(ca, words.PRODUCTPAGE)
    caller = joined(words.replace(credentials, revoked=frozenset({words.REVIEWS})))
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    assert "is revoked" in await client(caller, library).error()


@pytest.fixture
def files(tmp_path):
    def write(ca, svid):
        for name, content in (
            ("chain.pem", svid.certificate_chain),
            ("key.pem", svid.private_key),
            ("roots.pem", ca.pem),
        ):
            (tmp_path / name).write_bytes(content)
            (tmp_path / name).chmod(0o600)
        shown = CertificateFiles(str(tmp_path / "chain.pem"), str(tmp_path / "key.pem"))
        return shown, RootFile(str(tmp_path / "roots.pem"))

    return write


async def test_what_a_cluster_has_in_files_serves_as_well(
    library, files, stock, ca, foreign_ca, joined, client, words
):
    """``DestinationRule`` with ``mode: MUTUAL``, and a SPIFFE id in ``subjectAltNames``."""
    shown, roots = files(ca, ca.svid(words.PRODUCTPAGE, dns=()))
    wanted = (SanMatcher(match=Exact(words.REVIEWS)),)
    validation = CertificateValidation(roots=roots, match_subject_alt_names=wanted)
    bare = joined(None)
    for issuer, goes in ((ca, True), (foreign_ca, False)):
        bare.engine.renew()
        port = stock(issuer.svid(words.REVIEWS, dns=()), ca)
        bare.lead_to(port, tls=UpstreamTls(validation=validation, certificate=shown))
        calling = client(bare, library)
        assert await calling.call() if goes else await calling.error()


async def test_a_caller_without_a_certificate_still_verifies(
    library, files, stock, ca, joined, client, words
):
    _, roots = files(ca, ca.svid(words.PRODUCTPAGE, dns=()))
    wanted = (SanMatcher(match=Exact(words.REVIEWS)),)
    one_sided = UpstreamTls(
        validation=CertificateValidation(roots=roots, match_subject_alt_names=wanted)
    )
    bare = joined(None)
    bare.lead_to(stock(ca.svid(words.REVIEWS, dns=())), tls=one_sided)
    assert await client(bare, library).call()
    bare.engine.renew()
    bare.lead_to(stock(ca.svid(words.RATINGS, dns=())), tls=one_sided)
    assert "failed to connect" in await client(bare, library).error()


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


async def test_the_server_hears_the_name_that_was_called(library, stock, ca, caller, words):
    """With its port, which a channel that compares DNS names cannot say."""
    port = stock(ca.svid(words.REVIEWS, dns=()), ca)
    caller.lead_to(port, tls=words.mutual(words.REVIEWS))
    await played(caller, library, "unary_unary", words)
    assert stock.asked == [words.HOST]


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
