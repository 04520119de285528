"""Istio's MeshConfig: what of it the mesh acts on."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ...model import PathWithEscapedSlashesAction
from ..world import KEEP_UNCHANGED, MeshSettings
from .extension_provider import ExtensionProvider, Opaque
from .http_policies import HTTPRetry
from .load_balancer import LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting
from .piece import Count, Duration, Flaw, Piece, Text
from .telemetry import CustomTag, PerCent, unwritable
from .telemetry_provider import LogFormat
from .traffic_policy import DefaultTrafficPolicy, H2UpgradePolicy, TcpKeepalive


class OutboundTrafficPolicy(Piece, frozen=True):
    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "ALLOW_ANY"


Normalization = Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]


DECODED = {"DECODE_AND_MERGE_SLASHES": PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD}


class ProxyPathNormalization(Piece, frozen=True):
    normalization: Normalization = "DEFAULT"


class MeshTLS(Piece, frozen=True):
    """Nothing older than TLS 1.2 is spoken in any case, and 1.3 wherever both ends can."""

    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = "TLS_AUTO"
    NOT_YET = frozenset({"ecdhCurves", "cipherSuites"})


class ProxyTracing(Piece, frozen=True):
    """Of spans where no Telemetry says otherwise; whom they go to is the program's own affair."""

    sampling: PerCent | None = None
    custom_tags: dict[str, CustomTag] = msgspec.field(default_factory=dict)
    max_path_tag_length: Count | None = None
    enable_istio_tags: bool | None = None
    zipkin: Opaque | None = None
    lightstep: Opaque | None = None
    datadog: Opaque | None = None
    stackdriver: Opaque | None = None
    open_census_agent: Opaque | None = None
    OF_PROXIES = frozenset({"tlsSettings"})

    @property
    def collectors(self) -> tuple[str, ...]:
        kinds = ("zipkin", "lightstep", "datadog", "stackdriver", "open_census_agent")
        return tuple(kind for kind in kinds if getattr(self, kind) is not None)


class ProxyConfig(Piece, frozen=True):
    tracing: ProxyTracing | None = None
    mesh_id: str = ""
    OF_PROXIES = frozenset(
        {"configPath", "binaryPath", "serviceCluster", "drainDuration", "discoveryAddress"}
        | {"statsdUdpAddress", "proxyAdminPort", "controlPlaneAuthPolicy", "customConfigFile"}
        | {"statNameLength", "concurrency", "proxyBootstrapTemplatePath", "interceptionMode"}
        | {"envoyAccessLogService", "envoyMetricsService", "proxyMetadata", "runtimeValues"}
        | {"statusPort", "extraStatTags", "gatewayTopology", "terminationDrainDuration"}
        | {"readinessProbe", "proxyStatsMatcher", "holdApplicationUntilProxyStarts"}
        | {"image", "fileFlushInterval", "fileFlushMinSizeKb", "statsCompression"}
        | {"tracingServiceName", "parentShutdownDuration", "discoveryRefreshDelay", "sds"}
        | {"zipkinAddress", "envoyMetricsServiceAddress", "availabilityZone"}
    )
    NOT_YET = frozenset({"caCertificatesPem", "privateKeyProvider", "proxyHeaders"})


class DefaultProviders(Piece, frozen=True):
    tracing: tuple[Text, ...] = ()
    metrics: tuple[Text, ...] = ()
    access_logging: tuple[Text, ...] = ()


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
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    enable_tracing: bool | None = None
    default_config: ProxyConfig | None = None
    default_providers: DefaultProviders = DefaultProviders()
    OF_PROXIES = frozenset(
        {"configSources", "disableEnvoyListenerLog", "discoverySelectors"}
        | {"enablePrometheusMerge", "inboundClusterStatName", "outboundClusterStatName"}
        | {"ingressClass", "ingressControllerMode", "ingressSelector", "ingressService"}
        | {"protocolDetectionTimeout", "proxyHttpPort", "proxyInboundListenPort"}
        | {"proxyListenPort", "inboundTrafficPolicy", "enableEnvoyAccessLogService"}
        | {"certificates", "serviceSettings", "serviceScopeConfigs", "thriftConfig"}
        | {"verifyCertificateAtClient"}
    )
    NOT_YET = frozenset({"ca", "caCertificates", "serviceEntryVisibility", "tlsDefaults"})

    def rules(self) -> Iterator[Flaw]:
        names = [one.name for one in self.extension_providers]
        for index, name in enumerate(names):
            if name in names[:index]:
                at = ("extensionProviders", index, "name")
                yield Flaw(at, f"provider {name!r} exists already")
        if self.access_log_encoding == "TEXT":
            yield from unwritable(self.access_log_format, "accessLogFormat")
        elif self.access_log_format:
            yield from _unwritable_json(self.access_log_format)

    @property
    def access_log_texts(self) -> Iterator[str]:
        """What is filled in of ``accessLogFormat``."""
        if self.access_log_encoding == "TEXT":
            yield self.access_log_format
        elif self.access_log_format:
            labels = msgspec.json.decode(self.access_log_format, type=dict[str, Any])
            yield from (text for _, text in LogFormat(labels=labels).texts)

    @property
    def tracing(self) -> ProxyTracing | None:
        """``None`` where calls are not traced but for the sake of a Telemetry."""
        said = None if self.default_config is None else self.default_config.tracing
        if self.enable_tracing is None:
            return said
        return (said or ProxyTracing()) if self.enable_tracing else None

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
            access_log_file=self.access_log_file,
            access_log_format=self.access_log_format,
            access_log_encoding=self.access_log_encoding,
            tracing=self.tracing,
            mesh_id="" if self.default_config is None else self.default_config.mesh_id,
            default_providers=self.default_providers,
        )


def _unwritable_json(text: str) -> Iterator[Flaw]:
    try:
        labels = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as wrong:
        yield Flaw(("accessLogFormat",), f"is not a JSON object: {wrong}")
        return
    for flaw in LogFormat(labels=labels).rules():
        yield Flaw(("accessLogFormat",), flaw.message)
