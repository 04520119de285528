"""One authorization service behind Envoy and behind ourselves: asked alike, and obeyed alike."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

import meshlib
from meshlib.model import (
    ROUTER,
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    Exact,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalityLbEndpoints,
    NonForwardingAction,
    Prefix,
    Route,
    RouteConfiguration,
    Static,
    VirtualHost,
    gather,
)
from meshlib.model.authn import ExtAuthz, GrpcAuthorization, HttpAuthorization, RequestBody
from meshlib.testing.envoy import ANYWHERE, bootstrap, http2_cluster, running, socket_address
from meshlib.testing.grpc_servers import aio_serving
from meshlib.testing.http_servers import started
from meshlib.xds.codec.filter_ext_authz import EXT_AUTHZ
from meshlib.xds.codec.wire import packed
from meshlib.xds.ext_authz import METHOD
from meshlib.xds.protos import message_class, to_json

pytestmark = pytest.mark.interop

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
CASE = "x-case"
HOST = "shop.example"
SECONDS = 1.0
"""That the service has to answer in."""

Answer = Callable[[Any], Any]
Pairs = tuple[tuple[str, str], ...]


# --- what the service may answer, in gRPC ---


def option(name: str, value: str, append: bool | None = None, action: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"header": {"key": name, "value": value}}
    if append is not None:
        made["append"] = {"value": append}
    if action:
        made["append_action"] = action
    return made


def allowed(**fields: Any) -> Answer:
    return lambda made: made(status={"code": 0}, ok_response=fields)


def denied(code: int = 7, **fields: Any) -> Answer:
    def answer(made: Any) -> Any:
        return (
            made(status={"code": code}, denied_response=fields)
            if fields
            else made(status={"code": code})
        )

    return answer


@dataclass(frozen=True)
class Case:
    name: str
    answer: Answer | str = field(default_factory=allowed)
    method: str = "GET"
    path: str = "/p"
    headers: Pairs = ()
    body: bytes = b""


CASES = (
    Case("allowed"),
    Case("allowed-with-a-query", path="/p?a=1&b=%20x#", headers=(("x-many", "1"), ("x-many", "2"))),
    Case("a-header-is-set", allowed(headers=[option("x-user", "jason")])),
    Case(
        "a-header-takes-the-place-of-the-callers",
        allowed(headers=[option("x-user", "jason")]),
        headers=(("x-user", "root"), ("x-user", "admin")),
    ),
    Case(
        "a-header-is-set-by-append-false",
        allowed(headers=[option("x-user", "jason", append=False)]),
        headers=(("x-user", "root"),),
    ),
    Case(
        "a-header-is-appended",
        allowed(headers=[option("x-user", "jason", append=True)]),
        headers=(("x-user", "root"),),
    ),
    Case("a-header-is-appended-to-none", allowed(headers=[option("x-user", "j", append=True)])),
    *(
        Case(
            f"a-header-by-{action}-{'there' if sent else 'absent'}".lower(),
            allowed(headers=[option("x-user", "jason", action=action)]),
            headers=sent,
        )
        for action in ("ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
        for sent in ((), (("x-user", "root"),))
    ),
    *(
        Case(
            f"a-response-header-by-{action}".lower(),
            allowed(
                response_headers_to_add=[
                    option("x-from", "authz", action=action),
                    option("x-new", "authz", action=action),
                ]
            ),
        )
        for action in ("ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
    ),
    Case(
        "headers-are-removed",
        allowed(headers_to_remove=["x-secret", "X-Other", "host", ":path"]),
        headers=(("x-secret", "1"), ("x-other", "2"), ("x-kept", "3")),
    ),
    Case(
        "headers-come-with-the-response",
        allowed(response_headers_to_add=[option("x-told", "a"), option("x-from", "authz")]),
    ),
    Case(
        "headers-are-set-in-the-response",
        allowed(response_headers_to_add=[option("x-from", "authz", append=False)]),
    ),
    Case(
        "parameters-are-set-and-removed",
        allowed(
            query_parameters_to_set=[{"key": "user", "value": "jason"}],
            query_parameters_to_remove=["secret"],
        ),
        path="/p?secret=1&a=2",
    ),
    Case("denied", denied()),
    Case("denied-by-another-code", denied(16)),
    Case("denied-with-a-status", denied(status={"code": 401})),
    Case("denied-with-a-body", denied(status={"code": 402}, body="pay first")),
    Case(
        "denied-with-headers",
        denied(
            status={"code": 302},
            headers=[option("location", "/login"), option("x-why", "quota")],
        ),
    ),
    Case(
        "denied-with-two-cookies",
        denied(
            status={"code": 403},
            headers=[
                option("set-cookie", "a=1", append=True),
                option("set-cookie", "b=2", append=True),
            ],
        ),
    ),
    Case(
        "denied-with-a-content-type",
        denied(
            status={"code": 403}, body="{}", headers=[option("content-type", "application/json")]
        ),
    ),
    Case("the-service-breaks", "abort"),
    Case("the-service-is-silent", "silence"),
    Case("a-body-is-shown", method="POST", body=b"hello"),
    Case("a-long-body-is-shown-in-part", method="POST", body=b"x" * 100),
)


# --- what it may answer in HTTP ---


@dataclass(frozen=True)
class HttpCase:
    name: str
    status: int = 200
    told: Pairs = ()
    text: str = ""
    method: str = "GET"
    path: str = "/p"
    headers: Pairs = ()
    body: bytes = b""


HTTP_CASES = (
    HttpCase("allowed"),
    HttpCase(
        "only-some-headers-are-shown",
        path="/p?q=1",
        headers=(("authorization", "Basic x"), ("x-shown", "1"), ("cookie", "c"), ("x-not", "2")),
    ),
    HttpCase(
        "headers-go-on",
        told=(("x-up-user", "jason"), ("x-other", "o"), ("x-down", "d")),
        headers=(("x-up-user", "root"),),
    ),
    HttpCase(
        "headers-are-removed",
        told=(("x-envoy-auth-headers-to-remove", "x-secret, x-other"),),
        headers=(("x-secret", "1"), ("x-other", "2"), ("x-kept", "3")),
    ),
    HttpCase("denied", 403, text="no"),
    HttpCase("denied-with-a-status", 401, told=(("www-authenticate", "Basic"), ("x-other", "o"))),
    HttpCase("sent-elsewhere", 302, told=(("location", "/login"), ("x-down", "d"))),
    HttpCase("the-service-breaks", 503, text="broken"),
    HttpCase("a-success-that-is-not-200", 201),
    HttpCase("a-body-is-shown", method="POST", body=b"hello"),
)


# --- the services, and what they were asked ---


class Services:
    """Both kinds, and the one who is called when they let a request pass."""

    def __init__(self) -> None:
        self.asked: dict[str, list[Any]] = {}
        self.silence = asyncio.Event()
        self.grpc_port = self.http_port = self.upstream_port = 0

    async def check(self, request: Any, context: Any) -> Any:
        http = request.attributes.request.http
        name = http.headers[CASE]
        self.asked.setdefault(name, []).append(shown(request))
        answer = next(case.answer for case in CASES if case.name == name)
        if answer == "abort":
            await context.abort(grpc.StatusCode.INTERNAL, "broken")
        if answer == "silence":
            await self.silence.wait()
        assert callable(answer), answer
        return answer(message_class("envoy.service.auth.v3.CheckResponse"))

    async def check_http(self, request: web.Request) -> web.Response:
        name = request.headers[CASE]
        body = (await request.read()).decode()
        seen = [request.method, request.path_qs, request.host, headers_of(request.headers), body]
        self.asked.setdefault(name, []).append(seen)
        case = next(case for case in HTTP_CASES if case.name == name)
        return web.Response(status=case.status, headers=dict(case.told), text=case.text)


NOT_COMPARED = ("x-request-id", "x-forwarded", "x-envoy", "user-agent", "accept", "content-")
OF_THE_SERVICE = "x-envoy-auth"


def headers_of(headers: Any) -> list[tuple[str, str]]:
    """But for those that Envoy adds of its own."""
    found = [(name.lower(), value) for name, value in headers.items()]
    return sorted(
        pair
        for pair in found
        if pair[0].startswith(OF_THE_SERVICE)
        or not pair[0].startswith((*NOT_COMPARED, "date", "server", "connection", "transfer"))
    )


def shown(request: Any) -> dict[str, Any]:
    told = request.attributes
    http = told.request.http
    return {
        "method": http.method,
        "path": http.path,
        "host": http.host,
        "scheme": http.scheme,
        "protocol": http.protocol,
        "headers": headers_of(http.headers),
        "body": http.body,
        "raw_body": http.raw_body,
        "extensions": dict(told.context_extensions),
        "source": told.source.address.socket_address.address,
        "destination": told.destination.address.socket_address.address,
        "principal": told.source.principal,
    }


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    made = Services()
    check_request = message_class("envoy.service.auth.v3.CheckRequest")

    async def check(request: bytes, context: Any) -> bytes:
        answer = await made.check(check_request.FromString(request), context)
        said: bytes = answer.SerializeToString()
        return said

    runners = [await started(behaviour) for behaviour in (made.check_http, upstream)]
    made.http_port, made.upstream_port = (runner.addresses[0][1] for runner in runners)
    async with aio_serving(METHOD, check) as port:
        made.grpc_port = port
        yield made
        made.silence.set()
    for runner in runners:
        await runner.cleanup()


async def upstream(request: web.Request) -> web.Response:
    """Says what has reached it."""
    body = (await request.read()).decode()
    seen = [request.method, request.raw_path, request.host, headers_of(request.headers), body]
    return web.json_response(seen, headers={"x-from": "upstream"})


# --- the two that ask ---

BODY = RequestBody(max_request_bytes=16, allow_partial_message=True)
ASKS_GRPC = ExtAuthz(
    service=GrpcAuthorization(cluster="authz"),
    timeout=SECONDS,
    status_on_error=503,
    with_request_body=BODY,
)
ASKS_HTTP = ExtAuthz(
    service=HttpAuthorization(
        cluster="authz-http",
        uri="http://authz",
        path_prefix="/check",
        headers_to_add=(("x-added", "yes"),),
        allowed_upstream_headers=(Prefix("x-up-"),),
        allowed_client_headers=(Exact("x-down"),),
        allowed_client_headers_on_success=(Exact("x-down"),),
    ),
    timeout=SECONDS,
    allowed_headers=(Exact("x-shown"), Exact(CASE)),
    with_request_body=BODY,
)


@pytest.fixture
async def ours(services: Services) -> AsyncIterator[tuple[int, int]]:
    ports = []
    with ExitStack() as stack:
        for config in (ASKS_GRPC, ASKS_HTTP):
            mesh = stack.enter_context(meshlib.Mesh(config=[]))
            mesh._runtime.commit(mesh._engine.prepare(member(config, services)))
            runner = await started(upstream, mesh.aiohttp.setup)
            ports.append(runner.addresses[0][1])
            stack.callback(asyncio.get_running_loop().create_task, runner.cleanup())
        yield ports[0], ports[1]


def member(config: ExtAuthz, services: Services) -> Any:
    host = VirtualHost(
        name="here", domains=("*",), routes=(Route(name="all", action=NonForwardingAction()),)
    )
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(HttpFilter(name="authz", config=config), ROUTER),
    )
    ports = {"authz": services.grpc_port, "authz-http": services.http_port}
    clusters = []
    for name, port in ports.items():
        endpoint = Endpoint(address=Address("127.0.0.1", port))
        places = ClusterLoadAssignment(
            cluster_name=name, endpoints=(LocalityLbEndpoints(lb_endpoints=(endpoint,)),)
        )
        clusters.append(Cluster(name=name, discovery=Static(places)))
    return gather(listeners=[Listener(name="inbound", http=http)], clusters=clusters)


@pytest.fixture
async def theirs(envoy: Path, services: Services, tmp_path: Path) -> AsyncIterator[tuple[int, int]]:
    config = bootstrap(
        listeners=[listener("grpc", ASKS_GRPC), listener("http", ASKS_HTTP)],
        clusters=[
            cluster("authz", services.grpc_port, http2=True),
            cluster("authz-http", services.http_port),
            cluster("upstream", services.upstream_port),
        ],
    )
    async with running(envoy, config, tmp_path) as one:
        ports = {name: int(at.split(":")[1]) for name, at in (await one.listeners()).items()}
        yield ports["grpc"], ports["http"]


def cluster(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    made = http2_cluster(name, f"127.0.0.1:{port}")
    if not http2:
        del made["typed_extension_protocol_options"]
    return made


def listener(name: str, config: ExtAuthz) -> dict[str, Any]:
    asks = to_json(packed(EXT_AUTHZ.type_name, EXT_AUTHZ.encode(config)))
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    manager = {
        "@type": f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "here",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "authz", "typed_config": asks},
            {"name": "router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}},
        ],
    }
    http = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    chains = [{"filters": [http]}]
    return {"name": name, "address": socket_address(ANYWHERE), "filter_chains": chains}


async def outcome(session: aiohttp.ClientSession, port: int, case: Case | HttpCase) -> Any:
    """What the caller gets: of a call that was let in, what has reached who was called, too."""
    from yarl import URL

    async with session.request(
        case.method,
        URL(f"http://127.0.0.1:{port}{case.path.rstrip('#')}", encoded=True),
        headers=(("host", HOST), (CASE, case.name), *case.headers),
        data=case.body or None,
        allow_redirects=False,
    ) as answer:
        text = await answer.text()
        kind = answer.headers.get("content-type", "").partition(";")[0] if text else ""
        seen = json.loads(text) if text.startswith("[") else text
        return answer.status, headers_of(answer.headers), kind, seen


@pytest.mark.parametrize("which", [0, 1], ids=["grpc", "http"])
async def test_a_service_is_asked_and_obeyed_as_envoy_does(
    services: Services, ours: tuple[int, int], theirs: tuple[int, int], which: int
) -> None:
    cases: tuple[Case | HttpCase, ...] = HTTP_CASES if which else CASES
    wrong = []
    async with aiohttp.ClientSession(skip_auto_headers=("user-agent", "accept")) as session:
        for case in cases:
            found = [await outcome(session, port, case) for port in (theirs[which], ours[which])]
            asked = services.asked.get(case.name, [])
            if len(asked) != 2 or asked[0] != asked[1]:
                wrong.append(f"{case.name}: asked\n  Envoy {asked[:1]}\n     we {asked[1:]}")
            if json.dumps(found[0]) != json.dumps(found[1]):
                wrong.append(f"{case.name}: obeyed\n  Envoy {found[0]}\n     we {found[1]}")
    assert not wrong, "\n".join(wrong)
