"""A member's admin port beside that of a real Envoy: the same words for the same things."""

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.protobuf import json_format

import meshlib
from meshlib.controlplane import SnapshotCache, serve
from meshlib.identity.authority import Authority
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.testing.envoy import ANYWHERE, bootstrap, running, socket_address
from meshlib.xds.protos import message_class, pool

pytestmark = pytest.mark.interop

OWN = {"connect_failures_in_a_row"}
"""What Envoy has no word for."""
V3 = "type.googleapis.com/envoy"
ROUTER = f"{V3}.extensions.filters.http.router.v3.Router"
MANAGER = f"{V3}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TABLE = {
    "name": "web",
    "virtual_hosts": [
        {
            "name": "web",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}],
        }
    ],
}
FRONT = {
    "@type": MANAGER,
    "stat_prefix": "web",
    "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    "route_config": TABLE,
}


def endpoint(place: str, **rest: Any) -> dict[str, Any]:
    return {"endpoint": {"address": socket_address(place)}, **rest}


WEB = {
    "name": "web",
    "type": "STATIC",
    "connect_timeout": "1s",
    "circuit_breakers": {"thresholds": [{"max_requests": 7}]},
    "load_assignment": {
        "cluster_name": "web",
        "endpoints": [
            {
                "locality": {"region": "eu", "zone": "a"},
                "lb_endpoints": [
                    endpoint("127.0.0.1:1", load_balancing_weight=3),
                    endpoint("127.0.0.1:2", health_status="UNHEALTHY"),
                ],
            },
            {
                "priority": 1,
                "lb_endpoints": [
                    endpoint("127.0.0.1:3", health_status="DRAINING"),
                    endpoint("127.0.0.1:4", health_status="DEGRADED"),
                ],
            },
        ],
    },
}
FRONT_LISTENER = {
    "name": "web",
    "address": socket_address(ANYWHERE),
    "filter_chains": [{"filters": [{"name": "http", "typed_config": FRONT}]}],
}
Ask = Callable[[str], Awaitable[str]]


@pytest.fixture
async def theirs(envoy: Path, tmp_path: Path) -> Any:
    (folder := tmp_path / "envoy").mkdir()
    async with running(envoy, bootstrap(listeners=[FRONT_LISTENER], clusters=[WEB]), folder):
        yield asking((folder / "admin").read_text())


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with a certificate, its key and its roots."""
    domain = TrustDomain("cluster.local")
    then = time.time() - 600  # far from where another second is another day
    authority = Authority.create(MemoryStore(), domain, then)
    svid = authority.issue(SpiffeId(domain, "/ns/default/sa/web"), then)
    for name, content in (
        ("svid.pem", svid.certificate_chain),
        ("key.pem", svid.private_key),
        ("bundle.pem", authority.bundle().pem),
    ):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def secured(folder: Path) -> dict[str, Any]:
    chain = {
        "certificate_chain": {"filename": str(folder / "svid.pem")},
        "private_key": {"filename": str(folder / "key.pem")},
    }
    roots = {"trusted_ca": {"filename": str(folder / "bundle.pem")}}
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{V3}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"tls_certificates": [chain], "validation_context": roots},
        },
    }


@pytest.fixture
async def ours() -> Any:
    cache = SnapshotCache(lambda _node: "all", check=False)
    listener = {
        "@type": f"{V3}.config.listener.v3.Listener",
        "name": "web:80",
        "api_listener": {"api_listener": FRONT},
    }
    cache.set_snapshot("all", [listener, {"@type": f"{V3}.config.cluster.v3.Cluster", **WEB}])
    async with (
        serve(cache, "127.0.0.1:0") as server,
        meshlib.Mesh("me", control_plane=server.address, admin="127.0.0.1:0") as mesh,
    ):
        assert await mesh.aready("web:80", timeout=30)
        assert mesh.admin_address
        yield asking(mesh.admin_address)


def asking(address: str) -> Ask:
    async def ask(path: str) -> str:
        async with (
            aiohttp.ClientSession(f"http://{address}") as session,
            session.get(path) as response,
        ):
            assert response.status == 200
            return await response.text()

    return ask


def told(text: str) -> dict[tuple[str, ...], str]:
    """Of the cluster: values by all that stands before them."""
    lines = [line.split("::") for line in text.splitlines() if line.startswith("web::")]
    return {tuple(words[1:-1]): words[-1] for words in lines}


async def test_lines_of_clusters_are_envoys(theirs: Ask, ours: Ask) -> None:
    envoys, own = told(await theirs("/clusters")), told(await ours("/clusters"))
    assert own.pop(("added_via_api",)) == "true"  # here it was, there it is static
    shared = {key: value for key, value in own.items() if key[-1] not in OWN}
    assert shared == {key: envoys.get(key) for key in shared}
    assert len(shared) > 40


async def statuses(ask: Ask) -> list[Any]:
    """The endpoints of the cluster, as strictly as any reader has it."""
    text = await ask("/clusters?format=json")
    read: Any = json_format.Parse(
        text, message_class("envoy.admin.v3.Clusters")(), descriptor_pool=pool()
    )
    found: list[Any] = [one for one in read.cluster_statuses if one.name == "web"]
    return sorted(found[0].host_statuses, key=lambda one: one.address.socket_address.port_value)


async def test_clusters_are_told_in_envoys_message_as_envoy_does(theirs: Ask, ours: Ask) -> None:
    envoys, own = await statuses(theirs), await statuses(ours)
    assert len(own) == 4
    for their_one, our_one in zip(envoys, own, strict=True):
        for name in ("address", "weight", "priority", "locality", "hostname", "health_status"):
            assert getattr(our_one, name) == getattr(their_one, name)
        stats = {stat.name: stat for stat in their_one.stats}
        assert {stat.name for stat in our_one.stats} - stats.keys() == OWN
        assert all(stats.get(stat.name, stat) == stat for stat in our_one.stats)


@pytest.mark.parametrize(
    "page",
    ["/ready", "/config_dump", "/server_info", "/certs", "/runtime", "/listeners?format=json"],
)
async def test_pages_have_the_same_names_and_the_same_keys(
    theirs: Ask, ours: Ask, page: str
) -> None:
    envoys, own = await theirs(page), await ours(page)
    if page == "/ready":
        assert own == envoys == "LIVE\n"
        return
    keys, known = set(json.loads(own)), set(json.loads(envoys))
    assert keys - known == ({"meshlib"} if page == "/server_info" else set())


async def test_certificates_are_told_as_envoy_tells_them(
    envoy: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := certificates / "envoy").mkdir()
    config = bootstrap(
        listeners=[FRONT_LISTENER], clusters=[{**WEB, "transport_socket": secured(certificates)}]
    )
    monkeypatch.setenv("MESHLIB_CERT_DIR", str(certificates))
    async with (
        running(envoy, config, folder),
        meshlib.Mesh("web", config=[], admin="127.0.0.1:0") as mesh,
    ):
        assert mesh.admin_address
        theirs, ours = asking((folder / "admin").read_text()), asking(mesh.admin_address)
        envoys, own = [json.loads(await ask("/certs"))["certificates"] for ask in (theirs, ours)]
    for one in (*envoys, *own):
        for each in (*one["ca_cert"], *one["cert_chain"]):
            del each["path"]  # who a member is, comes from a source that is no file to others
    for one in own:
        del one["cert_chain"][1:]  # Envoy tells the first alone
    assert own == envoys


async def kinds(ask: Ask) -> list[str]:
    dump = json.loads(await ask("/config_dump?include_eds"))
    return [one["@type"] for one in dump["configs"]]


async def test_kinds_of_dumps_are_told_in_envoys_order(theirs: Ask, ours: Ask) -> None:
    envoys, own = await kinds(theirs), await kinds(ours)
    assert [kind for kind in envoys if kind in own] == [kind for kind in own if kind in envoys]
    assert len(set(envoys) & set(own)) > 3
