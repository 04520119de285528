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
    """``LbEndpoint``: one place to send calls to."""

    address: Address
    hostname: str = ""
    health_status: HealthStatus = HealthStatus.UNKNOWN
    load_balancing_weight: int = 1
    metadata: Metadata = Metadata()


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
