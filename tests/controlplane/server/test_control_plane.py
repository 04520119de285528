"""The control plane over real sockets, with clients that speak the bare protocol."""

import asyncio
import json
from pathlib import Path

import aiohttp
import grpc
import pytest
import yaml

from meshlib.controlplane import ControlPlane
from meshlib.errors import ConfigError, MeshError
from meshlib.xds.codec import decode

RATINGS = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ratings}
spec:
  hosts: [ratings.default.svc.cluster.local]
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: ADDRESS}]
"""
CLUSTER = "outbound|9080||ratings.default.svc.cluster.local"


def ratings(address="10.0.0.1"):
    return RATINGS.replace("ADDRESS", address)


def addresses(response):
    decoded = [decode(packed.type_url, packed.value).resource for packed in response.resources]
    return [
        str(endpoint.address)
        for one in decoded
        for group in one.endpoints
        for endpoint in group.lb_endpoints
    ]


def names(response):
    return [decode(packed.type_url, packed.value).name for packed in response.resources]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ratings.yaml").write_text(ratings())
    return tmp_path


@pytest.fixture
async def plane(folder):
    async with ControlPlane(folder, listen="127.0.0.1:0", admin="127.0.0.1:0") as made:
        yield made


async def get(plane, path, **kw):
    url = f"http://{plane.admin_address}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, **kw) as answer:
        return answer.status, await answer.text()


async def test_a_client_finds_its_way_from_listener_to_endpoints(plane, connect):
    stream = await connect(plane.address)
    await stream.ask("lds", "ratings:9080")
    assert names(await stream.accept("ratings:9080")) == ["ratings:9080"]
    await stream.ask("rds", CLUSTER)
    assert names(await stream.accept(CLUSTER)) == [CLUSTER]
    await stream.ask("cds", CLUSTER)
    assert names(await stream.accept(CLUSTER)) == [CLUSTER]
    await stream.ask("eds", CLUSTER)
    assert addresses(await stream.accept(CLUSTER)) == ["10.0.0.1:9080"]


async def test_an_edit_reaches_clients_and_only_what_changed(plane, folder, connect):
    stream = await connect(plane.address)
    for kind in ("cds", "eds"):
        await stream.ask(kind, CLUSTER)
        await stream.accept(CLUSTER)
    (folder / "ratings.yaml").write_text(ratings("10.0.0.2"))
    response = await stream.accept(CLUSTER)
    assert addresses(response) == ["10.0.0.2:9080"]


async def test_a_bad_edit_is_refused_whole_and_mended_by_the_next(plane, folder, connect, said):
    stream = await connect(plane.address)
    await stream.ask("eds", CLUSTER)
    await stream.accept(CLUSTER)
    version = plane.version
    (folder / "more.yaml").write_text(ratings("10.0.0.9").replace("name: ratings", "name: x"))
    bad = ratings("10.0.0.3").replace("resolution: STATIC", "resolution: SOMEHOW")
    (folder / "ratings.yaml").write_text(bad)
    assert "STATIC" in await said("ratings.yaml:7:15: ")
    assert plane.version == version
    assert "ratings.yaml:7:15" in str(plane.errors[0])
    assert plane.status["errors"] == [str(problem) for problem in plane.errors]
    (folder / "more.yaml").unlink()
    (folder / "ratings.yaml").write_text(ratings("10.0.0.4"))
    assert addresses(await stream.accept(CLUSTER)) == ["10.0.0.4:9080"]
    assert plane.errors == ()


async def test_a_config_that_is_bad_from_the_start_is_refused(folder):
    (folder / "ratings.yaml").write_text("kind: [\n")
    with pytest.raises(ConfigError, match=r"ratings\.yaml:2:1"):
        await ControlPlane(folder, listen="127.0.0.1:0").start()


async def test_manifests_may_be_dicts(connect):
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "ratings"},
        "spec": {"ports": [{"name": "http", "port": 9080}]},
    }
    async with ControlPlane([], listen="127.0.0.1:0") as plane:
        stream = await connect(plane.address)
        await stream.ask("lds", "ratings:9080")
        assert names(await stream.accept("ratings:9080")) == []
        await plane.apply([manifest])
        assert names(await stream.accept("ratings:9080")) == ["ratings:9080"]
        with pytest.raises(ConfigError):
            await plane.apply([{"kind": "Nonsense"}])
        assert "Nonsense" in str(plane.errors[0])


async def test_meshlib_is_told_that_a_listener_does_not_exist(plane, connect):
    stream = await connect(plane.address, user_agent="meshlib")
    await stream.ask("lds", "nobody:1")
    response = await stream.next()
    assert [(e.resource_name.name, e.error_detail.code) for e in response.resource_errors] == [
        ("nobody:1", grpc.StatusCode.NOT_FOUND.value[0])
    ]


async def test_others_see_only_that_a_listener_is_absent(plane, connect):
    stream = await connect(plane.address, user_agent="gRPC C-core linux")
    await stream.ask("lds", "nobody:1")
    response = await stream.next()
    assert not response.resources
    assert not response.resource_errors


async def test_an_envoy_gets_all_clusters_a_listener_and_routes_by_port(plane, connect):
    stream = await connect(plane.address, user_agent="envoy")
    await stream.ask("cds")
    assert CLUSTER in names(await stream.accept())
    await stream.ask("lds")
    assert names(await stream.accept()) == ["127.0.0.1_9080"]
    await stream.ask("rds", "9080")
    assert names(await stream.accept("9080")) == ["9080"]


async def test_a_member_of_another_namespace_needs_the_longer_name(plane, connect):
    stream = await connect(plane.address, NAMESPACE="elsewhere")
    await stream.ask("lds", "ratings:9080", "ratings.default:9080")
    response = await stream.next()
    assert names(response) == ["ratings.default:9080"]


async def test_a_nack_is_kept_in_status_and_not_answered_by_the_same(plane, connect):
    stream = await connect(plane.address, node_id="picky")
    await stream.ask("cds", CLUSTER)
    refused = await stream.next()
    await stream.ask("cds", CLUSTER, error=f"clusters/{CLUSTER}: not to my taste")
    await stream.ask("eds", CLUSTER)
    response = await stream.next()
    assert response.type_url != refused.type_url
    (client,) = plane.status["clients"]
    assert client["types"]["cds"]["state"] == "NACK"
    (nack,) = plane.status["nacks"]
    assert (nack["client"], nack["type"], nack["resources"]) == ("picky", "cds", [CLUSTER])
    assert nack["version"] == refused.version_info
    assert "not to my taste" in nack["text"]


async def test_status_and_config_are_told_over_http(plane, connect):
    stream = await connect(plane.address, node_id="anna", NAMESPACE="default", LABELS={"app": "a"})
    await stream.ask("eds", CLUSTER)
    await stream.accept(CLUSTER)
    assert await get(plane, "/healthz") == (200, "ok\n")
    assert (await get(plane, "/readyz"))[0] == 200
    status = json.loads((await get(plane, "/api/v1/status"))[1])
    assert status["version"] == plane.version
    (client,) = status["clients"]
    assert (client["id"], client["kind"], client["labels"]) == ("anna", "other", {"app": "a"})
    config = json.loads((await get(plane, "/api/v1/config/anna"))[1])
    (served,) = config["streams"][0]["types"]["eds"]["resources"]
    assert served["cluster_name"] == CLUSTER
    missing, text = await get(plane, "/api/v1/config/nobody")
    assert (missing, json.loads(text)["clients"]) == (404, ["anna"])


async def test_a_page_that_borrowed_our_address_may_not_read(plane):
    status, _ = await get(plane, "/api/v1/status", headers={"Host": "evil.example:80"})
    assert status == 403


async def test_a_stream_must_begin_with_a_node(plane, connect):
    stream = await connect(plane.address)
    stream._node = None
    await stream.ask("cds")
    assert await stream.ended() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stop_ends_streams_in_order_and_frees_the_address(folder, connect):
    async with ControlPlane(folder, listen="127.0.0.1:0") as plane:
        stream = await connect(plane.address)
        await stream.ask("cds")
        await stream.accept()
        stopping = asyncio.create_task(plane.stop())
        assert await stream.ended() == grpc.StatusCode.OK
        await stopping
    async with ControlPlane(folder, listen=plane.address) as again:
        assert again.address == plane.address


async def test_an_address_is_never_shared(plane, folder):
    with pytest.raises(MeshError, match="cannot listen"):
        await ControlPlane(folder, listen=plane.address).start()
    with pytest.raises(MeshError, match="cannot listen"):
        await ControlPlane(folder, listen="127.0.0.1:0", admin=plane.admin_address).start()


async def test_a_client_that_comes_later_gets_the_same_bytes(plane, connect):
    bodies = []
    for _ in range(2):
        stream = await connect(plane.address)
        await stream.ask("eds", CLUSTER)
        bodies.append((await stream.accept(CLUSTER)).resources[0].value)
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("wrong", [{"listen": "here"}, {"admin": "here:99999"}])
def test_an_address_that_is_none_is_refused_at_once(wrong):
    with pytest.raises(ConfigError, match="is not host:port"):
        ControlPlane([], **wrong)


@pytest.mark.parametrize(
    ("user_agent", "is_downgraded"),
    [
        ("gRPC C-core linux", True),
        ("gRPC Go", True),
        ("gRPC Java", True),
        ("gRPC Node Pure JS", True),
        ("envoy", False),
        ("meshlib", False),
    ],
)
async def test_a_downgrade_is_told_in_the_status_and_in_the_log(
    connect, caplog, user_agent, is_downgraded
):
    caplog.set_level("INFO", "meshlib.controlplane")
    random = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "ratings"},
        "spec": {
            "host": "ratings",
            "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
        },
    }
    (service,) = yaml.safe_load_all(ratings())
    async with ControlPlane(config=[service, random], listen="127.0.0.1:0") as plane:
        client = await connect(plane.address, user_agent=user_agent)
        await client.ask("cds", CLUSTER)
        await client.next()
        said = f"clusters/{CLUSTER}: Random is RoundRobin for gRPC clients"
        assert (said in plane.status["downgrades"]) == is_downgraded
    assert (f"downgraded {said}" in caplog.text) == is_downgraded


async def test_nobody_is_told_of_clients_that_never_came(caplog):
    service = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "reviews"},
        "spec": {
            "hosts": ["reviews.example.com"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        },
    }
    async with ControlPlane(config=[service], listen="127.0.0.1:0") as plane:
        assert not plane.status["downgrades"]
    assert "downgraded" not in caplog.text
