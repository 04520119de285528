"""Envoy as a peer, with certificates that our control plane gives it by SDS over ADS.

Both ways round: a member calls what Envoy stands before, and Envoy calls a member. Who is not the
one that is expected is refused, on either side.
"""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import grpc
import pytest
from aiohttp import web

import meshlib
from meshlib.controlplane import ControlPlane
from meshlib.identity.authority import Authority
from meshlib.identity.slots import Schedule, Stage
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import FolderStore
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
    Rds,
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
    SdsSecret,
    UpstreamTls,
)
from meshlib.testing.envoy import BY_ADS, Envoy, bootstrap, running, stream_to
from meshlib.xds.codec import encode_json

pytestmark = pytest.mark.interop

METHOD = "/bookinfo.Reviews/Get"
CALLER = "productpage"
PORTS = {"reviews": "grpc", "details": "http"}
OWN, ROOTS = SdsSecret("default"), SdsSecret("ROOTCA")


SYSTEM = "istio-system"


def id_of(account, namespace="default"):
    return f"spiffe://cluster.local/ns/{namespace}/sa/{account}"


def expecting(account, roots=ROOTS, namespace="default"):
    san = SanMatcher(match=Exact(id_of(account, namespace)), san_type=SanType.URI)
    return CertificateValidation(roots=roots, match_subject_alt_names=(san,))


# -- the control plane, and what it is told -------------------------------------------------------


@pytest.fixture
async def plane(tmp_path, monkeypatch):
    """Its CA believes this user by a socket, and everybody else by their certificate."""
    local, folder = tmp_path / "ca.sock", tmp_path / "ca"
    monkeypatch.setenv("MESHLIB_CA", f"unix:{local}")
    store = FolderStore(folder)
    store.create()
    schedule = Schedule(propagation=0.0)  # a root is signed with as soon as all who listen have it
    Authority.create(store, TrustDomain("cluster.local"), time.time(), schedule)
    async with ControlPlane([], listen="127.0.0.1:0", ca=folder, ca_socket=local) as made:
        yield made


def manifests(service, port, account):
    """Only productpage may call."""
    spec = {
        "address": "127.0.0.1",
        "serviceAccount": account,
        "ports": {PORTS[service]: port},
        "labels": {"app": service, "security.istio.io/tlsMode": "istio"},
    }
    ports = [{"name": PORTS[service], "port": 9080}]
    source = {"principals": [id_of(CALLER).removeprefix("spiffe://")]}
    return [
        of("v1", "Service", service, {"selector": {"app": service}, "ports": ports}),
        of("networking.istio.io/v1", "WorkloadEntry", service, spec),
        of("security.istio.io/v1", "PeerAuthentication", "all", {"mtls": {"mode": "STRICT"}}),
        of(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            "callers",
            {"action": "ALLOW", "rules": [{"from": [{"source": source}]}]},
        ),
    ]


def of(version, kind, name, spec):
    named = {"name": name, "namespace": "default"}
    return {"apiVersion": version, "kind": kind, "metadata": named, "spec": spec}


# -- Envoy ----------------------------------------------------------------------------------------


async def certificates(envoy):
    """Serials of those that it shows, of whatever secret came last."""
    found = (await envoy.ask("/certs"))["certificates"]
    return {chain["serial_number"] for one in found for chain in one.get("cert_chain", ())}


@pytest.fixture
async def start_envoy(envoy, plane, tmp_path):
    """Envoy beside a workload of that account: what it shows of itself to the control plane is in
    files, as with Istio's agent; all else comes by SDS."""
    async with AsyncExitStack() as stack:

        async def start(account, listener, *clusters) -> Envoy:
            folder = tmp_path / f"envoy-{account}"
            folder.mkdir()
            svid = plane.ca.authority.issue(SpiffeId.parse(id_of(account)), time.time())
            (folder / "chain.pem").write_bytes(svid.certificate_chain)
            (folder / "key.pem").write_bytes(svid.private_key)
            (folder / "roots.pem").write_bytes(plane.ca.authority.bundle().pem)
            made = config(plane.address, folder, account, listener, *clusters)
            return await stack.enter_async_context(running(envoy, made, folder))

        yield start


def config(ads, folder, account, listener, *clusters):
    host, port = ads.split(":")
    shown = CertificateFiles(str(folder / "chain.pem"), str(folder / "key.pem"))
    validation = expecting("meshlib-control-plane", RootFile(str(folder / "roots.pem")), SYSTEM)
    tls = UpstreamTls(certificate=shown, validation=validation, alpn_protocols=("h2",))
    plane = a_cluster("ads", int(port), host=host, http2=True, tls=tls)
    return bootstrap(
        listeners=[encode_json(listener)],
        clusters=[encode_json(one) for one in (plane, *clusters)],
        node={
            "id": f"sidecar~127.0.0.1~{account}.default~default.svc.cluster.local",
            "cluster": f"{account}.default",
            "metadata": {"NAMESPACE": "default", "SERVICE_ACCOUNT": account},
        },
        dynamic_resources={"ads_config": stream_to("ads"), "cds_config": BY_ADS},
    )


def a_listener(tls=None, routes=None):
    if routes is None:
        route = Route(action=RouteAction(cluster="onward", timeout=0.0))
        host = VirtualHost(name="all", domains=("*",), routes=(route,))
        routes = RouteConfiguration(name="all", virtual_hosts=(host,))
    http = HttpConnectionManager(routes=routes, stat_prefix="x")
    return Listener(name="in", http=http, address=Address("127.0.0.1", 0), tls=tls)


def a_cluster(name, port, *, host="127.0.0.1", http2=False, **fields):
    group = LocalityLbEndpoints(lb_endpoints=(Endpoint(address=Address(host, port)),))
    assignment = ClusterLoadAssignment(cluster_name=name, endpoints=(group,))
    options = HttpProtocolOptions(http2=http2)
    return Cluster(name=name, discovery=Static(assignment), http_protocol_options=options, **fields)


# -- a member calls what Envoy stands before ------------------------------------------------------


@pytest.fixture
async def backend():
    """A program without TLS, of each protocol; ``backend(service)`` is its port."""
    heard = []

    async def answer(request):
        heard.append(request.path)
        return web.Response(text="backend")

    async def get(_request, _context):
        heard.append(METHOD)
        return b"backend"

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = grpc.aio.server()
    service, method = METHOD.strip("/").split("/")
    handler = grpc.unary_unary_rpc_method_handler(get)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    ports = {"reviews": server.add_insecure_port("127.0.0.1:0"), "details": site.port}
    await server.start()
    yield ports, heard
    await server.stop(0)
    await runner.cleanup()


@pytest.fixture
async def before(start_envoy, backend, plane, member):
    """Envoy before the service that this kind of member calls; lets productpage in."""

    async def start(account=member.service, told="") -> Envoy:
        tls = DownstreamTls(
            certificate=OWN,
            validation=expecting(CALLER),
            require_client_certificate=True,
            alpn_protocols=("h2", "http/1.1"),
        )
        http2 = member.service == "reviews"
        onward = a_cluster("onward", backend[0][member.service], http2=http2)
        made = await start_envoy(account, a_listener(tls), onward)
        await plane.apply(manifests(member.service, await made.port(), told or account))
        return made

    return start


@asynccontextmanager
async def calling(plane, member, service=CALLER):
    mesh = meshlib.Mesh(service, control_plane=plane.address)
    async with mesh, member(mesh) as call:
        yield call


async def failure(call):
    with pytest.raises((grpc.RpcError, aiohttp.ClientError)) as raised:
        await call()
    return raised.value


async def test_a_member_calls_what_envoy_stands_before(plane, member, before, backend):
    await before()
    async with calling(plane, member) as call:
        assert await call() == "backend"
    assert len(backend[1]) == 1


async def test_envoy_refuses_a_member_that_it_does_not_expect(plane, member, before, backend):
    await before()
    async with calling(plane, member, "ratings") as call:
        await failure(call)
    assert not backend[1]


async def test_a_member_refuses_an_envoy_that_it_does_not_expect(plane, member, before, backend):
    await before(account="ratings", told=member.service)
    async with calling(plane, member) as call:
        await failure(call)
    assert not backend[1]


async def test_a_member_calls_no_envoy_of_who_is_revoked(plane, member, before, backend, until):
    await before()
    async with calling(plane, member) as call:
        await call()
        plane.ca.authority.revoke(id_of(member.service), time.time())

        async def is_refused():
            try:
                await call()
            except (grpc.RpcError, aiohttp.ClientError):
                return True
            return False

        await until(is_refused)
        heard = len(backend[1])
        await failure(call)
        assert len(backend[1]) == heard


# -- Envoy calls a member -------------------------------------------------------------------------


@pytest.fixture(params=["grpc", "aio", "http"])
def kind(request):
    return request.param


@pytest.fixture
async def served(plane, kind):
    """A member that serves in one of three ways, by the account that is asked for; its port, and
    whom it let in."""
    closing, seen = [], []

    async def start(account):
        mesh = meshlib.Mesh(account, control_plane=plane.address)
        service = "details" if kind == "http" else "reviews"
        await plane.apply(manifests(service, 1, account))
        await mesh.__aenter__()
        closing.append(mesh.aclose)
        return await SERVE[kind](mesh, seen, closing)

    yield start, seen
    for close in reversed(closing):
        await close()


async def serve_http(mesh, seen, closing):
    async def answer(request):
        seen.append(meshlib.peer(request).spiffe_id)
        return web.Response(text="member")

    app = web.Application()
    app.router.add_get("/", answer)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    closing.append(runner.cleanup)
    site = mesh.aiohttp.site(runner, "127.0.0.1", 0)
    await site.start()
    return site.port


async def serve_aio(mesh, seen, closing):
    async def get(_request, context):
        seen.append(meshlib.peer(context).spiffe_id)
        return b"member"

    server = grpc.aio.server(interceptors=mesh.grpc.aio_server_interceptors())
    return await begun(mesh, server, get, lambda: server.stop(0), closing)


async def serve_grpc(mesh, seen, closing):
    from concurrent.futures import ThreadPoolExecutor

    def get(_request, context):
        seen.append(meshlib.peer(context).spiffe_id)
        return b"member"

    pool = ThreadPoolExecutor(8)
    server = grpc.server(pool, interceptors=mesh.grpc.server_interceptors())

    async def stop():
        await asyncio.to_thread(server.stop(0).wait)
        pool.shutdown()

    return await begun(mesh, server, get, stop, closing)


async def begun(mesh, server, get, stop, closing):
    service, method = METHOD.strip("/").split("/")
    handler = grpc.unary_unary_rpc_method_handler(get)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    port = await asyncio.to_thread(mesh.grpc.add_port, server, "127.0.0.1:0")
    starting = server.start()
    if starting is not None:
        await starting
    closing.append(stop)
    return port


SERVE = {"grpc": serve_grpc, "aio": serve_aio, "http": serve_http}


@pytest.fixture
async def behind(start_envoy, served, kind, plane):
    """Envoy of a caller, before a member, as our control plane makes it; ``call()`` goes by it."""
    closing = []

    async def start(caller=CALLER, serving="reviews", expected="reviews"):
        service = "details" if kind == "http" else "reviews"
        await plane.apply(manifests(service, await served[0](serving), expected))
        made = await start_envoy(caller, a_listener(routes=Rds("9080")))
        port = await made.port()
        host = f"{service}:9080"
        if kind == "http":
            session = aiohttp.ClientSession(f"http://127.0.0.1:{port}", raise_for_status=True)
            closing.append(session.close)

            async def call():
                async with session.get("/", headers={"host": host}) as response:
                    return await response.text()

        else:
            options = (("grpc.default_authority", host),)
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
            closing.append(channel.close)

            async def call():
                return (await channel.unary_unary(METHOD)(b"", timeout=20)).decode()

        return made, call

    yield start
    for close in closing:
        await close()


async def test_envoy_calls_a_member(behind, served):
    _, call = await behind()
    assert await call() == "member"
    assert served[1] == [id_of(CALLER)]


async def test_a_member_refuses_the_envoy_of_who_may_not_call(behind, served):
    _, call = await behind(caller="ratings")
    error = await failure(call)
    assert told(error) in (403, grpc.StatusCode.PERMISSION_DENIED)
    assert not served[1]


async def test_envoy_refuses_a_member_that_is_another(behind, served):
    _, call = await behind(serving="ratings")
    error = await failure(call)
    assert told(error) in (503, grpc.StatusCode.UNAVAILABLE)
    assert not served[1]


def told(error):
    return error.code() if isinstance(error, grpc.RpcError) else error.status


async def test_a_member_refuses_the_envoy_of_who_is_revoked(behind, served, plane):
    _, call = await behind()
    assert await call() == "member"
    plane.ca.authority.revoke(id_of(CALLER), time.time())
    async with asyncio.timeout(10):
        while True:
            try:
                await call()
            except (grpc.RpcError, aiohttp.ClientError):
                break
    let_in = len(served[1])
    await failure(call)
    assert len(served[1]) == let_in


# -- rotation -------------------------------------------------------------------------------------


def renew_all(plane):
    """What the timer of each stream does at half of a certificate's life."""
    for one in tuple(plane._server._secrets._open):
        one._renew()


async def test_envoys_certificate_is_exchanged_by_sds_and_no_call_fails(behind, plane, load, until):
    envoy, call = await behind()
    async with load(call) as calls:
        for _ in range(3):
            before = await certificates(envoy)
            renew_all(plane)

            async def is_new(before=before):
                return await certificates(envoy) != before

            await until(is_new)
            await calls.more(50)
    assert not calls.failed


async def test_roots_are_exchanged_by_sds_and_no_call_fails(behind, plane, load, until):
    """Prepared, and signed with, while Envoy and the member talk."""
    envoy, call = await behind()
    authority = plane.ca.authority
    async with load(call) as calls:
        before, shown = authority.slots, await certificates(envoy)
        authority.rotate(time.time())

        async def is_active():
            active = next(slot for slot in authority.slots if slot.stage is Stage.ACTIVE)
            return active not in before

        await until(is_active)
        renew_all(plane)

        async def is_new():
            return await certificates(envoy) != shown

        await until(is_new)
        await calls.more(100)
    assert not calls.failed


async def test_envoys_connections_outlive_the_certificates_that_they_began_with(
    behind, plane, load, until, monkeypatch
):
    """It keeps them when it has a new certificate: the server must not turn them away."""
    ca = plane.ca
    short = lambda caller: ca.authority.issue(caller.spiffe_id, time.time(), 2.0)  # noqa: E731
    monkeypatch.setattr(ca, "issue", short)
    envoy, call = await behind()
    end = time.time() + 2.0
    async with load(call) as calls:
        while time.time() < end + 1.0:
            held = await certificates(envoy)
            renew_all(plane)

            async def is_new(held=held):
                return await certificates(envoy) != held

            await until(is_new)
            await calls.more(20)
    assert not calls.failed


async def test_envoy_before_a_service_has_its_certificate_exchanged_under_load(
    before, plane, member, load, until
):
    envoy = await before()
    async with calling(plane, member) as call, load(call) as calls:
        for _ in range(3):
            held = await certificates(envoy)
            renew_all(plane)

            async def is_new(held=held):
                return await certificates(envoy) != held

            await until(is_new)
            await calls.more(50)
    assert not calls.failed
