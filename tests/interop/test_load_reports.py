"""Envoy and stock gRPC tell our control plane of their load."""

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc.aio
import pytest

from meshlib.controlplane import Limits, SnapshotCache, serve
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Endpoint,
    HttpConnectionManager,
    Listener,
    Locality,
    LocalityLbEndpoints,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
)
from meshlib.model.filter import ROUTER
from meshlib.testing.envoy import bootstrap, http2_cluster, running, socket_address, stream_to
from meshlib.testing.grpc_servers import aio_serving

pytestmark = pytest.mark.interop

EXTENSIONS = "type.googleapis.com/envoy.extensions"
CLIENT = Path(__file__).with_name("stock_client.py")
FREE = "127.0.0.1:0"
CALLS = 20


@pytest.fixture
async def backend():
    """Answers every call: its address."""

    async def answer(_request, _call):
        return b"here"

    async with aio_serving("/test.Who/Are", answer) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def server(backend):
    cache = SnapshotCache(lambda _node: "all", check=False)
    host, port = backend.split(":")
    place = LocalityLbEndpoints(
        locality=Locality("north", "a"),
        lb_endpoints=(Endpoint(address=Address(host, int(port))),),
        load_balancing_weight=1,
    )
    routes = (Route(action=RouteAction(cluster="who")),)
    table = RouteConfiguration(
        name="who", virtual_hosts=(VirtualHost(name="all", domains=("*",), routes=routes),)
    )
    cache.set_snapshot(
        "all",
        [
            Listener(
                name="who:9080", http=HttpConnectionManager(routes=table, http_filters=(ROUTER,))
            ),
            Cluster(name="who", discovery=Eds("who"), lrs_server=True),
            ClusterLoadAssignment(cluster_name="who", endpoints=(place,)),
        ],
    )
    async with serve(cache, FREE, limits=Limits(load_interval=1.0)) as running:
        yield running


async def told(server, until):
    """What the one client says that it made of calls to ``who``, when that is all of them."""

    async def is_told():
        wanted = f'cluster="who",result="successful"}} {CALLS}'
        return any(line.endswith(wanted) for line in server.status.loads.lines())

    await until(is_told)
    (client,) = server.status.loads.to_dicts()
    return client


async def test_stock_grpc_tells_of_its_calls(server, until):
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": server.address,
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "stock"},
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, CLIENT, "sync", "xds:///who:9080"),
        env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        process.stdin.write(f"{CALLS}\n".encode())
        assert json.loads(await process.stdout.readline()) == {"here": CALLS}
        client = await told(server, until)
        assert (client["id"], client["kind"]) == ("stock", "grpc")
        (load,) = [one for one in client["clusters"] if one["cluster"] == "who"]
        assert [one["locality"] for one in load["localities"]] == ["north/a"]
    finally:
        process.stdin.close()
        await process.wait()


def config(plane, backend):
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "who"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "in",
        "address": socket_address(FREE),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    clusters = [("plane", plane), ("who", backend)]
    return bootstrap(
        listeners=[listener],
        clusters=[http2_cluster(*one, region="north", zone="a") for one in clusters],
        node={"id": "envoy-1", "cluster": "test"},
        cluster_manager={"load_stats_config": stream_to("plane")},
    )


async def test_envoy_tells_of_its_calls(server, backend, envoy, tmp_path, until):
    async def is_asked():
        return server.status.loads.reporters

    async with running(envoy, config(server.address, backend), tmp_path) as one:
        await until(is_asked)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{await one.port()}") as channel:
            call = channel.unary_unary("/test.Who/Are")
            for _ in range(CALLS):
                assert await call(b"", timeout=10) == b"here"
        client = await told(server, until)
        assert (client["id"], client["kind"]) == ("envoy-1", "envoy")
        (load,) = [one for one in client["clusters"] if one["cluster"] == "who"]
        assert [one["locality"] for one in load["localities"]] == ["north/a"]
