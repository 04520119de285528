"""The MeshConfig: what of it has no effect."""

from collections.abc import Iterator

from ..compile.telemetry_logs import ENVOY, default_loggers
from ..manifests.finding import NOT_ACTED_ON, Finding
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..manifests.mesh_config import MeshConfig, MeshTLS
from ..world import World
from .policies import remarks_of_pool

FORMLESS = f"has no effect without accessLogFile, or lines by the provider {ENVOY!r}"


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
    said += [((field,), FORMLESS) for field in _forms(config, world)]
    for path, text in said:
        yield Finding(NOT_ACTED_ON, "info", manifest.place_of(*path), str(manifest), text)
    if config.mesh_mtls is not None:
        yield from _of_versions(config.mesh_mtls, manifest)


def _of_versions(said: MeshTLS, manifest: Manifest[MeshConfig]) -> Iterator[Finding]:
    place = manifest.place_of("meshMTLS", "minProtocolVersion")
    if said.min_protocol_version == "TLSV1_2":
        text = "minProtocolVersion has no effect: TLS 1.2 at least is spoken in any case"
        yield Finding(NOT_ACTED_ON, "info", place, str(manifest), text)
    elif said.min_protocol_version == "TLSV1_3":
        text = (
            "minProtocolVersion is not enforced: members speak TLS 1.3 with one another, and let in"
            " others who can speak 1.2 alone"
        )
        yield Finding(NOT_ACTED_ON, "warning", place, str(manifest), text)


def _forms(config: MeshConfig, world: World) -> Iterator[str]:
    """What is said of the form of lines that nobody writes."""
    rules = (rule for one in world.telemetries for rule in one.spec.access_logging)
    named = {name for rule in rules for name in rule.names}
    if config.access_log_file or ENVOY in named.union(default_loggers(world.mesh_config)):
        return
    if config.access_log_format:
        yield "accessLogFormat"
    if config.access_log_encoding != "TEXT":
        yield "accessLogEncoding"
