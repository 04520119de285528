"""``/clusters``: who may be called, and how each of them is, as Envoy says it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...dataplane.upstream.cluster import UpstreamCluster
from ...dataplane.upstream.endpoint import UpstreamEndpoint
from ...model import Address, Endpoint, HealthStatus, Locality, Thresholds
from .answers import Asked, framed
from .member import Member

FLAGS = {
    HealthStatus.UNHEALTHY: ("failed_eds_health",),
    HealthStatus.TIMEOUT: ("failed_eds_health",),
    HealthStatus.DRAINING: ("eds_status_draining",),
    HealthStatus.DEGRADED: ("degraded_eds_health",),
}
FAILURES = "connect_failures_in_a_row"
"""Not Envoy's, which counts them from the beginning."""


@dataclass(frozen=True, slots=True)
class Host:
    """An endpoint of a cluster, with what its configuration says of it."""

    live: UpstreamEndpoint
    config: Endpoint
    priority: int
    locality: Locality
    leaves: bool

    @property
    def stats(self) -> dict[str, int]:
        return {"rq_active": self.live.active, FAILURES: self.live.connect_failures}

    @property
    def flags(self) -> tuple[str, ...]:
        """Envoy's words for all that speaks against it."""
        return (
            *(("failed_active_hc",) if self.live.unhealthy else ()),
            *(("failed_outlier_check",) if self.live.ejected else ()),
            *FLAGS.get(self.config.health_status, ()),
            *(("pending_dynamic_removal",) if self.leaves else ()),
        )


def hosts(cluster: UpstreamCluster) -> Iterator[Host]:
    """Those of an aggregate are told where they belong. Read without a lock: what calls change
    are single numbers, and all else is swapped as a whole."""
    balance = cluster.balance
    if balance.owners:
        return
    for rank in balance.ranks:
        for member in rank.members:
            place = rank.localities[member.locality][0]
            yield Host(member.endpoint, member.config, rank.place, place, member.leaving)


def text(member: Member, asked: Asked) -> Iterator[str]:
    is_dynamic = _is_dynamic(member)
    for cluster in member.engine.clusters.values():
        name = cluster.name
        yield from _lines(f"{name}::", {"observability_name": name})
        for which, limits in _limits(cluster):
            yield from _lines(f"{name}::{which}_priority::", _thresholds(limits))
        yield from _lines(f"{name}::", {"added_via_api": is_dynamic})
        for host in hosts(cluster):
            yield from _lines(f"{name}::{host.live.key}::", _told(host))


def _told(host: Host) -> dict[str, object]:
    return {
        **host.stats,
        "hostname": host.config.hostname,
        "health_flags": "".join(f"/{flag}" for flag in host.flags) or "healthy",
        "weight": host.config.load_balancing_weight,
        "region": host.locality.region,
        "zone": host.locality.zone,
        "sub_zone": host.locality.sub_zone,
        "priority": host.priority,
    }


def _lines(before: str, told: Mapping[str, object]) -> Iterator[str]:
    for name, value in told.items():
        yield f"{before}{name}::{str(value).lower() if isinstance(value, bool) else value}"


def json(member: Member, asked: Asked) -> Iterable[str]:
    """``envoy.admin.v3.Clusters``."""
    is_dynamic = _is_dynamic(member)
    clusters = member.engine.clusters.values()
    return framed({}, cluster_statuses=(_status(one, is_dynamic=is_dynamic) for one in clusters))


def _status(cluster: UpstreamCluster, *, is_dynamic: bool) -> dict[str, Any]:
    service = cluster.balance.config.load_assignment_name
    return {
        "name": cluster.name,
        "observability_name": cluster.name,
        "added_via_api": is_dynamic,
        **({} if service is None else {"eds_service_name": service}),
        "circuit_breakers": {
            "thresholds": [
                {"priority": which.upper(), **_thresholds(limits)}
                for which, limits in _limits(cluster)
            ]
        },
        "host_statuses": [_host_status(host) for host in hosts(cluster)],
    }


def _host_status(host: Host) -> dict[str, Any]:
    health, flags = host.config.health_status, host.flags
    place = host.locality
    return {
        "address": socket_address(host.live.address),
        "stats": [
            {"type": "GAUGE", "name": name, "value": str(value)}
            for name, value in host.stats.items()
        ],
        "health_status": {
            "failed_active_health_check": "failed_active_hc" in flags,
            "failed_outlier_check": "failed_outlier_check" in flags,
            "pending_dynamic_removal": host.leaves,
            "eds_health_status": "HEALTHY" if health is HealthStatus.UNKNOWN else health.value,
        },
        "hostname": host.config.hostname,
        "weight": host.config.load_balancing_weight,
        "priority": host.priority,
        "locality": {"region": place.region, "zone": place.zone, "sub_zone": place.sub_zone},
    }


def socket_address(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _limits(cluster: UpstreamCluster) -> tuple[tuple[str, Thresholds], ...]:
    return ("default", cluster.breaker.limits), ("high", cluster.high.limits)


def _thresholds(limits: Thresholds) -> dict[str, int]:
    return {
        "max_connections": limits.max_connections,
        "max_pending_requests": limits.max_pending_requests,
        "max_requests": limits.max_requests,
        "max_retries": limits.max_retries,
    }


def _is_dynamic(member: Member) -> bool:
    """Whether a control plane sent it."""
    return member.watched() is not None
