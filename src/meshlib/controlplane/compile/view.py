"""What one scope sees of the world."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..manifests.destination_rule import DestinationRule, Subset, TrafficPolicy
from ..manifests.manifest import Manifest
from ..manifests.peer_authentication import PeerAuthentication
from ..manifests.virtual_service import VirtualService
from ..scope import Scope
from ..world import World
from .delegates import Delegates, HttpRule
from .names import HostIndex, full_host, is_exported
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
        self.mesh = world.mesh_config
        default = self.mesh.default_virtual_service_export_to
        self._delegates = Delegates(world.virtual_services, default)
        rules = tuple(self._visible_virtual_services())
        self._virtual_services = HostIndex(rules)
        self._rules = self._visible_rules()
        self._peers: dict[str, tuple[Manifest[PeerAuthentication], ...]] = {}
        known = self._visible_services()
        self.services: dict[str, MeshService] = {**_made_up(rules, known), **known}

    def service(self, host: str) -> MeshService | None:
        return self.services.get(host)

    def virtual_service_for(self, host: str) -> Manifest[VirtualService] | None:
        return next(iter(self._virtual_services.best(host)), None)

    def http_rules(self, manifest: Manifest[VirtualService]) -> Iterator[HttpRule]:
        """Its rules in their order, delegates' in the place of those who delegate."""
        return self._delegates.rules(manifest)

    def rule_for(self, service: MeshService) -> Rule | None:
        return self.rule_of(service.host, service.namespace)

    def rule_of(self, host: str, home: str) -> Rule | None:
        """The client's namespace speaks first, then the service's, then the root's."""
        for namespace in (self.scope.namespace, home, self.mesh.root_namespace):
            index = self._rules.get(namespace)
            found = index.best(host) if index else ()
            if found:
                # Who selects workloads speaks to those alone, and before those who do not.
                chosen = tuple(rule for rule in found if rule.spec.workload_selector is not None)
                return Rule(chosen or found)
        return None

    def delegates(self, manifest: Manifest[VirtualService]) -> tuple[object, ...]:
        """Whose rules are among them."""
        return self._delegates.all_of(manifest)

    def peer_authentications(self, namespace: str) -> tuple[Manifest[PeerAuthentication], ...]:
        """Those that may speak to workloads of the namespace."""
        found = self._peers.get(namespace)
        if found is None:
            heard = {namespace, self.mesh.root_namespace}
            said = self.world.peer_authentications
            found = self._peers[namespace] = tuple(one for one in said if one.namespace in heard)
        return found

    def _visible_services(self) -> dict[str, MeshService]:
        mine = self.scope.namespace
        services: dict[str, MeshService] = {}
        for service in sorted(registry(self.world), key=lambda s: s.namespace != mine):
            exported = service.export_to or self.mesh.default_service_export_to
            if is_exported(exported, service.namespace, mine):
                services.setdefault(service.host, service)
        return services

    def _visible_virtual_services(self) -> Iterator[tuple[str, Manifest[VirtualService]]]:
        for manifest in self.world.virtual_services:
            spec = manifest.spec
            if not spec.is_for_mesh:
                continue
            exported = spec.export_to or self.mesh.default_virtual_service_export_to
            if is_exported(exported, manifest.namespace, self.scope.namespace):
                for host in spec.hosts:
                    yield full_host(host, manifest.namespace), manifest

    def _visible_rules(self) -> dict[str, HostIndex[Manifest[DestinationRule]]]:
        said: dict[str, list[tuple[str, Manifest[DestinationRule]]]] = {}
        for manifest in self.world.destination_rules:
            home = manifest.namespace
            exported = manifest.spec.export_to or self.mesh.default_destination_rule_export_to
            if self._selects(manifest) and is_exported(exported, home, self.scope.namespace):
                pair = full_host(manifest.spec.host, home), manifest
                said.setdefault(home, []).append(pair)
        return {namespace: HostIndex(pairs) for namespace, pairs in said.items()}

    def _selects(self, manifest: Manifest[DestinationRule]) -> bool:
        selector = manifest.spec.workload_selector
        if selector is None:
            return True
        at_home = manifest.namespace == self.scope.namespace
        return at_home and self.scope.carries(selector.match_labels)


def _made_up(
    rules: tuple[tuple[str, Manifest[VirtualService]], ...], known: dict[str, MeshService]
) -> dict[str, MeshService]:
    """Hosts that only a VirtualService speaks of; Istio answers for them on port 80."""
    index = HostIndex((host, host) for host in known)
    return {
        host: MeshService(
            host=host,
            namespace=manifest.namespace,
            ports=(MeshPort(number=80, protocol="HTTP"),),
            resolution="NONE",
            manifest=manifest,
            is_known=False,
        )
        for host, manifest in rules
        if next(index.below(host), None) is None
    }
