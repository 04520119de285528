"""Which kinds of manifest there are, and what becomes of each."""

from typing import Any

from .authorization_policy import AuthorizationPolicy
from .common import WorkloadEntry
from .destination_rule import DestinationRule
from .envoy_filter import EnvoyFilter
from .gateway import Gateway
from .mesh_config import MeshConfig
from .peer_authentication import PeerAuthentication
from .piece import Piece
from .request_authentication import RequestAuthentication
from .service import Service
from .service_entry import ServiceEntry
from .telemetry import Telemetry
from .virtual_service import VirtualService

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
TELEMETRY = "telemetry.istio.io"
ISTIO_VERSIONS = ("v1", "v1beta1", "v1alpha3")
VERSIONS = {"": ("v1",), TELEMETRY: ("v1", "v1alpha1")}
"""Where they are others than Istio's."""

SUPPORTED: dict[str, tuple[str, type[Piece]]] = {
    "VirtualService": (NETWORKING, VirtualService),
    "DestinationRule": (NETWORKING, DestinationRule),
    "ServiceEntry": (NETWORKING, ServiceEntry),
    "WorkloadEntry": (NETWORKING, WorkloadEntry),
    "EnvoyFilter": (NETWORKING, EnvoyFilter),
    "Gateway": (NETWORKING, Gateway),
    "PeerAuthentication": (SECURITY, PeerAuthentication),
    "RequestAuthentication": (SECURITY, RequestAuthentication),
    "AuthorizationPolicy": (SECURITY, AuthorizationPolicy),
    "Telemetry": (TELEMETRY, Telemetry),
    "Service": ("", Service),
    "MeshConfig": ("mesh.istio.io", MeshConfig),
}

OTHER_ISTIO = frozenset(
    {"Sidecar", "WorkloadGroup", "ProxyConfig"} | {"WasmPlugin", "TrafficExtension"}
)

KUBERNETES_CORE = frozenset(
    {"ConfigMap", "Endpoints", "Event", "LimitRange", "Namespace", "Node", "PersistentVolume"}
    | {"PersistentVolumeClaim", "Pod", "PodTemplate", "ReplicationController", "ResourceQuota"}
    | {"Secret", "ServiceAccount"}
)


def group_and_version(api_version: str) -> tuple[str, str]:
    """``networking.istio.io/v1`` → its two parts; plain ``v1`` has the empty group."""
    group, _, version = api_version.rpartition("/")
    return group, version


def is_istio(group: str) -> bool:
    return group == "istio.io" or group.endswith(".istio.io")


def expected_api_version(kind: str) -> str:
    group, _ = SUPPORTED[kind]
    return f"{group}/v1" if group else "v1"


def version_is_known(kind: str, api_version: Any) -> bool:
    group, version = group_and_version(str(api_version))
    wanted, _ = SUPPORTED[kind]
    if kind == "MeshConfig":
        return group == wanted or not api_version
    return group == wanted and version in VERSIONS.get(wanted, ISTIO_VERSIONS)
