"""Who wants mutual TLS and who speaks it: ports that are not there, rules that part ways."""

from collections.abc import Iterator

from ..compile.endpoints import target_port
from ..compile.names import HostIndex, full_host
from ..compile.peer_modes import peer_modes
from ..compile.services import (
    ACCOUNTS_ANNOTATION,
    MeshPort,
    MeshService,
    Workload,
    registry,
    selector,
)
from ..manifests.client_tls import ClientTLSSettings
from ..manifests.destination_rule import DestinationRule
from ..manifests.finding import ANY_ACCOUNT, MTLS_CONFLICT, NOT_ACTED_ON, Finding
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..manifests.peer_authentication import Mode, PeerAuthentication
from ..manifests.service import Service
from ..manifests.traffic_policy import TrafficPolicy
from ..world import World


def check(world: World) -> Iterator[Finding]:
    for manifest in world.peer_authentications:
        yield from _ports(manifest, world)
    yield from _anybody(world)
    services = HostIndex((service.host, service) for service in registry(world))
    for rule in world.destination_rules:
        for path, tls, port in _written(rule.spec):
            yield from _secret(rule, path, tls)
            host = full_host(rule.spec.host, rule.namespace)
            for service in services.below(host):
                yield from _conflict(rule, path, tls, port, service, world)


def _ports(manifest: Manifest[PeerAuthentication], world: World) -> Iterator[Finding]:
    """Of the workload, which may be others than those of its service."""
    asked = manifest.spec.port_modes
    meant = [one for one in registry(world) if asked and _selects(manifest, one)]
    known = {number for service in meant for number in _numbers(service)}
    for number in asked:
        if meant and number not in known:
            place = manifest.place_of("portLevelMtls", str(number))
            said = f"no service leads to port {number} of the workloads that it selects"
            yield Finding(NOT_ACTED_ON, "warning", place, str(manifest), said)


def _anybody(world: World) -> Iterator[Finding]:
    """Certificates prove the account, and labels prove nothing."""
    for service in {id(one.manifest): one for one in registry(world)}.values():
        manifest, labels = service.manifest, selector(service.manifest.spec)
        if not labels or ACCOUNTS_ANNOTATION in manifest.annotations:
            continue
        home, root = manifest.namespace, world.mesh_config.root_namespace
        modes = peer_modes(world.peer_authentications, root, home, labels)
        if any(modes.at(_number(port)) == "STRICT" for port in service.ports):
            said = f"its port is STRICT, and whatever account of namespace {home} has its labels"
            yield Finding(
                ANY_ACCOUNT,
                "info",
                manifest.place,
                str(manifest),
                f"{said} may be called in its place",
                f"name those that may in the annotation {ACCOUNTS_ANNOTATION}",
            )


def _selects(manifest: Manifest[PeerAuthentication], service: MeshService) -> bool:
    if service.namespace != manifest.namespace:
        return False
    labels, spec = manifest.spec.labels.items(), service.manifest.spec
    chosen = spec.selector if isinstance(spec, Service) else {}
    return labels <= chosen.items() or any(
        labels <= workload.labels.items() for workload in service.workloads
    )


def _numbers(service: MeshService) -> Iterator[int]:
    for port in service.ports:
        yield _number(port)
        for workload in service.workloads:
            yield target_port(workload, port)


def _number(port: MeshPort) -> int:
    return port.target if isinstance(port.target, int) else port.number


def _written(rule: DestinationRule) -> Iterator[tuple[Path, ClientTLSSettings, int | None]]:
    """Each ``tls``, and the port that it is for."""
    layers: list[tuple[Path, TrafficPolicy | None]] = [(("trafficPolicy",), rule.traffic_policy)]
    for index, subset in enumerate(rule.subsets):
        layers.append((("subsets", index, "trafficPolicy"), subset.traffic_policy))
    for path, policy in layers:
        if policy is None:
            continue
        if policy.tls is not None:
            yield (*path, "tls"), policy.tls, None
        for index, settings in enumerate(policy.port_level_settings):
            if settings.tls is not None:
                where = (*path, "portLevelSettings", index, "tls")
                yield where, settings.tls, settings.port.number


def _secret(
    rule: Manifest[DestinationRule], path: Path, tls: ClientTLSSettings
) -> Iterator[Finding]:
    if tls.credential_name:
        place = rule.place_of(*path, "credentialName")
        said = "is a secret that meshlib's own control plane does not have: nobody is called"
        yield Finding(NOT_ACTED_ON, "warning", place, str(rule), said)


def _conflict(
    rule: Manifest[DestinationRule],
    path: Path,
    tls: ClientTLSSettings,
    port: int | None,
    service: MeshService,
    world: World,
) -> Iterator[Finding]:
    refused: Mode = "DISABLE" if tls.mode == "ISTIO_MUTUAL" else "STRICT"
    for one in service.ports:
        if port in (None, one.number) and refused in _modes(service, one, world):
            place = rule.place_of(*path)
            said = f"{tls.mode}, but {service.host}:{one.number} is {refused}: calls fail"
            yield Finding(MTLS_CONFLICT, "warning", place, str(rule), said)
            return


def _modes(service: MeshService, port: MeshPort, world: World) -> set[Mode]:
    return {_mode(workload, target_port(workload, port), world) for workload in service.workloads}


def _mode(workload: Workload, port: int, world: World) -> Mode:
    home = workload.manifest.namespace
    root = world.mesh_config.root_namespace
    return peer_modes(world.peer_authentications, root, home, workload.labels).at(port)
