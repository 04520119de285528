"""A real server of Envoy's rate limit protocol, asked over real connections."""

import asyncio
from dataclasses import replace

import grpc
import grpc.aio
import pytest

import meshlib
from meshlib.dataplane import AskRateLimit, Engine, RateLimitVerdict, UpstreamEndpoint
from meshlib.mesh.services import Services
from meshlib.middleware._drive import Runtime
from meshlib.model import (
    ROUTER,
    Cluster,
    GenericKey,
    GlobalRateLimit,
    HttpFilter,
    RateLimit,
    RouteAction,
    Snapshot,
    Static,
    gather,
)
from meshlib.testing import FakeClock, always, assignment, one_service
from meshlib.testing.grpc_servers import serving
from meshlib.xds.protos import message_class
from meshlib.xds.rate_limit import METHOD

DESCRIPTORS = ((("generic_key", "all"), ("user", "jason")), (("user", "anna"),))


class Service:
    """Says no to the second question about the same user, and remembers all questions."""

    def __init__(self) -> None:
        self.asked = []

    def should_rate_limit(self, request, context):
        self.asked.append(request)
        answer = message_class("envoy.service.ratelimit.v3.RateLimitResponse")()
        answer.overall_code = 1 if len(self.asked) == 1 else 2
        answer.response_headers_to_add.add(key="X-Why", value="quota")
        answer.raw_body = b"no more"
        status = answer.statuses.add(limit_remaining=3)
        status.current_limit.requests_per_unit = 10
        status.current_limit.unit = 2
        status.duration_until_reset.FromMilliseconds(7500)
        return answer


@pytest.fixture
def service():
    made = Service()
    request_class = message_class("envoy.service.ratelimit.v3.RateLimitRequest")

    def should_rate_limit(request, context):
        return made.should_rate_limit(
            request_class.FromString(request), context
        ).SerializeToString()

    with serving(METHOD, should_rate_limit) as port:
        made.port = port
        yield made


@pytest.fixture
def question(upstream_endpoint):
    def ask(port: int, timeout: float = 10.0) -> AskRateLimit:
        return AskRateLimit(upstream_endpoint(port), "shop", DESCRIPTORS, timeout)

    return ask


@pytest.fixture
def upstream_endpoint():
    def make(port: int) -> UpstreamEndpoint:
        engine = Engine(clock=FakeClock(), dice=always(0.0))
        engine.apply(one_service((f"127.0.0.1:{port}",)))
        found = engine.clusters["reviews"].pick()
        assert found is not None
        return found

    return make


NO_MORE = RateLimitVerdict(
    False,
    response_headers=(("x-why", "quota"),),
    body=b"no more",
    limit="10, 10;w=60",
    remaining=3,
    reset=7.5,
)


def a_client() -> Services:
    engine = Engine(clock=FakeClock(), dice=always(0.0))
    runtime = Runtime(engine, clock=engine.around.clock, sleep=engine.around.clock.jump)
    return Services(runtime)


def test_a_thread_asks_the_service(service, question) -> None:
    client = a_client()
    first, second = client.ask(question(service.port)), client.ask(question(service.port))
    client.close()
    assert first.ok
    assert second == NO_MORE
    (asked, _) = service.asked
    assert asked.domain == "shop"
    assert [[(e.key, e.value) for e in d.entries] for d in asked.descriptors] == [
        [("generic_key", "all"), ("user", "jason")],
        [("user", "anna")],
    ]


async def test_a_coroutine_asks_the_service(service, question) -> None:
    client = a_client()
    first = await client.aask(question(service.port))
    second = await client.aask(question(service.port))
    await client.aclose()
    assert first.ok
    assert second == NO_MORE


def test_every_event_loop_asks_over_its_own_connection(service, question) -> None:
    client = a_client()

    async def ask() -> bool | None:
        try:
            return (await client.aask(question(service.port))).ok
        finally:
            await client.aclose()

    assert [asyncio.run(ask()), asyncio.run(ask())] == [True, False]


def test_nobody_there_is_no_verdict(free_port, question) -> None:
    client = a_client()
    verdict = client.ask(question(free_port()))
    client.close()
    assert verdict.ok is None
    assert verdict.detail.startswith("UNAVAILABLE")


async def test_nobody_there_is_no_verdict_for_a_coroutine_either(free_port, question) -> None:
    client = a_client()
    verdict = await client.aask(question(free_port()))
    await client.aclose()
    assert verdict.ok is None
    assert verdict.detail.startswith("UNAVAILABLE")


def test_the_client_of_a_mesh_is_made_when_it_is_needed(service, question) -> None:
    engine = Engine(clock=FakeClock(), dice=always(0.0))
    runtime = Runtime(engine, clock=engine.around.clock, sleep=engine.around.clock.jump)
    client = Services(runtime)
    client.close()
    assert runtime.services.ask(question(service.port)).ok
    runtime.reset()
    assert client.ask(question(service.port)) == NO_MORE
    client.close()


@pytest.fixture
def echo():
    with serving("/shop.Shop/Echo", lambda request, _call: request) as port:
        yield f"127.0.0.1:{port}"


def limited(echo: str, port: int) -> Snapshot:
    """``reviews:9080`` at this address, after the service at that port was asked."""
    limits = (RateLimit(actions=(GenericKey(descriptor_value="all"),)),)
    config = GlobalRateLimit(domain="shop", cluster="limits", timeout=10.0)
    served = one_service((echo,), action=RouteAction(cluster="reviews", rate_limits=limits))
    (listener,) = served.listeners.values()
    filters = (HttpFilter(name="ratelimit", config=config), ROUTER)
    service = Static(assignment((f"127.0.0.1:{port}",), name="limits"))
    return gather(
        listeners=[replace(listener, http=replace(listener.http, http_filters=filters))],
        clusters=[*served.clusters.values(), Cluster(name="limits", discovery=service)],
    )


def test_a_member_of_the_mesh_asks_before_it_calls(service, echo) -> None:
    with meshlib.Mesh(config=[]) as mesh:
        mesh._runtime.commit(mesh._engine.prepare(limited(echo, service.port)))
        with mesh.grpc.channel("reviews:9080") as channel:
            call = channel.unary_unary("/shop.Shop/Echo")
            assert call(b"x", timeout=10) == b"x"
            with pytest.raises(grpc.RpcError) as refused:
                call(b"x", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.mesh.flags == ("RL",)


async def test_a_member_of_the_mesh_asks_before_it_calls_asynchronously(service, echo) -> None:
    async with meshlib.Mesh(config=[]) as mesh:
        mesh._runtime.commit(mesh._engine.prepare(limited(echo, service.port)))
        async with mesh.grpc.aio_channel("reviews:9080") as channel:
            call = channel.unary_unary("/shop.Shop/Echo")
            assert await call(b"x", timeout=10) == b"x"
            with pytest.raises(grpc.RpcError) as refused:
                await call(b"x", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.mesh.flags == ("RL",)
