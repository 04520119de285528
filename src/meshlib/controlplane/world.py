"""All manifests together: what the control plane knows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..model import PathWithEscapedSlashesAction

if TYPE_CHECKING:  # manifests build a World, so they cannot be needed to define it
    from .manifests.authorization_policy import AuthorizationPolicy
    from .manifests.common import WorkloadEntry
    from .manifests.destination_rule import DestinationRule
    from .manifests.envoy_filter import EnvoyFilter
    from .manifests.extension_provider import ExtensionProvider
    from .manifests.finding import Finding
    from .manifests.gateway import Gateway
    from .manifests.http_policies import HTTPRetry
    from .manifests.load_balancer import (
        LocalityLoadBalancerSetting,
        ZoneAwareLoadBalancerSetting,
    )
    from .manifests.manifest import Manifest
    from .manifests.mesh_config import DefaultProviders, MeshConfig, ProxyTracing
    from .manifests.peer_authentication import PeerAuthentication
    from .manifests.request_authentication import RequestAuthentication
    from .manifests.service import Service
    from .manifests.service_entry import ServiceEntry
    from .manifests.telemetry import Telemetry
    from .manifests.traffic_policy import DefaultTrafficPolicy, TcpKeepalive
    from .manifests.virtual_service import VirtualService


KEEP_UNCHANGED = PathWithEscapedSlashesAction.KEEP_UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """What holds for the whole mesh (Istio's MeshConfig); times in seconds.

    ``normalize_path``, ``merge_slashes`` and ``path_with_escaped_slashes_action``: what becomes of
    paths; ``normalize_guarded``: they are normalized at least where policies judge by them.
    ``trust_domain_aliases`` count as the ``trust_domain`` itself in policies. ``mesh_id`` "": the
    mesh is called by its trust domain.
    """

    outbound_traffic_policy: str = "ALLOW_ANY"
    root_namespace: str = "istio-system"
    connect_timeout: float = 10.0
    dns_refresh_rate: float = 60.0
    tcp_keepalive: "TcpKeepalive | None" = None
    locality_lb_setting: "LocalityLoadBalancerSetting | None" = None
    zone_aware_lb_setting: "ZoneAwareLoadBalancerSetting | None" = None
    default_http_retry_policy: "HTTPRetry | None" = None
    default_traffic_policy: "DefaultTrafficPolicy | None" = None
    default_service_export_to: tuple[str, ...] = ()
    default_virtual_service_export_to: tuple[str, ...] = ()
    default_destination_rule_export_to: tuple[str, ...] = ()
    normalize_path: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: PathWithEscapedSlashesAction = KEEP_UNCHANGED
    normalize_guarded: bool = True
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    enable_auto_mtls: bool = True
    extension_providers: tuple["ExtensionProvider", ...] = ()
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: str = "TEXT"
    tracing: "ProxyTracing | None" = None
    mesh_id: str = ""
    default_providers: "DefaultProviders | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``remarks`` are what reading already found worth saying, none of it an error.

    ``mesh_manifest`` is where ``mesh_config`` was read from, if anywhere.
    """

    services: tuple["Manifest[Service]", ...] = ()
    service_entries: tuple["Manifest[ServiceEntry]", ...] = ()
    workload_entries: tuple["Manifest[WorkloadEntry]", ...] = ()
    virtual_services: tuple["Manifest[VirtualService]", ...] = ()
    destination_rules: tuple["Manifest[DestinationRule]", ...] = ()
    envoy_filters: tuple["Manifest[EnvoyFilter]", ...] = ()
    gateways: tuple["Manifest[Gateway]", ...] = ()
    peer_authentications: tuple["Manifest[PeerAuthentication]", ...] = ()
    request_authentications: tuple["Manifest[RequestAuthentication]", ...] = ()
    authorization_policies: tuple["Manifest[AuthorizationPolicy]", ...] = ()
    telemetries: tuple["Manifest[Telemetry]", ...] = ()
    mesh_config: MeshSettings = MeshSettings()
    mesh_manifest: "Manifest[MeshConfig] | None" = None
    remarks: tuple["Finding", ...] = ()

    @property
    def manifests(self) -> Iterator["Manifest[Any]"]:
        yield from self.services
        yield from self.service_entries
        yield from self.workload_entries
        yield from self.virtual_services
        yield from self.destination_rules
        yield from self.envoy_filters
        yield from self.gateways
        yield from self.peer_authentications
        yield from self.request_authentications
        yield from self.authorization_policies
        yield from self.telemetries
