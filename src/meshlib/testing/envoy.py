"""A real Envoy that is told all by a bootstrap, and the pieces of bootstraps."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
BY_ADS = {"ads": {}, "resource_api_version": "V3"}
ANYWHERE = "127.0.0.1:0"
PATIENCE = 20.0
POLL = 0.02
QUIET = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")


class Envoy:
    """Runs from here on until it is stopped, and keeps what it writes in the folder."""

    def __init__(self, binary: Path, config: Mapping[str, Any], folder: Path) -> None:
        self._folder = folder
        (folder / "envoy.json").write_text(json.dumps(config))
        places = ("-c", "envoy.json", "--admin-address-path", "admin", "--log-path", "log")
        self._process = subprocess.Popen(
            [str(binary), *places, *QUIET], cwd=folder, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        """What it logged is printed, for the test that fails."""
        self._process.kill()
        self._process.wait(10)
        print(self.log()[-4000:])  # noqa: T201

    def log(self) -> str:
        log = self._folder / "log"
        return log.read_text() if log.exists() else ""

    async def is_up(self) -> bool:
        """It knows all that it waits for at first, and listens."""
        assert self._process.poll() is None, self.log()
        if not self._admin():
            return False
        return (await self.ask("/server_info"))["state"] == "LIVE" and bool(await self.listeners())

    def _admin(self) -> str:
        told = self._folder / "admin"
        return told.read_text() if told.exists() else ""

    async def until_it_is_up(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await self.is_up():  # noqa: ASYNC110 - it has no way to call back
                await asyncio.sleep(POLL)

    async def ask(self, path: str) -> Any:
        """Of its admin interface."""
        async with (
            aiohttp.ClientSession(f"http://{self._admin()}") as session,
            session.get(path) as response,
        ):
            text = await response.text()
            assert response.status == 200, text
            return json.loads(text)

    async def listeners(self) -> dict[str, str]:
        """``host:port`` by name."""
        return {
            one["name"]: "{address}:{port_value}".format(**one["local_address"]["socket_address"])
            for one in (await self.ask("/listeners?format=json")).get("listener_statuses", ())
        }

    async def ports(self) -> dict[str, int]:
        return {
            name: int(place.rpartition(":")[2]) for name, place in (await self.listeners()).items()
        }

    async def port(self) -> int:
        """Of its only listener."""
        (port,) = (await self.ports()).values()
        return port

    async def counts(self, ending: str) -> dict[str, int]:
        stats = (await self.ask(f"/stats?format=json&filter={ending}$"))["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}


@asynccontextmanager
async def running(binary: Path, config: Mapping[str, Any], folder: Path) -> AsyncIterator[Envoy]:
    """It is up as the block begins, and gone as it ends."""
    envoy = Envoy(binary, config, folder)
    try:
        await envoy.until_it_is_up()
        yield envoy
    finally:
        envoy.stop()


def bootstrap(
    *,
    listeners: Iterable[Mapping[str, Any]] = (),
    clusters: Iterable[Mapping[str, Any]] = (),
    **rest: Any,
) -> dict[str, Any]:
    """Resources may come as they are packed; ``rest`` are fields beside the static resources."""
    kinds = {"listeners": listeners, "clusters": clusters}
    static = {
        kind: [{key: value for key, value in one.items() if key != "@type"} for one in resources]
        for kind, resources in kinds.items()
    }
    admin = {"address": socket_address(ANYWHERE)}
    return {"admin": admin, "static_resources": static, **rest}


def stream_to(cluster: str, api_type: str = "GRPC") -> dict[str, Any]:
    """A stream of configuration or of reports, to a cluster that is known by other means.

    One that breaks is opened anew within a moment, instead of within up to 30 s.
    """
    soon = {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.2s"}}
    return {
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": cluster, "retry_policy": soon}}],
    }


def http2_cluster(name: str, place: str, **locality: str) -> dict[str, Any]:
    """One endpoint, in plain text."""
    endpoints: dict[str, Any] = {"lb_endpoints": [{"endpoint": {"address": socket_address(place)}}]}
    if locality:
        endpoints["locality"] = locality
    http2 = {
        "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {HTTP_OPTIONS: http2},
        "load_assignment": {"cluster_name": name, "endpoints": [endpoints]},
    }


def socket_address(place: str) -> dict[str, Any]:
    """``place`` is ``host:port``."""
    host, _, port = place.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
