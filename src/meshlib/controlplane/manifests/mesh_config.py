"""Istio's MeshConfig: what of it the mesh acts on."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from ...model import PathWithEscapedSlashesAction
from ..world import KEEP_UNCHANGED, MeshSettings
from .extension_provider import ExtensionProvider
from .http_policies import HTTPRetry
from .load_balancer import LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting
from .piece import Duration, Flaw, Piece, Text
from .traffic_policy import DefaultTrafficPolicy, H2UpgradePolicy, TcpKeepalive


class OutboundTrafficPolicy(Piece, frozen=True):
    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "ALLOW_ANY"


Normalization = Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]


DECODED = {"DECODE_AND_MERGE_SLASHES": PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD}


class ProxyPathNormalization(Piece, frozen=True):
    normalization: Normalization = "DEFAULT"


class MeshTLS(Piece, frozen=True):
    """Nothing older than TLS 1.2 is spoken in any case."""

    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = "TLS_AUTO"
    NOT_YET = frozenset({"ecdhCurves", "cipherSuites"})


class MeshConfig(Piece, frozen=True):
    """``path_normalization`` unset: paths are left as they are but where policies judge by them."""

    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy()
    root_namespace: Text = "istio-system"
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    default_http_retry_policy: HTTPRetry | None = None
    default_traffic_policy: DefaultTrafficPolicy | None = None
    dns_refresh_rate: Duration | None = None
    default_service_export_to: tuple[str, ...] = ()
    default_virtual_service_export_to: tuple[str, ...] = ()
    default_destination_rule_export_to: tuple[str, ...] = ()
    path_normalization: ProxyPathNormalization | None = None
    h2_upgrade_policy: H2UpgradePolicy = "DEFAULT"
    trust_domain: Text = MeshSettings().trust_domain
    trust_domain_aliases: tuple[Text, ...] = ()
    enable_auto_mtls: bool = True
    extension_providers: tuple[ExtensionProvider, ...] = ()
    mesh_mtls: MeshTLS | None = msgspec.field(default=None, name="meshMTLS")
    NOT_YET = frozenset(
        {"accessLogEncoding", "accessLogFile", "accessLogFormat", "ca", "caCertificates"}
        | {"certificates", "configSources", "defaultConfig", "defaultProviders"}
        | {"disableEnvoyListenerLog", "discoverySelectors"}
        | {"enableEnvoyAccessLogService", "enablePrometheusMerge", "enableTracing"}
        | {"inboundClusterStatName", "inboundTrafficPolicy"}
        | {"ingressClass", "ingressControllerMode", "ingressSelector", "ingressService"}
        | {"outboundClusterStatName", "protocolDetectionTimeout", "proxyHttpPort"}
        | {"proxyInboundListenPort", "proxyListenPort", "serviceEntryVisibility"}
        | {"serviceScopeConfigs", "serviceSettings", "tlsDefaults"}
        | {"verifyCertificateAtClient"}
    )

    def rules(self) -> Iterator[Flaw]:
        names = [one.name for one in self.extension_providers]
        for index, name in enumerate(names):
            if name in names[:index]:
                at = ("extensionProviders", index, "name")
                yield Flaw(at, f"provider {name!r} exists already")

    @property
    def settings(self) -> MeshSettings:
        default = MeshSettings()
        paths = self.path_normalization
        normalization = paths.normalization if paths else "NONE"
        return MeshSettings(
            outbound_traffic_policy=self.outbound_traffic_policy.mode,
            root_namespace=self.root_namespace,
            connect_timeout=self.connect_timeout or default.connect_timeout,
            dns_refresh_rate=self.dns_refresh_rate or default.dns_refresh_rate,
            tcp_keepalive=self.tcp_keepalive,
            locality_lb_setting=self.locality_lb_setting,
            zone_aware_lb_setting=self.zone_aware_lb_setting,
            default_http_retry_policy=self.default_http_retry_policy,
            default_traffic_policy=self.default_traffic_policy,
            default_service_export_to=self.default_service_export_to,
            default_virtual_service_export_to=self.default_virtual_service_export_to,
            default_destination_rule_export_to=self.default_destination_rule_export_to,
            normalize_path=normalization != "NONE",
            merge_slashes=normalization.endswith("MERGE_SLASHES"),
            path_with_escaped_slashes_action=DECODED.get(normalization, KEEP_UNCHANGED),
            normalize_guarded=paths is None or normalization != "NONE",
            trust_domain=self.trust_domain,
            trust_domain_aliases=self.trust_domain_aliases,
            enable_auto_mtls=self.enable_auto_mtls,
            extension_providers=self.extension_providers,
        )
