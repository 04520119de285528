"""The MeshConfig: what of it has no effect."""

from collections.abc import Iterator

from ..manifests.finding import NOT_ACTED_ON, Finding
from ..manifests.marks import Path
from ..world import World
from .policies import remarks_of_pool


def check(world: World) -> Iterator[Finding]:
    manifest = world.mesh_manifest
    if manifest is None:
        return
    said: list[tuple[Path, str]] = []
    config = manifest.spec
    if config.h2_upgrade_policy != "DEFAULT":
        text = "h2UpgradePolicy has no effect: gRPC speaks HTTP/2 always, aiohttp HTTP/1.1"
        said.append((("h2UpgradePolicy",), text))
    baseline = config.default_traffic_policy
    if baseline is not None and baseline.connection_pool is not None:
        for path, text in remarks_of_pool(baseline.connection_pool):
            said.append((("defaultTrafficPolicy", "connectionPool", *path), text))
    if config.mesh_mtls is not None and config.mesh_mtls.min_protocol_version != "TLS_AUTO":
        text = "minProtocolVersion has no effect: TLS 1.2 at least is spoken in any case"
        said.append((("meshMTLS", "minProtocolVersion"), text))
    for path, text in said:
        yield Finding(NOT_ACTED_ON, "info", manifest.place_of(*path), str(manifest), text)
