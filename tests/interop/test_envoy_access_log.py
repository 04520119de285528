"""The same calls, by Envoy and by ourselves, with the same formats: the same lines."""

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
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
    ClusterHeader,
    ClusterLoadAssignment,
    DirectResponseAction,
    Endpoint,
    Exact,
    Fault,
    FaultAbort,
    FaultDelay,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    HttpConnectionManager,
    HttpFilter,
    HttpProtocolOptions,
    Listener,
    LocalityLbEndpoints,
    Metadata,
    NonForwardingAction,
    PathPrefix,
    Percentage,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Static,
    Struct,
    VirtualCluster,
    VirtualHost,
    gather,
)
from meshlib.model.log_format import ISTIO_FORMAT
from meshlib.model.rbac import AnyRule, HeaderRule, Policy, Rbac, RbacAction, RbacRules
from meshlib.model.telemetry import AccessLog, FileAccessLog
from meshlib.telemetry import access_log
from meshlib.xds.codec import encode_json

pytestmark = pytest.mark.interop

HOST = "shop.example:8000"
CASE = "x-case"
ALWAYS = Percentage(numerator=100)
METHODS = ("Get", "Fail", "Missing")
NOTE = Metadata((("note", Struct((("deep", Struct((("b", True), ("s", "x y")))), ("n", 5.0)))),))

SAME = (
    *("ACCESS_LOG_TYPE", "BYTES_RECEIVED", "BYTES_SENT", "CEL(request.path)", "HOSTNAME"),
    *("CEL(response.code + 1)", "CEL(request.headers['x-none'])", "CEL(request.method == 'GET')"),
    *("CONNECTION_TERMINATION_DETAILS", "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_PEER_SUBJECT"),
    *("DYNAMIC_METADATA(note)", "ENVIRONMENT(NOBODY_SET_THIS)", "ENVIRONMENT(PATH):4"),
    *("GRPC_STATUS", "GRPC_STATUS(NUMBER)", "GRPC_STATUS(SNAKE_STRING)", "GRPC_STATUS_NUMBER"),
    *("METADATA(ROUTE:note)", "METADATA(ROUTE:note:deep:s)", "METADATA(ROUTE:note:n)"),
    *("METADATA(CLUSTER:note:n)", "CLUSTER_METADATA(note:n)", "UPSTREAM_METADATA(note:n)"),
    *("METADATA(UPSTREAM_HOST:note:n)", "PROTOCOL", "REQ(:METHOD)", "REQ(:AUTHORITY)"),
    *("REQ(:PATH)", "REQ(:SCHEME)", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "REQ(X-ADDED)"),
    *("REQ(X-CASE):3", "REQ(X-NONE)", "REQ(X-WORDS)", "REQ(USER-AGENT)", "REQ(HOST)"),
    *("REQUESTED_SERVER_NAME", "REQ_WITHOUT_QUERY(:PATH)", "RESP(LOCATION)", "RESP(X-FROM)"),
    *("RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)"),
    *("RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "RESP(X-ADDED)", "ROUTE_NAME", "STREAM_ID"),
    *("TRAILER(X-NONE)", "TRACE_ID", "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW"),
    *("UPSTREAM_HOST", "UPSTREAM_PROTOCOL", "UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_PORT"),
    *("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "UPSTREAM_REQUEST_ATTEMPT_COUNT"),
    *("UPSTREAM_TRANSPORT_FAILURE_REASON", "VIRTUAL_CLUSTER_NAME"),
)
TIMES = (
    *("DURATION", "REQUEST_DURATION", "REQUEST_TX_DURATION", "RESPONSE_DURATION"),
    *("RESPONSE_TX_DURATION", "COMMON_DURATION(DS_RX_BEG:DS_TX_END)", "START_TIME"),
    *("RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "START_TIME(%s.%3f)"),
)
"""Of these only the form can be the same."""
OTHERWISE = {
    "DOWNSTREAM_REMOTE_ADDRESS": "calls begin in the program itself",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "as above",
    "DOWNSTREAM_LOCAL_ADDRESS": "as above",
    "UPSTREAM_LOCAL_ADDRESS": "the libraries tell nobody of their ports",
}
"""What cannot be the same of any call, and why."""
AGENT = {"REQ(USER-AGENT)": "gRPC's library says it after us"}
STATUS = ("GRPC_STATUS", "GRPC_STATUS(NUMBER)", "GRPC_STATUS(SNAKE_STRING)", "GRPC_STATUS_NUMBER")
TEXTLESS = {"BYTES_SENT": "our callers get an exception, and no text beside it"}
UNAVAILABLE = dict.fromkeys(STATUS, "to gRPC's clients no route is UNAVAILABLE (gRFC A28)")
DEADLINE = dict.fromkeys(STATUS, "to gRPC's clients a time that is over is DEADLINE_EXCEEDED")


EARLY = dict.fromkeys(
    ("REQUEST_DURATION", "COMMON_DURATION(DS_RX_BEG:DS_TX_END)"),
    "Envoy may answer a stream before it has its end",
)


def except_of(case: str) -> dict[str, str]:
    """What cannot be the same of this call, and why."""
    agent = AGENT if case.startswith("grpc-") else {}
    return agent | {
        "late": TEXTLESS,
        "each-try-late": TEXTLESS,
        "nobody-there": TEXTLESS,
        "nobody-there-twice": TEXTLESS,
        "no-endpoint": TEXTLESS,
        "broken-off": TEXTLESS,
        "grpc-no-route": UNAVAILABLE | EARLY,
        "grpc-aborted": EARLY,
        "grpc-late": DEADLINE,
    }.get(case, {})


WITHOUT_QUERY = {
    "name": "envoy.formatter.req_without_query",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.formatter."
        "req_without_query.v3.ReqWithoutQuery"
    },
}

OPERATORS = (*SAME, *TIMES, *OTHERWISE)
FORMAT = Struct(tuple(sorted((name, f"%{name}%") for name in OPERATORS)))
TEXT = f"%REQ({CASE})% | " + " | ".join(f"%{name}%" for name in OPERATORS) + "\n"
NESTED = Struct(
    (
        ("case", f"%REQ({CASE})%"),
        ("list", ("%RESPONSE_CODE%", "%REQ(X-NONE)%", 7.0, 1.5, "plain", "%REQ(X-NONE)%!")),
        ("of", Struct((("flags", "%RESPONSE_FLAGS%"), ("none", "%TRACE_ID%")))),
        ("words", "<%REQ(X-WORDS)%>"),
    )
)


@dataclass(frozen=True)
class Case:
    name: str
    path: str = "/ok"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


CASES = (
    Case("ok"),
    Case("a-query", "/ok?page=2&x=%20y"),
    Case("words", headers=(("x-words", 'a "b" \\ {c} %d ~'),)),
    Case("a-body", "/ok", "POST", body=b"eight by"),
    Case("a-head", "/ok", "HEAD"),
    Case("not-there", "/ok/missing"),
    Case("no-route", "/nowhere"),
    Case("direct", "/direct"),
    Case("direct-empty", "/silent"),
    Case("redirect", "/redirect?a=1"),
    Case("rewritten", "/rewrite/a?b=1"),
    Case("changed", "/change"),
    Case("named", "/ok", headers=(("x-named", "yes"),)),
    Case("retried-in-vain", "/retry/fail"),
    Case("retried-well", "/retry/second"),
    Case("late", "/late/slow"),
    Case("each-try-late", "/tries/slow"),
    Case("nobody-there", "/dead"),
    Case("nobody-there-twice", "/dead-again"),
    Case("no-endpoint", "/empty"),
    Case("no-cluster", "/named", headers=(("x-cluster", "nobody"),)),
    Case("aborted", "/ok", headers=(("x-envoy-fault-abort-request", "555"),)),
    Case("delayed", "/ok", headers=(("x-envoy-fault-delay-request", "30"),)),
    Case("broken-off", "/ok/reset"),
)
GRPC_CASES = (
    Case("grpc-ok", "/shop.Shop/Get", body=b"12345"),
    Case("grpc-failed", "/shop.Shop/Fail"),
    Case("grpc-unimplemented", "/shop.Shop/Missing"),
    Case("grpc-no-route", "/none.None/Get"),
    Case("grpc-nobody-there", "/dead.Dead/Get"),
    Case("grpc-aborted", "/shop.Shop/Get", headers=(("x-envoy-fault-abort-grpc-request", "7"),)),
    Case("grpc-late", "/late.Late/Get"),
)


# --- what is called ---


def retry(on: str, **more: Any) -> RetryPolicy:
    return RetryPolicy(retry_on=(on,), **more)


def to(path: str, cluster: Any, name: str, /, **action: Any) -> Route:
    return Route(
        name=name,
        match=RouteMatch(path=PathPrefix(path)),
        action=RouteAction(cluster=cluster, **action),
        metadata=NOTE if name == "ok" else Metadata(),
    )


ROUTES = (
    to("/shop.Shop", "grpc", "shop"),
    to("/late.Late", "grpc", "grpc-late", timeout=0.2),
    to("/ok", "up", "ok"),
    to("/rewrite", "up", "rewrite", prefix_rewrite="/ok"),
    to("/retry", "up", "retry", retry_policy=retry("5xx", num_retries=2)),
    to("/late", "up", "late", timeout=0.2),
    to("/tries", "up", "tries", timeout=0.0, retry_policy=retry("5xx", per_try_timeout=0.15)),
    to("/dead.Dead", "dead", "grpc-dead"),
    to("/dead-again", "dead", "again", retry_policy=retry("connect-failure")),
    to("/dead", "dead", "dead"),
    to("/empty", "empty", "empty"),
    to("/named", ClusterHeader("x-cluster"), "named"),
    replace(
        to("/change", "up", "change", prefix_rewrite="/ok"),
        headers=HeaderMutations(
            request_headers_to_add=(HeaderValueOption(name="x-added", value="%REQ(x-case)%"),),
            response_headers_to_add=(HeaderValueOption(name="x-added", value="%PROTOCOL%"),),
        ),
    ),
    Route(
        name="direct",
        match=RouteMatch(path=PathPrefix("/direct")),
        action=DirectResponseAction(status=418, body=b"teapot"),
    ),
    Route(
        name="silent",
        match=RouteMatch(path=PathPrefix("/silent")),
        action=DirectResponseAction(status=403),
    ),
    Route(
        name="redirect",
        match=RouteMatch(path=PathPrefix("/redirect")),
        action=RedirectAction(path_redirect="/there"),
    ),
)
NAMED = VirtualCluster(name="vip", headers=(HeaderMatcher(name="x-named", match=Exact("yes")),))
FAULT = Fault(
    delay=FaultDelay(fixed_delay=None, percentage=ALWAYS),
    abort=FaultAbort(percentage=ALWAYS),
)


def listener(folder: Path) -> Listener:
    logs = (
        FileAccessLog(path=str(folder / "fields"), json=FORMAT),
        FileAccessLog(path=str(folder / "omitted"), json=NESTED, omit_empty_values=True),
        FileAccessLog(path=str(folder / "nested"), json=NESTED),
        FileAccessLog(path=str(folder / "text"), text=TEXT),
        FileAccessLog(path=str(folder / "text-omitted"), text=TEXT, omit_empty_values=True),
        FileAccessLog(path=str(folder / "istio"), text=f"%REQ({CASE})% {ISTIO_FORMAT}"),
        FileAccessLog(path=str(folder / "envoy")),
    )
    host = VirtualHost(name="all", domains=("*",), routes=ROUTES, virtual_clusters=(NAMED,))
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="shop", virtual_hosts=(host,)),
        http_filters=(HttpFilter(name="fault", config=FAULT), ROUTER),
        access_log=tuple(AccessLog(name="envoy.access_loggers.file", config=log) for log in logs),
    )
    return Listener(name=HOST, http=http)


def clusters(ports: dict[str, int]) -> list[Cluster]:
    return [cluster(name, port) for name, port in ports.items()]


def cluster(name: str, port: int) -> Cluster:
    there = (Endpoint(address=Address("127.0.0.1", port), metadata=NOTE),) if port else ()
    assignment = ClusterLoadAssignment(
        cluster_name=name, endpoints=(LocalityLbEndpoints(lb_endpoints=there),)
    )
    return Cluster(
        name=name,
        discovery=Static(assignment),
        http_protocol_options=HttpProtocolOptions(http2=name == "grpc"),
        metadata=NOTE,
    )


async def upstream(request: web.Request) -> web.StreamResponse:
    seen: dict[str, int] = request.app[SEEN]
    body = await request.read()
    match request.path.rpartition("/")[2]:
        case "missing":
            return web.Response(status=404, text="not here")
        case "fail":
            return web.Response(status=503, text="fail")
        case "second":
            seen["second"] = seen.get("second", 0) + 1
            return web.Response(status=200 if seen["second"] % 2 == 0 else 503)
        case "slow":
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(request.app[OVER].wait(), 10)
            return web.Response()
        case "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
    return web.Response(text=f"hello {len(body)}", headers={"x-from": "upstream"})


SEEN = web.AppKey("seen", dict)
OVER = web.AppKey("over", asyncio.Event)


@pytest.fixture
async def over() -> AsyncIterator[asyncio.Event]:
    """Those who are slow wait for it."""
    event = asyncio.Event()
    yield event
    event.set()


@pytest.fixture
async def ports(over: asyncio.Event) -> AsyncIterator[dict[str, int]]:
    async with http_server(over) as http, grpc_server(over) as grpc_port:
        with free_port() as dead:
            yield {"up": http, "dead": dead, "empty": 0, "grpc": grpc_port}
            over.set()


@asynccontextmanager
async def http_server(
    over: asyncio.Event, setup: Callable[[web.Application], None] | None = None
) -> AsyncIterator[int]:
    app = web.Application()
    app[SEEN], app[OVER] = {}, over
    app.router.add_route("*", "/{path:.*}", upstream)
    if setup is not None:
        setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def grpc_server(over: asyncio.Event, interceptors: Any = ()) -> AsyncIterator[int]:
    async def get(request: bytes, context: Any) -> bytes:
        return b"got " + request

    async def fail(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such book")
        raise AssertionError

    async def wait(request: bytes, context: Any) -> bytes:
        await over.wait()
        return b""

    unary = grpc.unary_unary_rpc_method_handler
    server = grpc.aio.server(interceptors=interceptors)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "shop.Shop", {"Get": unary(get), "Fail": unary(fail)}
            ),
            grpc.method_handlers_generic_handler("late.Late", {"Get": unary(wait)}),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@contextmanager
def free_port() -> Iterator[int]:
    """Where nobody listens, and nobody else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# --- who calls ---


def headers_of(number: int, case: Case) -> dict[str, str]:
    request_id = f"0000{number:04x}-0000-4000-8000-000000000000"
    told = {CASE: case.name, "x-request-id": request_id, "user-agent": "tests/1.0"}
    return told | dict(case.headers)


async def call_http(
    session: aiohttp.ClientSession, base: str, cases: Sequence[Case] = CASES
) -> None:
    for number, case in enumerate(cases):
        with suppress(aiohttp.ClientError, asyncio.TimeoutError):
            async with session.request(
                case.method,
                base + case.path,
                headers=headers_of(number, case) | {"host": HOST},
                data=case.body or None,
                allow_redirects=False,
            ) as answer:
                await answer.read()


async def call_grpc(channel: grpc.aio.Channel, cases: Sequence[Case] = GRPC_CASES) -> None:
    for number, case in enumerate(cases):
        told = headers_of(number, case)
        told.pop("user-agent")
        with suppress(grpc.RpcError):
            await channel.unary_unary(case.path)(case.body, metadata=tuple(told.items()))


@pytest.fixture
async def ours(ports: dict[str, int], tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    with meshlib.Mesh(config=[]) as mesh:
        snapshot = gather(listeners=[listener(folder)], clusters=clusters(ports))
        mesh._runtime.commit(mesh._engine.prepare(snapshot))
        async with mesh.aiohttp.session() as session:
            await call_http(session, f"http://{HOST}")
        async with mesh.grpc.aio_channel(HOST) as channel:
            await call_grpc(channel)
        access_log.flush()
    return folder


@pytest.fixture
async def theirs(envoy: Path, ports: dict[str, int], tmp_path: Path, until: Any) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    with free_port() as port:
        pass
    listening = replace(listener(folder), address=Address("127.0.0.1", port))
    documents = [formatted(encode_json(listening))], list(map(encode_json, clusters(ports)))
    async with running(envoy, *documents, tmp_path, until) as is_there:
        await is_there(port)
        async with aiohttp.ClientSession() as session:
            await call_http(session, f"http://127.0.0.1:{port}")
        async with plain_channel(port) as channel:
            await call_grpc(channel)
        lines = len(CASES) + len(GRPC_CASES)
        await until(lambda: has_lines(folder / "envoy", lines))
    return folder


def plain_channel(port: int) -> grpc.aio.Channel:
    authority = (("grpc.default_authority", HOST),)
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=authority)


@asynccontextmanager
async def running(
    envoy: Path, listeners: list[Any], clusters: list[Any], folder: Path, until: Any
) -> AsyncIterator[Callable[[int], Awaitable[Any]]]:
    """Wait by what is given until it listens there."""
    config = {
        "static_resources": {
            kind: [{k: v for k, v in each.items() if k != "@type"} for each in some]
            for kind, some in (("listeners", listeners), ("clusters", clusters))
        }
    }
    written, log = folder / "envoy.json", folder / "envoy.log"
    written.write_text(json.dumps(config))
    process = spawn(envoy, "-c", written, "--log-path", log)
    try:
        yield lambda port: until(lambda: listens(port, process, log))
    finally:
        process.terminate()
        process.wait(10)
        print(log.read_text())


def formatted(document: Any) -> Any:
    """Envoy has one of the operators by an extension only."""
    manager = document["filter_chains"][0]["filters"][0]["typed_config"]
    for log in manager["access_log"]:
        if "log_format" in log["typed_config"]:
            log["typed_config"]["log_format"]["formatters"] = [WITHOUT_QUERY]
    return document


def spawn(envoy: Path, *arguments: object) -> subprocess.Popen[bytes]:
    quiet = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    flush = ("--file-flush-interval-msec", "20")
    return subprocess.Popen(
        [envoy, *map(str, arguments), *quiet, *flush], stderr=subprocess.DEVNULL
    )


async def listens(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, text_of(log)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def has_lines(path: Path, lines: int) -> bool:
    return len(text_of(path).splitlines()) >= lines


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


# --- what was written ---


def read(folder: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "fields").read_text().splitlines()]
    names = [case.name for case in (*CASES, *GRPC_CASES)]
    assert len(rows) == len(names)
    return dict(zip(names, rows, strict=True))


async def test_lines_are_envoys_own(ours: Path, theirs: Path) -> None:
    mine, envoys = read(ours), read(theirs)
    wrong = [
        f"{case}: %{name}%: Envoy {envoys[case][name]!r}, we {mine[case][name]!r}"
        for case in envoys
        for name in SAME
        if envoys[case][name] != mine[case][name] and name not in except_of(case)
    ]
    assert not wrong, "\n".join(wrong)


async def test_times_have_the_same_form_and_a_plausible_order(ours: Path, theirs: Path) -> None:
    all_of_envoys, wrong = read(theirs), []
    for case, mine in read(ours).items():
        envoys = all_of_envoys[case]
        wrong += [
            f"{case}: %{name}%: Envoy {envoys[name]!r}, we {mine[name]!r}"
            for name in TIMES
            if name not in except_of(case) and type(mine[name]) is not type(envoys[name])
        ]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", mine["START_TIME"])
        assert re.fullmatch(r"\d{10}\.\d{3}", mine["START_TIME(%s.%3f)"])
        parts = ("REQUEST_DURATION", "REQUEST_TX_DURATION", "RESPONSE_DURATION", "DURATION")
        told = [mine[name] for name in parts if mine[name] is not None]
        assert told == sorted(told), case
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", ["nested", "omitted"])
async def test_json_lines_are_envoys_own(ours: Path, theirs: Path, file: str) -> None:
    assert (ours / file).read_text() == (theirs / file).read_text()


@pytest.mark.parametrize("file", ["text", "text-omitted"])
async def test_texts_are_envoys_own(ours: Path, theirs: Path, file: str) -> None:
    mine, envoys = (texts(folder / file) for folder in (ours, theirs))
    assert mine == envoys


def texts(path: Path) -> list[dict[str, str]]:
    """The fields of each line that have to be the same."""
    found = []
    for line in path.read_text().splitlines():
        case, *fields = line.split(" | ")
        told = dict(zip(OPERATORS, fields, strict=True))
        found.append({n: told[n] for n in SAME if n not in except_of(case)} | {"case": case})
    return found


ISTIO_FIELDS = re.compile(
    r'(?P<case>\S+) \[[^]]+\] "(?P<first>[^"]*)" (?P<code>\d+) (?P<flags>\S+) (?P<details>\S+) '
    r'(?P<ended>\S+) "(?P<failure>[^"]*)" (?P<received>\d+) (?P<sent>\d+) \d+ (?:\d+|-) '
    r'"(?P<xff>[^"]*)" "(?P<agent>[^"]*)" "(?P<id>[^"]*)" "(?P<authority>[^"]*)" '
    r'"(?P<host>[^"]*)" (?P<cluster>\S+) \S+ \S+ \S+ (?P<sni>\S+) (?P<route>\S+)'
)
ENVOY_FIELDS = re.compile(
    r'\[[^]]+\] "(?P<first>[^"]*)" (?P<code>\d+) (?P<flags>\S+) (?P<received>\d+) (?P<sent>\d+) '
    r'\d+ (?:\d+|-) "(?P<xff>[^"]*)" "(?P<agent>[^"]*)" "(?P<id>[^"]*)" "(?P<authority>[^"]*)" '
    r'"(?P<host>[^"]*)"'
)


@pytest.mark.parametrize(
    ("file", "form"), [("istio", ISTIO_FIELDS), ("envoy", ENVOY_FIELDS)], ids=["istio", "envoy"]
)
async def test_default_lines_are_envoys_own(
    ours: Path, theirs: Path, file: str, form: re.Pattern[str]
) -> None:
    mine, envoys = (default_lines(folder / file, form) for folder in (ours, theirs))
    assert mine == envoys


def default_lines(path: Path, form: re.Pattern[str]) -> list[dict[str, str]]:
    found = []
    cases = (*CASES, *GRPC_CASES)
    for line, case in zip(path.read_text().splitlines(), cases, strict=True):
        fields = form.fullmatch(line)
        assert fields is not None, line
        told = fields.groupdict()
        if TEXTLESS.keys() & except_of(case.name).keys():
            del told["sent"]
        if AGENT.keys() & except_of(case.name).keys():
            del told["agent"]
        found.append(told)
    return found


# --- calls that are served ---

SERVED = (
    Case("ok", "/ok?page=2"),
    Case("a-body", "/ok", "POST", body=b"eight by"),
    Case("a-head", "/ok", "HEAD"),
    Case("not-there", "/ok/missing"),
    Case("failed", "/ok/fail"),
    Case("denied", headers=(("x-deny", "yes"),)),
)
SERVED_GRPC = (
    Case("grpc-ok", "/shop.Shop/Get", body=b"12345"),
    Case("grpc-failed", "/shop.Shop/Fail"),
    Case("grpc-denied", "/shop.Shop/Get", headers=(("x-deny", "yes"),)),
)
SERVED_SAME = (
    *("BYTES_RECEIVED", "BYTES_SENT", "GRPC_STATUS", "PROTOCOL", "REQ(:METHOD)", "REQ(:PATH)"),
    *("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"),
    *("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_PEER_URI_SAN", "REQ(X-CASE)"),
    *("REQ(USER-AGENT)", "REQUESTED_SERVER_NAME", "RESP(X-FROM)", "RESPONSE_CODE"),
    *("RESPONSE_CODE_DETAILS", "RESPONSE_FLAGS", "ROUTE_NAME", "STREAM_ID"),
)
SERVED_TIMES = ("DURATION", "START_TIME", "DOWNSTREAM_REMOTE_PORT")
"""The libraries do not say when the last octet of a request came (REQUEST_DURATION)."""
PLACELESS = {"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": "gRPC's library tells the port alone"}
AT_ONCE = {"BYTES_RECEIVED": "Envoy may answer before the message has come"}


def served_except(case: str) -> dict[str, str]:
    found = PLACELESS if case.startswith("grpc-") else {}
    return found | AT_ONCE if case == "grpc-denied" else found


def inbound(path: Path, action: Any, names: tuple[str, ...]) -> HttpConnectionManager:
    who = HeaderRule(HeaderMatcher(name="x-deny"))
    policy = Policy(name="no", permissions=(AnyRule(),), principals=(who,))
    deny = Rbac(rules=RbacRules(action=RbacAction.DENY, policies=(policy,)))
    format_ = Struct(tuple(sorted((name, f"%{name}%") for name in names)))
    log = AccessLog(name="mine", config=FileAccessLog(path=str(path), json=format_))
    host = VirtualHost(name="all", domains=("*",), routes=(Route(name="in", action=action),))
    return HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(HttpFilter(name="rbac", config=deny), ROUTER),
        access_log=(log,),
    )


NAMES = (*SERVED_SAME, *SERVED_TIMES)


@pytest.fixture
async def ours_served(over: asyncio.Event, tmp_path: Path) -> Path:
    path = tmp_path / "ours"
    with meshlib.Mesh(config=[]) as mesh:
        here = Listener(name="inbound", http=inbound(path, NonForwardingAction(), NAMES))
        mesh._runtime.commit(mesh._engine.prepare(gather(listeners=[here])))
        app, interceptors = mesh.aiohttp.setup, mesh.grpc.aio_server_interceptors()
        async with http_server(over, app) as port, aiohttp.ClientSession() as session:
            await call_http(session, f"http://127.0.0.1:{port}", SERVED)
        async with grpc_server(over, interceptors) as port, plain_channel(port) as channel:
            await call_grpc(channel, SERVED_GRPC)
        access_log.flush()
    return path


@pytest.fixture
async def theirs_served(envoy: Path, ports: dict[str, int], tmp_path: Path, until: Any) -> Path:
    """One sidecar before each of the two servers."""
    path, listeners, taken = tmp_path / "theirs", [], []
    for cluster_name in ("up", "grpc"):
        with free_port() as port:
            taken.append(port)
        here = Listener(
            name=cluster_name,
            http=inbound(path, RouteAction(cluster=cluster_name), NAMES),
            address=Address("127.0.0.1", port),
        )
        listeners.append(encode_json(here))
    documents = listeners, list(map(encode_json, clusters(ports)))
    async with running(envoy, *documents, tmp_path, until) as is_there:
        await is_there(taken[0])
        await is_there(taken[1])
        async with aiohttp.ClientSession() as session:
            await call_http(session, f"http://127.0.0.1:{taken[0]}", SERVED)
        async with plain_channel(taken[1]) as channel:
            await call_grpc(channel, SERVED_GRPC)
        await until(lambda: has_lines(path, len(SERVED) + len(SERVED_GRPC)))
    return path


async def test_calls_that_are_served_are_told_as_by_a_sidecar(
    ours_served: Path, theirs_served: Path
) -> None:
    mine, envoys = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (ours_served, theirs_served)
    )
    cases = (*SERVED, *SERVED_GRPC)
    assert len(mine) == len(envoys) == len(cases)
    wrong = [
        f"{case.name}: %{name}%: Envoy {theirs[name]!r}, we {our[name]!r}"
        for case, our, theirs in zip(cases, mine, envoys, strict=True)
        for name in NAMES
        if name not in served_except(case.name)
        and (
            type(our[name]) is not type(theirs[name])
            if name in SERVED_TIMES
            else our[name] != theirs[name]
        )
    ]
    assert not wrong, "\n".join(wrong)
