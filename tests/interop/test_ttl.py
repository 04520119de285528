"""Envoy keeps what lives for a time as long as our control plane says so, and not after."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import grpc.aio
import pytest

from meshlib.controlplane import SnapshotCache, serve
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Endpoint,
    HttpConnectionManager,
    HttpProtocolOptions,
    Listener,
    LocalityLbEndpoints,
    Rds,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
)
from meshlib.model.filter import ROUTER
from meshlib.testing.envoy import BY_ADS, bootstrap, http2_cluster, running, stream_to
from meshlib.testing.grpc_servers import aio_serving
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

pytestmark = pytest.mark.interop

FREE = "127.0.0.1:0"


@pytest.fixture
async def backend():
    """Answers every call: its port."""

    async def answer(_request, _call):
        return b"here"

    async with aio_serving("/test.Who/Are", answer) as port:
        yield port


@pytest.fixture
async def cache(backend):
    made = SnapshotCache(lambda _node: "all")
    place = LocalityLbEndpoints(
        lb_endpoints=(Endpoint(address=Address("127.0.0.1", backend)),), load_balancing_weight=1
    )
    routes = (Route(action=RouteAction(cluster="who")),)
    hosts = (VirtualHost(name="all", domains=("*",), routes=routes),)
    http = HttpConnectionManager(routes=Rds("who"), http_filters=(ROUTER,))
    made.set_snapshot(
        "all",
        [
            Listener(name="in", address=Address("127.0.0.1", 0), http=http),
            RouteConfiguration(name="who", virtual_hosts=hosts),
            Cluster(
                name="who",
                discovery=Eds("who"),
                http_protocol_options=HttpProtocolOptions(http2=True),
            ),
            ClusterLoadAssignment(cluster_name="who", endpoints=(place,)),
        ],
        ttl=2.0,
    )
    return made


async def test_envoy_runs_on_it_as_long_as_it_hears_of_it_and_not_after(
    cache, envoy, tmp_path, until
):
    sent = Counter()

    def wire(direction, message):
        if direction == "response":
            sent[message["type_url"]] += 1

    async with AsyncExitStack() as stack:
        async with serve(cache, FREE, wire=wire) as server:
            config = bootstrap(
                clusters=[http2_cluster("plane", server.address)],
                node={"id": "envoy-1", "cluster": "test"},
                dynamic_resources={
                    "ads_config": stream_to("plane", "DELTA_GRPC"),
                    "cds_config": BY_ADS,
                    "lds_config": BY_ADS,
                },
            )
            one = await stack.enter_async_context(running(envoy, config, tmp_path))
            async with grpc.aio.insecure_channel(f"127.0.0.1:{await one.port()}") as channel:
                call = channel.unary_unary("/test.Who/Are")
                assert await call(b"", timeout=10, wait_for_ready=True) == b"here"
                while min(sent[url] for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)) < 6:
                    assert await call(b"", timeout=10) == b"here"
                    await asyncio.sleep(0.02)
            assert set((await one.counts("update_rejected")).values()) == {0}
            assert server.status.to_dict()["nacks"] == []

        async def is_forgotten():
            clusters = (await one.ask("/clusters?format=json"))["cluster_statuses"]
            return [each["name"] for each in clusters] == ["plane"] and not await one.listeners()

        await until(is_forgotten)
