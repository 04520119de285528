"""DestinationRules: whom they speak of."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..compile.endpoints import labels_of
from ..compile.names import HostIndex, full_host
from ..compile.services import MeshService, registry
from ..manifests.destination_rule import DestinationRule, PortTrafficPolicy, TrafficPolicy
from ..manifests.finding import EMPTY_SUBSET, NOT_ACTED_ON, UNKNOWN_RULE_HOST, Finding
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..world import MeshSettings, World
from .policies import remarks


@dataclass(frozen=True, slots=True)
class Layer:
    """One policy of a rule; ``ejects``: somebody above it says ``outlierDetection`` already."""

    path: Path
    policy: TrafficPolicy | PortTrafficPolicy
    ejects: bool


def check(world: World) -> Iterator[Finding]:
    services = HostIndex((service.host, service) for service in registry(world))
    for manifest in world.destination_rules:
        yield from _host_and_subsets(manifest, services)
        for layer in _layers(manifest.spec, world.mesh_config):
            for path, said in remarks(layer.policy, ejects=layer.ejects):
                place = manifest.place_of(*layer.path, *path)
                yield Finding(NOT_ACTED_ON, "info", place, str(manifest), said)


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
        if not any(labels <= labels_of(w).items() for service in meant for w in service.workloads):
            place = manifest.place_of("subsets", index)
            said = f"subset {subset.name!r} selects no endpoint"
            yield Finding(EMPTY_SUBSET, "warning", place, str(manifest), said)


def _layers(rule: DestinationRule, mesh: MeshSettings) -> Iterator[Layer]:
    baseline = mesh.default_traffic_policy
    ejects = bool(baseline and baseline.outlier_detection)
    layers: list[tuple[Path, TrafficPolicy | None]] = [(("trafficPolicy",), rule.traffic_policy)]
    for index, subset in enumerate(rule.subsets):
        layers.append((("subsets", index, "trafficPolicy"), subset.traffic_policy))
    own = rule.traffic_policy
    for path, policy in layers:
        if policy is None:
            continue
        inherited = own is not None and own.outlier_detection is not None
        yield Layer(path, policy, ejects=ejects or inherited)
        for index, settings in enumerate(policy.port_level_settings):
            yield Layer((*path, "portLevelSettings", index), settings, ejects=ejects)
