"""What an endpoint says of its own load (``xds.data.orca.v3``)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """One report (``xds.data.orca.v3.OrcaLoadReport``); utilizations are of 1, rates a second."""

    application_utilization: float = 0.0
    cpu_utilization: float = 0.0
    mem_utilization: float = 0.0
    rps: float = 0.0
    eps: float = 0.0
    named: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
