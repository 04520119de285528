"""DestinationRules: whom they speak of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...model import OutlierDetection
from ..compile.endpoints import labels_of
from ..compile.names import HostIndex, full_host
from ..compile.services import MeshService, Workload, registry
from ..manifests.destination_rule import DestinationRule, PortTrafficPolicy, TrafficPolicy
from ..manifests.finding import EMPTY_SUBSET, NOT_ACTED_ON, UNKNOWN_RULE_HOST, Finding
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..world import MeshSettings, World
from . import unbalanced
from .policies import Remark, remarks


@dataclass(frozen=True, slots=True)
class Layer:
    """One policy of a rule, for endpoints with these ``labels``.

    ``ejects``: somebody above it says ``outlierDetection`` already.
    """

    path: Path
    policy: TrafficPolicy | PortTrafficPolicy
    ejects: bool
    labels: Mapping[str, str]


def check(world: World) -> Iterator[Finding]:
    services = HostIndex((service.host, service) for service in registry(world))
    for manifest in world.destination_rules:
        yield from _host_and_subsets(manifest, services)
        for layer in _layers(manifest.spec, world.mesh_config):
            for path, said in _remarks(layer, list(services.below(_host(manifest)))):
                place = manifest.place_of(*layer.path, *path)
                yield Finding(NOT_ACTED_ON, "info", place, str(manifest), said)


def _remarks(layer: Layer, meant: Sequence[MeshService]) -> Iterator[Remark]:
    if unbalanced.is_unbalanced(meant):
        yield from unbalanced.remarks_of_policy(layer.policy)
        return
    yield from remarks(layer.policy, ejects=layer.ejects)
    yield from _ejections(layer, meant)


def _ejections(layer: Layer, meant: Sequence[MeshService]) -> Iterator[Remark]:
    """Of one endpoint nobody expects it; how many a name has is not known here."""
    said = layer.policy.outlier_detection
    if said is None:
        return
    per_cent = said.max_ejection_percent or OutlierDetection().max_ejection_percent
    counts = [len(_selected(s, layer.labels)) for s in meant if s.resolution == "STATIC"]
    few = min((count for count in counts if count > 1), default=0)
    if few * per_cent < 100 and few:
        text = f"never ejects: one of {few} endpoints is more than maxEjectionPercent, {per_cent}"
        yield ("outlierDetection",), text


def _selected(service: MeshService, labels: Mapping[str, str]) -> list[Workload]:
    return [w for w in service.workloads if labels.items() <= labels_of(w).items()]


def _host(manifest: Manifest[DestinationRule]) -> str:
    return full_host(manifest.spec.host, manifest.namespace)


def _host_and_subsets(
    manifest: Manifest[DestinationRule], services: HostIndex[MeshService]
) -> Iterator[Finding]:
    host = _host(manifest)
    meant = list(services.below(host))
    if not meant:
        place = manifest.place_of("host")
        said = f"no service {host} is known: the rule has no effect"
        yield Finding(UNKNOWN_RULE_HOST, "warning", place, str(manifest), said)
        return
    for index, subset in enumerate(manifest.spec.subsets):
        if not any(_selected(service, subset.labels) for service in meant):
            place = manifest.place_of("subsets", index)
            said = f"subset {subset.name!r} selects no endpoint"
            yield Finding(EMPTY_SUBSET, "warning", place, str(manifest), said)


def _layers(rule: DestinationRule, mesh: MeshSettings) -> Iterator[Layer]:
    baseline = mesh.default_traffic_policy
    ejects = bool(baseline and baseline.outlier_detection)
    layers: list[tuple[Path, TrafficPolicy | None, Mapping[str, str]]]
    layers = [(("trafficPolicy",), rule.traffic_policy, {})]
    for index, subset in enumerate(rule.subsets):
        layers.append((("subsets", index, "trafficPolicy"), subset.traffic_policy, subset.labels))
    own = rule.traffic_policy
    for path, policy, labels in layers:
        if policy is None:
            continue
        inherited = own is not None and own.outlier_detection is not None
        yield Layer(path, policy, ejects or inherited, labels)
        for index, settings in enumerate(policy.port_level_settings):
            yield Layer((*path, "portLevelSettings", index), settings, ejects, labels)
