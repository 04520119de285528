"""Envoy keeps what lives for a time as long as our control plane says so, and not after."""

import asyncio
import json
from collections import Counter

import aiohttp
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
from meshlib.testing.grpc_servers import aio_serving
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

pytestmark = pytest.mark.interop

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
FREE = "127.0.0.1:0"
OURS = {"ads": {}, "resource_api_version": "V3"}


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


def socket_address(address):
    host, port = address.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}


def bootstrap(plane):
    return {
        "node": {"id": "envoy-1", "cluster": "test"},
        "admin": {"address": socket_address(FREE)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "plane"}}],
            },
            "cds_config": OURS,
            "lds_config": OURS,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "plane",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        HTTP_OPTIONS: {
                            "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "plane",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": socket_address(plane)}}]}
                        ],
                    },
                }
            ]
        },
    }


@pytest.fixture
async def start(envoy, tmp_path, until):
    """``await start(address)``: what asks its admin interface."""
    processes = []

    async def started(address):
        config, admin = tmp_path / "envoy.json", tmp_path / "envoy.admin"
        config.write_text(json.dumps(bootstrap(address)))
        processes.append(
            await asyncio.create_subprocess_exec(
                *(envoy, "-c", config, "--admin-address-path", admin, "--log-level", "warning"),
                *("--concurrency", "1", "--disable-hot-restart"),
            )
        )

        async def at():
            return admin.read_text() if admin.exists() else ""

        where = await until(at)

        async def ask(path):
            url = f"http://{where}{path}"
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                return json.loads(await response.text())

        return ask

    yield started
    for process in processes:
        process.terminate()
        await process.wait()


async def test_envoy_runs_on_it_as_long_as_it_hears_of_it_and_not_after(cache, start, until):
    sent = Counter()

    def wire(direction, message):
        if direction == "response":
            sent[message["type_url"]] += 1

    async with serve(cache, FREE, wire=wire) as server:
        ask = await start(server.address)

        async def listener():
            found = (await ask("/listeners?format=json")).get("listener_statuses", ())
            return next((one["local_address"]["socket_address"]["port_value"] for one in found), 0)

        port = await until(listener)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/test.Who/Are")
            assert await call(b"", timeout=10, wait_for_ready=True) == b"here"
            while min(sent[url] for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)) < 6:
                assert await call(b"", timeout=10) == b"here"
                await asyncio.sleep(0.02)
        stats = (await ask("/stats?format=json&filter=update_rejected"))["stats"]
        assert {one["value"] for one in stats} == {0}
        assert server.status.to_dict()["nacks"] == []

    async def is_forgotten():
        clusters = (await ask("/clusters?format=json"))["cluster_statuses"]
        return [one["name"] for one in clusters] == ["plane"] and not await listener()

    await until(is_forgotten)
