"""Hypothesis strategies for the whole model: values that a control plane may rightly send."""

from .balancing import lb_policies, locality_lbs, ring_hashes
from .basics import metadata, optional, seconds, some, structs, values
from .clusters import (
    clusters,
    discoveries,
    dns_addresses,
    endpoints,
    http_protocol_options,
    ip_addresses,
    load_assignments,
)
from .filters import (
    cors_policies,
    extension_configs,
    faults,
    http_filters,
    local_rate_limits,
    overrides,
    percentages,
    rate_limits,
)
from .health import circuit_breakers, health_checks, outlier_detections
from .listeners import listeners
from .matchers import (
    header_matchers,
    metadata_matchers,
    path_matchers,
    route_matches,
    string_matchers,
)
from .retries import hedge_policies, retry_back_offs, retry_policies
from .routes import (
    actions,
    hash_policies,
    header_mutations,
    redirect_actions,
    route_actions,
    route_configurations,
    routes,
    weighted_clusters,
)
from .security import certificate_validations, downstream_tls, secrets, upstream_tls
from .telemetry import access_logs, stats, tracings

__all__ = [
    "access_logs",
    "actions",
    "certificate_validations",
    "circuit_breakers",
    "clusters",
    "cors_policies",
    "discoveries",
    "dns_addresses",
    "downstream_tls",
    "endpoints",
    "extension_configs",
    "faults",
    "hash_policies",
    "header_matchers",
    "header_mutations",
    "health_checks",
    "hedge_policies",
    "http_filters",
    "http_protocol_options",
    "ip_addresses",
    "lb_policies",
    "listeners",
    "load_assignments",
    "local_rate_limits",
    "locality_lbs",
    "metadata",
    "metadata_matchers",
    "optional",
    "outlier_detections",
    "overrides",
    "path_matchers",
    "percentages",
    "rate_limits",
    "redirect_actions",
    "retry_back_offs",
    "retry_policies",
    "ring_hashes",
    "route_actions",
    "route_configurations",
    "route_matches",
    "routes",
    "seconds",
    "secrets",
    "some",
    "stats",
    "string_matchers",
    "structs",
    "tracings",
    "upstream_tls",
    "values",
    "weighted_clusters",
]
