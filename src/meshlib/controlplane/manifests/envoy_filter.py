"""``networking.istio.io`` EnvoyFilter: the few patches that mean something without an Envoy."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from .common import WorkloadSelector
from .piece import Flaw, Piece

ApplyTo = Literal[
    "INVALID", "LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST", "HTTP_ROUTE", "CLUSTER", "EXTENSION_CONFIG", "BOOTSTRAP", "LISTENER_FILTER",
    "INTERNAL_ONLY",
]  # fmt: skip
Operation = Literal[
    "INVALID", "MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST",
    "REPLACE", "MERGE_AND_REPLACE_LIST",
]  # fmt: skip
Context = Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"]
Plain = dict[str, Any]
INSERTS = frozenset({"INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST"})

_FILTERS = "envoy.extensions.filters.http"
KNOWN_FILTERS = frozenset(
    {
        f"{_FILTERS}.adaptive_concurrency.v3.AdaptiveConcurrency",
        f"{_FILTERS}.admission_control.v3.AdmissionControl",
        f"{_FILTERS}.cors.v3.Cors",
        f"{_FILTERS}.ext_authz.v3.ExtAuthz",
        f"{_FILTERS}.fault.v3.HTTPFault",
        f"{_FILTERS}.jwt_authn.v3.JwtAuthentication",
        f"{_FILTERS}.local_ratelimit.v3.LocalRateLimit",
        f"{_FILTERS}.ratelimit.v3.RateLimit",
        f"{_FILTERS}.rbac.v3.RBAC",
    }
)
KNOWN_MERGES = {
    "VIRTUAL_HOST": frozenset({"typed_per_filter_config", "rate_limits"}),
    "HTTP_ROUTE": frozenset({"typed_per_filter_config", "route.rate_limits"}),
}


class SubFilterMatch(Piece, frozen=True):
    name: str = ""


class FilterMatch(Piece, frozen=True):
    name: str = ""
    sub_filter: SubFilterMatch = SubFilterMatch()


class FilterChainMatch(Piece, frozen=True):
    filter: FilterMatch = FilterMatch()
    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: str = ""
    destination_port: int = 0


class ListenerMatch(Piece, frozen=True):
    port_number: int = 0
    name: str = ""
    filter_chain: FilterChainMatch = FilterChainMatch()
    listener_filter: str = ""
    port_name: str = ""


class RouteMatch(Piece, frozen=True):
    name: str = ""
    action: Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"] = "ANY"


class VirtualHostMatch(Piece, frozen=True):
    name: str = ""
    domain_name: str = ""
    route: RouteMatch = RouteMatch()


class RouteConfigurationMatch(Piece, frozen=True):
    port_number: int = 0
    name: str = ""
    vhost: VirtualHostMatch = VirtualHostMatch()
    gateway: str = ""
    port_name: str = ""


class EnvoyConfigObjectMatch(Piece, frozen=True):
    context: Context = "ANY"
    listener: ListenerMatch = ListenerMatch()
    route_configuration: RouteConfigurationMatch = RouteConfigurationMatch()
    proxy: Plain = msgspec.field(default_factory=dict)
    cluster: Plain = msgspec.field(default_factory=dict)
    waypoint: Plain = msgspec.field(default_factory=dict)

    def rules(self) -> Iterator[Flaw]:
        others = (self.listener, self.route_configuration, self.cluster)
        if self.context == "WAYPOINT":
            if others != (ListenerMatch(), RouteConfigurationMatch(), {}):
                yield Flaw((), "context WAYPOINT takes nothing but waypoint")
        elif self.waypoint:
            yield Flaw(("waypoint",), "waypoint has a meaning with context WAYPOINT only")
        port = self.waypoint.get("portNumber", 1)
        if not isinstance(port, int) or not 1 <= port <= 65535:
            yield Flaw(("waypoint", "portNumber"), "a port lies between 1 and 65535")

    @property
    def unjudged(self) -> tuple[str, ...]:
        """What is asked for and cannot be answered without an Envoy."""
        chain = self.listener.filter_chain
        told = {
            "proxy": self.proxy,
            "cluster": self.cluster,
            "waypoint": self.waypoint,
            "listener.listenerFilter": self.listener.listener_filter,
            "listener.portName": self.listener.port_name,
            "routeConfiguration.gateway": self.route_configuration.gateway,
            "routeConfiguration.portName": self.route_configuration.port_name,
            "listener.filterChain.name": chain.name,
            "listener.filterChain.sni": chain.sni,
            "listener.filterChain.transportProtocol": chain.transport_protocol,
            "listener.filterChain.applicationProtocols": chain.application_protocols,
            "listener.filterChain.destinationPort": chain.destination_port,
        }
        return tuple(name for name, value in told.items() if value)


class Patch(Piece, frozen=True):
    """``value`` is proto-JSON of Envoy's, read by the codec of xDS."""

    operation: Operation = "INVALID"
    value: Plain = msgspec.field(default_factory=dict)
    filter_class: str = ""


class EnvoyConfigObjectPatch(Piece, frozen=True):
    apply_to: ApplyTo = "INVALID"
    match: EnvoyConfigObjectMatch = EnvoyConfigObjectMatch()
    patch: Patch = Patch()

    @property
    def inserts_filter(self) -> bool:
        return self.apply_to == "HTTP_FILTER" and self.patch.operation in INSERTS

    @property
    def overrides_filters(self) -> bool:
        """It merges ``typed_per_filter_config``, and nothing else."""
        is_merge = self.patch.operation == "MERGE"
        return is_merge and self.apply_to in {"HTTP_ROUTE", "VIRTUAL_HOST"}

    @property
    def filter_type(self) -> str:
        """The full name of the message in ``typed_config``, also where a TypedStruct holds it."""
        config = self.patch.value.get("typed_config", self.patch.value.get("typedConfig"))
        if not isinstance(config, Mapping):
            return ""
        url = config.get("type_url") or config.get("typeUrl") or config.get("@type") or ""
        return str(url).rpartition("/")[2]

    @property
    def is_known_filter(self) -> bool:
        return self.filter_type in KNOWN_FILTERS

    @property
    def unknown_merges(self) -> tuple[str, ...]:
        """The fields of the value that nobody here would read."""
        known = KNOWN_MERGES.get(self.apply_to, frozenset())
        given = set(self.patch.value)
        inner = self.patch.value.get("route")
        if isinstance(inner, Mapping):
            given = given - {"route"} | {f"route.{name}" for name in inner}
        return tuple(sorted(given - known))

    @property
    def is_for_inbound(self) -> bool:
        return self.match.context == "SIDECAR_INBOUND"

    @property
    def is_for_outbound(self) -> bool:
        return self.match.context in {"ANY", "SIDECAR_OUTBOUND"}

    def rules(self) -> Iterator[Flaw]:
        if self.apply_to == "INVALID":
            yield Flaw(("applyTo",), "applyTo is missing")
        if self.patch.operation == "INVALID":
            yield Flaw(("patch", "operation"), "operation is missing")


class EnvoyFilter(Piece, frozen=True):
    workload_selector: WorkloadSelector | None = None
    config_patches: tuple[EnvoyConfigObjectPatch, ...] = ()
    priority: int = 0
    target_refs: tuple[Plain, ...] = ()

    @property
    def selected_labels(self) -> dict[str, str]:
        return self.workload_selector.labels if self.workload_selector else {}
