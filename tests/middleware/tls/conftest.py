"""Members of a mesh with certificates, on loopback ports."""

import asyncio
import datetime as dt
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import replace

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import meshlib
from meshlib.dataplane import CallEnded, Engine, Failure, Options
from meshlib.identity.credentials import Bundle, Credentials, Svid
from meshlib.identity.names import derived_name
from meshlib.identity.sources import StaticSource
from meshlib.middleware._drive import Runtime
from meshlib.middleware.aiohttp import AiohttpHooks
from meshlib.middleware.grpc import GrpcHooks
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    Exact,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    Metadata,
    Route,
    RouteAction,
    RouteConfiguration,
    Struct,
    VirtualHost,
    gather,
)
from meshlib.model.security import (
    CertificateValidation,
    DownstreamTls,
    SanMatcher,
    SanType,
    SdsSecret,
    TransportSocketMatch,
    UpstreamTls,
)

HOST = "reviews:9080"
REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
RATINGS = "spiffe://cluster.local/ns/default/sa/ratings"
PRODUCTPAGE = "spiffe://cluster.local/ns/default/sa/productpage"
HOUR = dt.timedelta(hours=1)
ECHO = "/test.Echo/Say"


class Ca:
    """Makes any certificate that it is asked for, bad ones too."""

    def __init__(self, trust_domain: str = "cluster.local") -> None:
        self.trust_domain = trust_domain
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{trust_domain} {id(self):x}")
        self.name = x509.Name([name])
        usage = _usage(signs=True)
        uri = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
        made = _builder(self.name, self.name, self.key.public_key(), -HOUR, 24 * HOUR)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        made = made.add_extension(usage, critical=True)
        made = made.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        self.certificate = made.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def bundle(self) -> Bundle:
        return Bundle(trust_domain=self.trust_domain, roots=(self.pem,))

    def svid(
        self,
        *uris: str,
        dns: tuple[str, ...] | None = None,
        ca: bool = False,
        begins: dt.timedelta = -HOUR,
        ends: dt.timedelta = HOUR,
        subject: str = "",
    ) -> Svid:
        key = ec.generate_private_key(ec.SECP256R1())
        names = derived(uris) if dns is None else dns
        sans = [
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
            *(x509.DNSName(name) for name in names),
        ]
        held = [x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else []
        made = _builder(x509.Name(held), self.name, key.public_key(), begins, ends)
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        made = made.add_extension(_usage(signs=ca), critical=True)
        made = made.add_extension(x509.SubjectAlternativeName(sans), critical=True)
        both = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
        made = made.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        leaf = made.sign(self.key, hashes.SHA256())
        return Svid(
            spiffe_id=uris[0] if uris else "",
            certificate_chain=leaf.public_bytes(serialization.Encoding.PEM),
            private_key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            serial=leaf.serial_number,
        )

    def credentials(self, *uris: str, **bad) -> Credentials:
        svid = self.svid(*uris, **bad) if uris else None
        return believing(self, svid=svid)


def believing(*cas: Ca, svid: Svid | None = None) -> Credentials:
    bundles = {ca.trust_domain: ca.bundle for ca in cas}
    return Credentials(svid=svid, bundles=bundles, derived_names=True)


def derived(uris: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(derived_name(uri) for uri in uris if uri.startswith("spiffe://"))


def _builder(subject, issuer, key, begins, ends):
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


MUTUAL = DownstreamTls(
    certificate=SdsSecret("default"),
    validation=CertificateValidation(roots=SdsSecret("ROOTCA")),
    require_client_certificate=True,
)


def uri(value: str) -> SanMatcher:
    return SanMatcher(match=Exact(value), san_type=SanType.URI)


def mutual(*ids: str) -> UpstreamTls:
    return UpstreamTls(
        certificate=SdsSecret("default"),
        validation=CertificateValidation(
            roots=SdsSecret("ROOTCA"), match_subject_alt_names=tuple(map(uri, ids))
        ),
        sni="outbound_.9080_._.reviews.default.svc.cluster.local",
        alpn_protocols=("istio",),
    )


class Member:
    """One member of the mesh: clients and servers."""

    def __init__(self, credentials: Credentials | None = None, *, mtls: str = "auto") -> None:
        self.ended: list[CallEnded] = []
        self.source = StaticSource(credentials) if credentials is not None else None
        self.engine = Engine(
            clock=time.monotonic,
            dice=random.Random(7).random,
            observe=self._hear,
            options=Options(complete=True, wall=time.time),
        )
        self.runtime = Runtime(self.engine, clock=time.monotonic, sleep=time.sleep)
        self.runtime.credentials = self.source
        self.runtime.mtls = mtls
        self.grpc = GrpcHooks(self.runtime)
        self.aiohttp = AiohttpHooks(self.runtime)

    def _hear(self, event) -> None:
        if isinstance(event, CallEnded):
            self.ended.append(event)

    @property
    def causes(self) -> list[str]:
        outcomes = [end.outcome for end in self.ended]
        return [one.cause.name if isinstance(one, Failure) else "" for one in outcomes]

    def lead_to(self, *ports: int, tls: UpstreamTls | None, spiffe_id: str = REVIEWS, **cluster):
        """``reviews:9080`` has these endpoints, for which that is said to answer."""
        said = (("spiffe_id", spiffe_id),) if spiffe_id else ()
        metadata = Metadata(
            (
                ("envoy.transport_socket_match", Struct((("tlsMode", "istio"),))),
                ("meshlib", Struct(said)),
            )
        )
        group = LocalityLbEndpoints(
            lb_endpoints=tuple(
                Endpoint(address=Address("127.0.0.1", port), metadata=metadata) for port in ports
            )
        )
        matches = (
            TransportSocketMatch(
                name="tlsMode-istio", match=Struct((("tlsMode", "istio"),)), tls=tls
            ),
            TransportSocketMatch(name="tlsMode-disabled"),
        )
        cluster = {"transport_socket_matches": matches, **cluster}
        self._apply(
            listeners=[_leading(HOST)],
            clusters=[Cluster(name="reviews", **cluster)],
            endpoints=[ClusterLoadAssignment(cluster_name="reviews", endpoints=(group,))],
        )

    def let_in(self, *, tls: DownstreamTls | None = MUTUAL, plaintext: bool = False) -> None:
        """What PeerAuthentication says: STRICT, unless it is said otherwise."""
        http = HttpConnectionManager(routes=RouteConfiguration(name="in", virtual_hosts=(_all(),)))
        address = Address("0.0.0.0", 9080)
        inbound = Listener(name="inbound", http=http, address=address, tls=tls, plaintext=plaintext)
        self._apply(listeners=[inbound])

    def _apply(self, **resources) -> None:
        self.runtime.commit(self.engine.prepare(gather(**resources)))

    def rotate(self, credentials: Credentials) -> None:
        self.source.put(credentials)


def _leading(name: str) -> Listener:
    action = RouteAction(cluster="reviews", timeout=0.0)
    host = VirtualHost(name="all", domains=("*",), routes=(Route(action=action),))
    table = RouteConfiguration(name=name, virtual_hosts=(host,))
    return Listener(name=name, http=HttpConnectionManager(routes=table))


def _all() -> VirtualHost:
    from meshlib.model import NonForwardingAction

    return VirtualHost(name="all", domains=("*",), routes=(Route(action=NonForwardingAction()),))


class Seen:
    """What got as far as the application."""

    def __init__(self) -> None:
        self.callers: list[str] = []


def _answer(seen: Seen, context) -> bytes:
    caller = meshlib.peer(context)
    seen.callers.append(caller.spiffe_id)
    return caller.spiffe_id.encode() or b"nobody"


class Echo(grpc.GenericRpcHandler):
    def __init__(self, seen: Seen, *, awaited: bool) -> None:
        def answer(_request, context):
            return _answer(seen, context)

        async def aanswer(_request, context):
            return _answer(seen, context)

        def stream(_requests, context):
            yield _answer(seen, context)
            yield _answer(seen, context)

        async def astream(_requests, context):
            yield _answer(seen, context)
            yield _answer(seen, context)

        self._unary = grpc.unary_unary_rpc_method_handler(aanswer if awaited else answer)
        self._stream = grpc.stream_stream_rpc_method_handler(astream if awaited else stream)

    def service(self, details):
        return self._stream if details.method.endswith("Stream") else self._unary


@pytest.fixture(scope="session")
def ca() -> Ca:
    return Ca()


@pytest.fixture(scope="session")
def foreign_ca() -> Ca:
    """Of the same name: only its key tells it apart."""
    return Ca()


@pytest.fixture
def reviews(ca) -> Member:
    """Lets in who has a certificate."""
    member = Member(ca.credentials(REVIEWS))
    member.let_in()
    return member


@pytest.fixture
def productpage(ca) -> Member:
    return Member(ca.credentials(PRODUCTPAGE))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def serve(seen):
    """Serve as a member, in one of three ways; gives the port."""
    closing = []

    async def start(member: Member, kind: str, **more) -> int:
        if kind == "aiohttp":
            return await _serve_aiohttp(member, seen, closing)
        port, close = await _serve_grpc(member, seen, kind, **more)
        closing.append(close)
        return port

    yield start
    for close in reversed(closing):
        await close()


async def _serve_grpc(member, seen, kind, *, address="127.0.0.1:0", **more):
    if kind == "grpc.aio":
        server = grpc.aio.server(interceptors=member.grpc.aio_server_interceptors())
        server.add_generic_rpc_handlers((Echo(seen, awaited=True),))
        port = member.grpc.add_port(server, address, **more)
        await server.start()
        return port, lambda: server.stop(0)
    pool = futures.ThreadPoolExecutor(8)
    server = grpc.server(pool, interceptors=member.grpc.server_interceptors())
    server.add_generic_rpc_handlers((Echo(seen, awaited=False),))
    port = member.grpc.add_port(server, address, **more)
    server.start()

    async def stop() -> None:
        await asyncio.to_thread(server.stop(0).wait)
        pool.shutdown()

    return port, stop


async def _serve_aiohttp(member, seen, closing) -> int:
    async def handler(request):
        await request.read()
        return web.Response(body=_answer(seen, request))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    member.aiohttp.setup(app)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    closing.append(runner.cleanup)
    site = member.aiohttp.site(runner, "127.0.0.1", 0)
    await site.start()
    return site.port


KINDS = ("grpc", "grpc.aio", "aiohttp")


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


class Client:
    """Calls of one member by one library; who the server said calls, or the error."""

    def __init__(self, member: Member, kind: str) -> None:
        self.member = member
        self.kind = kind
        self._session: aiohttp.ClientSession | None = None
        self._channel = None

    async def call(self) -> str:
        if self.kind == "aiohttp":
            if self._session is None:
                self._session = self.member.aiohttp.session()
            async with self._session.get(f"http://{HOST}/", data=b"secret") as response:
                response.raise_for_status()
                return await response.text()
        if self.kind == "grpc.aio":
            if self._channel is None:
                self._channel = self.member.grpc.aio_channel(HOST)
            return (await self._channel.unary_unary(ECHO)(b"secret", timeout=20)).decode()
        if self._channel is None:
            self._channel = self.member.grpc.channel(HOST)
        call = self._channel.unary_unary(ECHO)
        return (await asyncio.to_thread(call, b"secret", timeout=20)).decode()

    async def error(self) -> str:
        """What a call that must fail says."""
        with pytest.raises((grpc.RpcError, aiohttp.ClientError)) as raised:
            await self.call()
        return str(raised.value)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._channel is not None:
            closing = self._channel.close()
            if closing is not None:
                await closing


@pytest.fixture
async def client():
    made = []

    def make(member: Member, kind: str) -> Client:
        made.append(Client(member, kind))
        return made[-1]

    yield make
    for one in made:
        await one.close()


class Listening:
    """A bare socket that notes what it is sent in the clear."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.heard = bytearray()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                while more := connection.recv(4096):
                    self.heard += more

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def eventually():
    async def wait(condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def words():
    """What the tests are made of."""

    class Words:
        pass

    found = Words()
    found.__dict__.update(
        Ca=Ca,
        Client=Client,
        Echo=Echo,
        Listening=Listening,
        Member=Member,
        MUTUAL=MUTUAL,
        PRODUCTPAGE=PRODUCTPAGE,
        RATINGS=RATINGS,
        REVIEWS=REVIEWS,
        HOST=HOST,
        believing=believing,
        mutual=mutual,
        replace=replace,
        uri=uri,
    )
    return found


@pytest.fixture
def callers(productpage, words, client):
    """One with a certificate and one without."""

    def make(port, kind):
        productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
        plain = words.Member()
        plain.lead_to(port, tls=None)
        return client(productpage, kind), client(plain, kind)

    return make
