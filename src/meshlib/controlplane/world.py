"""All manifests together: what the control plane knows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # manifests build a World, so they cannot be needed to define it
    from .manifests.common import WorkloadEntry
    from .manifests.destination_rule import DestinationRule
    from .manifests.finding import Finding
    from .manifests.manifest import Manifest
    from .manifests.service import Service
    from .manifests.service_entry import ServiceEntry
    from .manifests.virtual_service import VirtualService


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """What holds for the whole mesh (Istio's MeshConfig)."""

    outbound_traffic_policy: str = "ALLOW_ANY"
    root_namespace: str = "istio-system"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``remarks`` are what reading already found worth saying, none of it an error."""

    services: tuple["Manifest[Service]", ...] = ()
    service_entries: tuple["Manifest[ServiceEntry]", ...] = ()
    workload_entries: tuple["Manifest[WorkloadEntry]", ...] = ()
    virtual_services: tuple["Manifest[VirtualService]", ...] = ()
    destination_rules: tuple["Manifest[DestinationRule]", ...] = ()
    mesh_config: MeshSettings = MeshSettings()
    remarks: tuple["Finding", ...] = ()

    @property
    def manifests(self) -> Iterator["Manifest[Any]"]:
        yield from self.services
        yield from self.service_entries
        yield from self.workload_entries
        yield from self.virtual_services
        yield from self.destination_rules
