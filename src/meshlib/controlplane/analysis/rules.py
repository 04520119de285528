"""DestinationRules: whom they speak of."""

from collections.abc import Iterator

from ..compile.names import HostIndex, full_host
from ..compile.services import MeshService, registry
from ..manifests.destination_rule import DestinationRule, PortTrafficPolicy, TrafficPolicy
from ..manifests.finding import EMPTY_SUBSET, NOT_ACTED_ON, UNKNOWN_RULE_HOST, Finding
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..world import World


def check(world: World) -> Iterator[Finding]:
    services = HostIndex((service.host, service) for service in registry(world))
    for manifest in world.destination_rules:
        yield from _host_and_subsets(manifest, services)
        for path, said in _without_effect(manifest.spec):
            yield Finding(NOT_ACTED_ON, "info", manifest.place_of(*path), str(manifest), said)


def _host_and_subsets(
    manifest: Manifest[DestinationRule], services: HostIndex[MeshService]
) -> Iterator[Finding]:
    host = full_host(manifest.spec.host, manifest.namespace)
    meant = list(services.below(host))
    if not meant:
        place = manifest.place_of("host")
        said = f"no service {host} is known: the rule has no effect"
        yield Finding(UNKNOWN_RULE_HOST, "warning", place, str(manifest), said)
        return
    for index, subset in enumerate(manifest.spec.subsets):
        labels = subset.labels.items()
        if not any(labels <= w.labels.items() for service in meant for w in service.workloads):
            place = manifest.place_of("subsets", index)
            said = f"subset {subset.name!r} selects no endpoint"
            yield Finding(EMPTY_SUBSET, "warning", place, str(manifest), said)


def _without_effect(rule: DestinationRule) -> Iterator[tuple[Path, str]]:
    layers: list[tuple[Path, TrafficPolicy | None]] = [(("trafficPolicy",), rule.traffic_policy)]
    for index, subset in enumerate(rule.subsets):
        layers.append((("subsets", index, "trafficPolicy"), subset.traffic_policy))
    for path, policy in layers:
        if policy is None:
            continue
        yield from _policy_without_effect(path, policy)
        for index, settings in enumerate(policy.port_level_settings):
            yield from _policy_without_effect((*path, "portLevelSettings", index), settings)


def _policy_without_effect(
    path: Path, policy: TrafficPolicy | PortTrafficPolicy
) -> Iterator[tuple[Path, str]]:
    if policy.outlier_detection is not None:
        said = "outlierDetection is served to other clients; meshlib's own do not eject yet"
        yield (*path, "outlierDetection"), said
    pool = policy.connection_pool
    if pool is None:
        return
    limits = {
        ("tcp", "maxConnections"): pool.tcp.max_connections,
        ("http", "http1MaxPendingRequests"): pool.http.http1_max_pending_requests,
    }
    for (room, name), limit in limits.items():
        if limit:
            said = (
                f"{name} is served to other clients; meshlib's own are limited by http2MaxRequests"
            )
            yield (*path, "connectionPool", room, name), said
