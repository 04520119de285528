"""What one scope sees of the world."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..manifests.destination_rule import DestinationRule, Subset, TrafficPolicy
from ..manifests.manifest import Manifest
from ..manifests.virtual_service import VirtualService
from ..scope import Scope
from ..world import World
from .names import full_host, host_matches, is_exported, most_specific
from .services import MeshPort, MeshService, registry


@dataclass(frozen=True, slots=True)
class Rule:
    """The DestinationRules of one host in one namespace, merged as Istio merges them."""

    manifests: tuple[Manifest[DestinationRule], ...]

    @property
    def traffic_policy(self) -> TrafficPolicy | None:
        """The first that says anything."""
        said = (manifest.spec.traffic_policy for manifest in self.manifests)
        return next((policy for policy in said if policy is not None), None)

    @property
    def subsets(self) -> dict[str, Subset]:
        """The first of each name."""
        subsets: dict[str, Subset] = {}
        for manifest in self.manifests:
            for subset in manifest.spec.subsets:
                subsets.setdefault(subset.name, subset)
        return subsets


class View:
    def __init__(self, world: World, scope: Scope) -> None:
        self.world = world
        self.scope = scope
        self._virtual_services = tuple(self._visible_virtual_services())
        known = self._visible_services()
        self.services: dict[str, MeshService] = {**self._made_up(known), **known}

    def virtual_service_for(self, host: str) -> Manifest[VirtualService] | None:
        return most_specific(host, self._virtual_services)

    def rule_for(self, service: MeshService) -> Rule | None:
        """The client's namespace speaks first, then the service's, then the root's."""
        root = self.world.mesh_config.root_namespace
        for namespace in (self.scope.namespace, service.namespace, root):
            found = tuple(self._rules_in(namespace, service.host))
            best = most_specific(service.host, found)
            if best is not None:
                wanted = _host_of(best)
                return Rule(tuple(rule for host, rule in found if host == wanted))
        return None

    def destination_port(
        self, service: MeshService, number: int | None, listener_port: int
    ) -> MeshPort | None:
        """A destination without a port means the only one there is, else the caller's."""
        if number is not None:
            return service.port(number)
        return service.ports[0] if len(service.ports) == 1 else service.port(listener_port)

    def _visible_services(self) -> dict[str, MeshService]:
        mine = self.scope.namespace
        services: dict[str, MeshService] = {}
        for service in sorted(registry(self.world), key=lambda s: s.namespace != mine):
            if is_exported(service.export_to, service.namespace, mine):
                services.setdefault(service.host, service)
        return services

    def _visible_virtual_services(self) -> Iterator[tuple[str, Manifest[VirtualService]]]:
        for manifest in self.world.virtual_services:
            spec = manifest.spec
            if not spec.is_for_mesh:
                continue
            if is_exported(spec.export_to, manifest.namespace, self.scope.namespace):
                for host in spec.hosts:
                    yield full_host(host, manifest.namespace), manifest

    def _made_up(self, known: dict[str, MeshService]) -> dict[str, MeshService]:
        """Hosts that only a VirtualService speaks of; Istio answers for them on port 80."""
        return {
            host: MeshService(
                host=host,
                namespace=manifest.namespace,
                ports=(MeshPort(number=80, protocol="HTTP"),),
                resolution="NONE",
                manifest=manifest,
                is_known=False,
            )
            for host, manifest in self._virtual_services
            if not any(host_matches(host, service) for service in known)
        }

    def _rules_in(
        self, namespace: str, host: str
    ) -> Iterator[tuple[str, Manifest[DestinationRule]]]:
        for manifest in self.world.destination_rules:
            if manifest.namespace != namespace:
                continue
            if is_exported(manifest.spec.export_to, namespace, self.scope.namespace):
                pattern = _host_of(manifest)
                if host_matches(pattern, host):
                    yield pattern, manifest


def _host_of(manifest: Manifest[DestinationRule]) -> str:
    return full_host(manifest.spec.host, manifest.namespace)
