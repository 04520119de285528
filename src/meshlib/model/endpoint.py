"""Endpoints as data (``envoy.config.endpoint.v3``)."""

from dataclasses import dataclass
from enum import StrEnum

from .metadata import Metadata


class HealthStatus(StrEnum):
    UNKNOWN = "UNKNOWN"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    TIMEOUT = "TIMEOUT"
    DEGRADED = "DEGRADED"


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address; ``host`` is an IP address, or a DNS name in DNS clusters."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """``LbEndpoint``: one place to send calls to. ``health_check_port`` 0: where calls go too."""

    address: Address
    hostname: str = ""
    health_status: HealthStatus = HealthStatus.UNKNOWN
    load_balancing_weight: int = 1
    metadata: Metadata = Metadata()
    health_check_port: int = 0
    disable_active_health_check: bool = False

    @property
    def hash_key(self) -> str:
        """What stands for the endpoint on a ring instead of its address (gRFC A76), or ""."""
        value = self.metadata.get("envoy.lb", "hash_key")
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityLbEndpoints:
    """``load_balancing_weight`` ``None`` is unset: such a locality gets no weighted load."""

    locality: Locality = Locality()
    lb_endpoints: tuple[Endpoint, ...] = ()
    load_balancing_weight: int | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DropOverload:
    category: str
    numerator: int
    denominator: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLoadAssignment:
    """``overprovisioning_factor`` in per cent."""

    cluster_name: str
    endpoints: tuple[LocalityLbEndpoints, ...] = ()
    overprovisioning_factor: int = 140
    drop_overloads: tuple[DropOverload, ...] = ()
