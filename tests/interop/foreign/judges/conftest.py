"""Envoys that have nothing of their own but the address of our control plane."""

import json
import random
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import pytest

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
LABELS = {"app": "reviews"}
EDITS = "from the edit of a file to the first affected call, ms"


class Envoy:
    """A running Envoy that says what is in force.

    It takes calls of the program beside it at ``address``, and those of others at ``inbound``.
    """

    def __init__(self, name: str, labels: dict[str, str], folder: Path) -> None:
        self.name, self.labels = name, labels
        self.address, self.inbound = loopback(), loopback()
        self._folder = folder
        folder.mkdir()
        self.admin = ""

    def start(self, binary: Path, config: dict[str, Any]) -> None:
        (self._folder / "envoy.json").write_text(json.dumps(config))
        places = ["-c", "envoy.json", "--admin-address-path", "admin", "--log-path", "log"]
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        self._process = subprocess.Popen(
            [str(binary), *places, *options], cwd=self._folder, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
        print(self.log())

    def log(self) -> str:
        return (self._folder / "log").read_text()

    async def is_up(self) -> bool:
        assert self._process.poll() is None, self.log()
        told = self._folder / "admin"
        self.admin = told.read_text() if told.exists() else ""
        return bool(self.admin) and bool(await self.listeners())

    async def ask(self, path: str) -> Any:
        async with (
            aiohttp.ClientSession(f"http://{self.admin}") as session,
            session.get(path) as response,
        ):
            text = await response.text()
            assert response.status == 200, text
            return json.loads(text)

    async def listeners(self) -> dict[str, str]:
        return {
            one["name"]: "{address}:{port_value}".format(**one["local_address"]["socket_address"])
            for one in (await self.ask("/listeners?format=json")).get("listener_statuses", ())
        }

    async def counts(self, ending: str) -> dict[str, int]:
        stats = (await self.ask(f"/stats?format=json&filter={ending}$"))["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}


@pytest.fixture
def tell_edits(
    request: pytest.FixtureRequest, tell: Callable[[str, str], None]
) -> Callable[..., None]:
    """``tell_edits(calls, [("weights", 0.1), …])``: a line of medians by the kind of edit."""

    def told(calls: int, delays: list[tuple[str, float]]) -> None:
        kinds = list(dict.fromkeys(kind for kind, _ in delays))
        numbers = [median(delay for one, delay in delays if one == kind) for kind in kinds]
        numbers.append(max(delay for _, delay in delays))
        head = "".join(f"{kind:>10}" for kind in (*kinds, "worst"))
        line = "".join(f"{1000 * one:>10.0f}" for one in numbers)
        tell(EDITS, f"{'client':<14}{'calls':>7}{'failed':>7}{head}")
        tell(EDITS, f"{request.node.callspec.id:<14}{calls:>7}{0:>7}{line}")

    return told


@pytest.fixture
def spawn_envoy(envoy: Path, tmp_path: Path) -> Iterator[Callable[..., Envoy]]:
    """``spawn_envoy(address, "GRPC")``: under the control plane at the address, not waited for."""
    running: list[Envoy] = []

    def spawned(ads: str, kind: str, labels: dict[str, str] = LABELS) -> Envoy:
        name = f"envoy-{len(running)}"
        one = Envoy(name, labels, tmp_path / name)
        one.start(envoy, bootstrap(one, ads, kind))
        running.append(one)
        return one

    yield spawned
    for one in running:
        one.stop()


@pytest.fixture
def start_envoy(
    spawn_envoy: Callable[..., Envoy], until: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Envoy]]:
    """The same, listening by now."""

    async def started(*arguments: Any, **rest: Any) -> Envoy:
        one = spawn_envoy(*arguments, **rest)
        await until(one.is_up)
        return one

    return started


def loopback() -> str:
    """An address of this machine's own that no other test listens on."""
    return f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"


def bootstrap(one: Envoy, ads: str, kind: str) -> dict[str, Any]:
    ours = {"ads": {}, "resource_api_version": "V3"}
    metadata = {
        "NAMESPACE": "default",
        "LABELS": one.labels,
        "MESHLIB_LISTEN_ADDRESS": one.address,
        "MESHLIB_INBOUND_ADDRESS": one.inbound,
    }
    return {
        "node": {"id": one.name, "cluster": "reviews", "metadata": metadata},
        "admin": {"address": socket_address("127.0.0.1:0")},
        "dynamic_resources": {
            "ads_config": {
                "api_type": kind,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}],
            },
            "cds_config": ours,
            "lds_config": ours,
        },
        "static_resources": {"clusters": [control_plane_cluster(ads)]},
    }


def control_plane_cluster(ads: str) -> dict[str, Any]:
    place = {"lb_endpoints": [{"endpoint": {"address": socket_address(ads)}}]}
    return {
        "name": "ads",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": "ads", "endpoints": [place]},
    }


def socket_address(place: str) -> dict[str, Any]:
    host, port = place.split(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
