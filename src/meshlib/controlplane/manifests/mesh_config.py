"""Istio's MeshConfig: what of it the mesh acts on."""

from typing import Literal

from .piece import Piece, Text


class OutboundTrafficPolicy(Piece, frozen=True):
    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "ALLOW_ANY"


class MeshConfig(Piece, frozen=True):
    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy()
    root_namespace: Text = "istio-system"
    NOT_YET = frozenset(
        {"accessLogEncoding", "accessLogFile", "accessLogFormat", "ca", "caCertificates"}
        | {"certificates", "configSources", "connectTimeout", "defaultConfig"}
        | {"defaultDestinationRuleExportTo", "defaultHttpRetryPolicy", "defaultProviders"}
        | {"defaultServiceExportTo", "defaultTrafficPolicy", "defaultVirtualServiceExportTo"}
        | {"disableEnvoyListenerLog", "discoverySelectors", "dnsRefreshRate", "enableAutoMtls"}
        | {"enableEnvoyAccessLogService", "enablePrometheusMerge", "enableTracing"}
        | {
            "extensionProviders",
            "h2UpgradePolicy",
            "inboundClusterStatName",
            "inboundTrafficPolicy",
        }
        | {"ingressClass", "ingressControllerMode", "ingressSelector", "ingressService"}
        | {"localityLbSetting", "meshMTLS", "outboundClusterStatName", "pathNormalization"}
        | {"protocolDetectionTimeout", "proxyHttpPort", "proxyInboundListenPort"}
        | {"proxyListenPort", "serviceScopeConfigs", "serviceSettings", "tcpKeepalive"}
        | {"tlsDefaults", "trustDomain", "trustDomainAliases"}
        | {"verifyCertificateAtClient", "zoneAwareLbSetting"}
    )
