import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from aiohttp import web

from meshlib.dataplane import Engine, Options, Response
from meshlib.mesh._resolving import addresses_of
from meshlib.mesh.upkeep import Upkeep
from meshlib.middleware._drive import Runtime
from meshlib.model import (
    Address,
    Endpoint,
    GrpcHealthCheck,
    HealthCheck,
    HttpHealthCheck,
    OutlierDetection,
    Snapshot,
    StrictDns,
    TcpHealthCheck,
)
from meshlib.testing import always, assignment, one_service
from meshlib.testing.grpc_servers import aio_serving

SOON = 0.005
"""Seconds between checks."""


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for goes on on another thread
            await asyncio.sleep(SOON)


def check(checker, **fields) -> HealthCheck:
    usual = {"timeout": 5.0, "interval": SOON, "unhealthy_threshold": 2, "healthy_threshold": 2}
    return HealthCheck(checker=checker, no_traffic_interval=SOON, **{**usual, **fields})


HTTP = check(HttpHealthCheck(path="/healthz"))


class Names:
    """A name server: answers what it is told to."""

    def __init__(self, **known: tuple[str, ...]) -> None:
        self.known: dict[str, tuple[str, ...]] = known
        self.asked = 0

    async def __call__(self, name: str) -> tuple[str, ...]:
        self.asked += 1
        if name not in self.known:
            raise OSError(f"no such name: {name}")
        return self.known[name]


class Kept:
    """An engine whose configuration is looked after."""

    def __init__(self, resolve=None) -> None:
        self.engine = Engine(clock=time.monotonic, dice=always(0.0), options=Options(complete=True))
        self.runtime = Runtime(self.engine, clock=time.monotonic, sleep=time.sleep)
        self.upkeep = Upkeep(
            self.engine,
            self.runtime,
            dice=always(0.0),
            traffic=lambda _cluster: False,
            **({"resolve": resolve} if resolve else {}),
        )

    def apply(self, *endpoints: str | Endpoint, **cluster) -> None:
        self.upkeep.apply(one_service(endpoints, **cluster))

    @property
    def cluster(self):
        return self.engine.clusters["reviews"]

    @property
    def unhealthy(self) -> set[str]:
        return {key for key, one in self.cluster.balance.endpoints.items() if one.unhealthy}

    @property
    def addresses(self) -> set[str]:
        return set(self.cluster.balance.endpoints)


@pytest.fixture
def keep():
    kept: list[Kept] = []

    def make(resolve=None) -> Kept:
        kept.append(Kept(resolve))
        return kept[-1]

    yield make
    for one in kept:
        one.upkeep.close()
    assert not threads()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "meshlib-upkeep"]


class HttpServer:
    """Answers every check with ``status``; ``None``: never."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.seen: list[web.Request] = []
        self.address = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        if self.status is None:
            await asyncio.Event().wait()
        return web.Response(status=self.status or 0, headers={"location": "/elsewhere"})


@pytest.fixture
async def http_servers():
    runners = []

    async def make() -> HttpServer:
        server = HttpServer()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        server.address = "{}:{}".format(*runner.addresses[0])
        return server

    yield make
    for runner in runners:
        await runner.cleanup()


async def test_an_endpoint_that_is_not_well_is_left_out_until_it_is(keep, http_servers) -> None:
    sick, well = await http_servers(), await http_servers()
    kept = keep()
    kept.apply(sick.address, well.address, health_checks=(HTTP,))
    await until(lambda: sick.seen and well.seen)
    assert kept.unhealthy == set()
    sick.status = 503
    await until(lambda: kept.unhealthy == {sick.address})
    assert {result.value for result in kept.cluster.checks} == {"failed", "passed"}
    assert {kept.cluster.pick().key for _ in range(4)} == {well.address}
    sick.status = 200
    await until(lambda: not kept.unhealthy)
    assert {kept.cluster.pick().key for _ in range(4)} == {sick.address, well.address}


async def test_a_check_asks_as_configured(keep, http_servers) -> None:
    server = await http_servers()
    checker = HttpHealthCheck(
        path="/healthz?deep=1",
        host="reviews.example",
        method="HEAD",
        request_headers_to_add=(("x-check", "1"), ("x-check", "2")),
    )
    keep().apply(server.address, health_checks=(check(checker),))
    await until(lambda: server.seen)
    request = server.seen[0]
    assert (request.method, request.path_qs) == ("HEAD", "/healthz?deep=1")
    assert request.headers["host"] == "reviews.example"
    assert request.headers.getall("x-check") == ["1", "2"]
    assert request.headers["user-agent"] == "meshlib/HC"


async def test_a_check_names_the_host_of_the_endpoint_and_else_the_cluster(
    keep, http_servers
) -> None:
    named, nameless = await http_servers(), await http_servers()
    host, _, port = named.address.rpartition(":")
    keep().apply(
        Endpoint(address=Address(host, int(port)), hostname="v1.reviews"),
        nameless.address,
        health_checks=(HTTP,),
    )
    await until(lambda: named.seen and nameless.seen)
    assert named.seen[0].headers["host"] == "v1.reviews"
    assert nameless.seen[0].headers["host"] == "reviews"


async def test_a_check_may_have_a_port_of_its_own(keep, http_servers) -> None:
    server = await http_servers()
    port = int(server.address.rpartition(":")[2])
    kept = keep()
    kept.apply(
        Endpoint(address=Address("127.0.0.1", 1), health_check_port=port), health_checks=(HTTP,)
    )
    await until(lambda: len(server.seen) > 2)
    assert kept.unhealthy == set()


@pytest.mark.parametrize("status", [302, 404, None])
async def test_any_other_answer_or_none_is_not_well(keep, http_servers, status) -> None:
    server = await http_servers()
    server.status = status
    kept = keep()
    patience = 0.05 if status is None else 5.0
    kept.apply(server.address, health_checks=(check(HTTP.checker, timeout=patience),))
    await until(lambda: kept.unhealthy)
    assert all(request.path == "/healthz" for request in server.seen)


async def test_where_nobody_listens_nobody_is_well(keep, nowhere) -> None:
    for checker in (HTTP.checker, GrpcHealthCheck(), TcpHealthCheck()):
        kept = keep()
        kept.apply(nowhere, health_checks=(check(checker),))
        await until(lambda kept=kept: kept.unhealthy == {nowhere})


@asynccontextmanager
async def grpc_server(serving: Mapping[bytes, bytes]):
    """A health service that answers these questions, and knows no others."""

    async def answer(question: bytes, context) -> bytes:
        if question not in serving:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return serving[question]

    async with aio_serving("/grpc.health.v1.Health/Check", answer) as port:
        yield f"127.0.0.1:{port}"


SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


@pytest.mark.parametrize("reuse", [True, False])
async def test_grpc_servers_are_asked_by_their_health_service(keep, reuse) -> None:
    serving = {b"\x0a\x07reviews": SERVING}
    async with grpc_server(serving) as address:
        kept = keep()
        asked = check(GrpcHealthCheck(service_name="reviews"), reuse_connection=reuse)
        kept.apply(address, health_checks=(asked,))
        serving[b"\x0a\x07reviews"] = NOT_SERVING
        await until(lambda: kept.unhealthy == {address})
        serving[b"\x0a\x07reviews"] = SERVING
        await until(lambda: not kept.unhealthy)
        del serving[b"\x0a\x07reviews"]
        await until(lambda: kept.unhealthy == {address})


async def test_a_grpc_server_may_be_asked_as_a_whole_under_the_name_of_an_istio_cluster(
    keep,
) -> None:
    serving = {b"": NOT_SERVING}
    async with grpc_server(serving) as address:
        kept = keep()
        name = "outbound|9080|v1|reviews.default.svc.cluster.local"
        snapshot = one_service([address], health_checks=(check(GrpcHealthCheck()),))
        (cluster,) = snapshot.clusters.values()
        kept.upkeep.apply(
            Snapshot(clusters={name: type(cluster)(**{**fields(cluster), "name": name})})
        )
        (one,) = kept.engine.clusters[name].balance.endpoints.values()
        await until(lambda: one.unhealthy)
        serving[b""] = SERVING
        await until(lambda: not one.unhealthy)


def fields(value) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__}


async def test_tcp_servers_must_say_all_that_is_expected_in_its_order(keep) -> None:
    words = [b"+PONG", b"bye"]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(4) == b"PING":
            for word in words:
                writer.write(b"." + word)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    address = "{}:{}".format(*server.sockets[0].getsockname())
    kept = keep()
    asked = check(TcpHealthCheck(send=b"PING", receive=(b"+PONG", b"bye")))
    kept.apply(address, health_checks=(asked,))
    words.reverse()
    await until(lambda: kept.unhealthy == {address})
    words.reverse()
    await until(lambda: not kept.unhealthy)
    server.close()
    await until(lambda: kept.unhealthy == {address})


async def test_a_passed_check_ends_an_ejection(keep, http_servers) -> None:
    server = await http_servers()
    server.status = 503
    kept = keep()
    kept.apply(
        server.address,
        health_checks=(HTTP,),
        outlier_detection=OutlierDetection(consecutive_5xx=1, max_ejection_percent=100),
    )
    (one,) = kept.cluster.balance.endpoints.values()
    await until(lambda: one.unhealthy)
    with kept.runtime.lock:
        kept.cluster.observe(one, Response(503))
    assert one.ejected
    server.status = 200
    await until(lambda: not one.ejected)
    assert one.usable


async def test_endpoints_that_nobody_checks_any_more_are_well(keep, http_servers) -> None:
    server = await http_servers()
    server.status = 503
    kept = keep()
    kept.apply(server.address, health_checks=(HTTP,))
    await until(lambda: kept.unhealthy)
    kept.apply(server.address)
    await until(lambda: not kept.unhealthy)
    await until(lambda: not threads())


async def test_an_endpoint_that_left_is_asked_until_it_is_found_gone(keep, http_servers) -> None:
    stays, leaves = await http_servers(), await http_servers()
    kept = keep()
    kept.apply(stays.address, leaves.address, health_checks=(HTTP,))
    await until(lambda: all(one.passes for one in kept.cluster.balance.endpoints.values()))
    kept.apply(stays.address, health_checks=(HTTP,))
    assert kept.addresses == {stays.address, leaves.address}
    leaves.status = 503
    await until(lambda: kept.addresses == {stays.address})
    asked, meanwhile = len(leaves.seen), len(stays.seen)
    await until(lambda: len(stays.seen) > meanwhile + 10)
    assert len(leaves.seen) <= asked + 1


async def test_a_check_over_http_2_is_told_to_be_none(keep, caplog) -> None:
    kept = keep()
    h2 = check(HttpHealthCheck(path="/", http2=True))
    kept.apply("127.0.0.1:1", health_checks=(h2,))
    (said,) = kept.upkeep.ignored()
    assert said.startswith("clusters/reviews: health_checks[0].http_health_check: HTTP/2 ")
    kept.apply("127.0.0.1:1", health_checks=(h2,))
    assert caplog.text.count(said) == 1
    assert not threads()


# --- names ---


def dns(*names: str, rate: float = SOON) -> StrictDns:
    return StrictDns(assignment(names), dns_refresh_rate=rate)


async def test_a_name_is_one_endpoint_until_it_is_resolved(keep) -> None:
    names = Names()
    kept = keep(names)
    kept.apply(discovery=dns("reviews.local:9080"))
    await until(lambda: names.asked > 2)
    assert kept.addresses == {"reviews.local:9080"}


async def test_every_address_of_a_name_is_an_endpoint(keep) -> None:
    names = Names(**{"a.local": ("10.0.0.1", "fd00::1"), "b.local": ("10.0.0.2",)})
    kept = keep(names)
    kept.apply(discovery=dns("a.local:80", "b.local:81", "10.9.9.9:82"))
    await until(lambda: len(kept.addresses) == 4)
    assert kept.addresses == {"10.0.0.1:80", "[fd00::1]:80", "10.0.0.2:81", "10.9.9.9:82"}
    hosts = {key: one.config.hostname for key, one in kept.cluster.balance.endpoints.items()}
    assert hosts["10.0.0.1:80"] == "a.local"
    assert hosts["10.9.9.9:82"] == ""


async def test_endpoints_follow_their_name(keep) -> None:
    names = Names(**{"a.local": ("10.0.0.1", "10.0.0.2")})
    kept = keep(names)
    kept.apply(discovery=dns("a.local:80"))
    await until(lambda: kept.addresses == {"10.0.0.1:80", "10.0.0.2:80"})
    stays = kept.cluster.balance.endpoints["10.0.0.2:80"]
    names.known["a.local"] = ("10.0.0.2", "10.0.0.3")
    await until(lambda: kept.addresses == {"10.0.0.2:80", "10.0.0.3:80"})
    assert kept.cluster.balance.endpoints["10.0.0.2:80"] is stays


async def test_a_name_that_fails_keeps_what_it_stood_for(keep, caplog) -> None:
    names = Names(**{"a.local": ("10.0.0.1",)})
    kept = keep(names)
    kept.apply(discovery=dns("a.local:80"))
    await until(lambda: kept.addresses == {"10.0.0.1:80"})
    for broken in ({}, {"a.local": ()}):
        names.known = broken
        asked = names.asked
        await until(lambda asked=asked: names.asked > asked + 2)
        assert kept.addresses == {"10.0.0.1:80"}
    assert caplog.text.count("a.local cannot be resolved: no such name") == 1


async def test_another_configuration_does_not_forget_addresses(keep) -> None:
    names = Names(**{"a.local": ("10.0.0.1",)})
    kept = keep(names)
    kept.apply(discovery=dns("a.local:80"))
    await until(lambda: kept.addresses == {"10.0.0.1:80"})
    names.known = {}
    kept.apply(discovery=dns("a.local:80"), connect_timeout=1.0)
    assert kept.addresses == {"10.0.0.1:80"}
    kept.apply("10.0.0.7:80")
    assert kept.addresses == {"10.0.0.7:80"}
    await until(lambda: not threads())


async def test_names_of_the_system_are_resolved(keep, http_servers) -> None:
    server = await http_servers()
    port = server.address.rpartition(":")[2]
    kept = keep()
    kept.apply(discovery=dns(f"localhost:{port}", rate=60.0), health_checks=(HTTP,))
    await until(lambda: server.address in kept.addresses and server.seen)
    assert server.seen[-1].headers["host"] == "localhost"
    others = kept.addresses - {server.address}
    await until(lambda: kept.unhealthy == others)


# --- the thread ---


def test_nothing_to_look_after_is_no_thread(keep) -> None:
    keep().apply("127.0.0.1:1")
    assert not threads()


async def test_a_closed_mesh_has_no_thread_and_begins_another_one(keep) -> None:
    names = Names(**{"a.local": ("10.0.0.1",)})
    kept = keep(names)
    kept.apply(discovery=dns("a.local:80"))
    assert len(threads()) == 1
    kept.upkeep.close()
    assert not threads()
    names.known["a.local"] = ("10.0.0.2",)
    kept.apply(discovery=dns("a.local:80"))
    await until(lambda: kept.addresses == {"10.0.0.2:80"})


async def test_a_job_that_breaks_does_not_end_the_checks(keep, http_servers, caplog) -> None:
    server = await http_servers()
    kept = keep()
    broken = check(HttpHealthCheck(path="/", request_headers_to_add=(("bad\nname", "x"),)))
    kept.apply(server.address, health_checks=(HTTP, broken))
    await until(lambda: len(server.seen) > 3 and kept.unhealthy)


@pytest.mark.parametrize("name", ["a" * 64 + ".local", "a..b"])
async def test_what_cannot_be_a_name_cannot_be_resolved(name: str) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(OSError, match="not a name"):
            await addresses_of(name)
