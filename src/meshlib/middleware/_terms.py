"""How long a connection to an endpoint is used, as its cluster says."""

from dataclasses import dataclass

from ..clock import Clock
from ..dataplane import Engine, UpstreamEndpoint
from ..dataplane.upstream.cluster import UpstreamCluster
from ..model import Cluster, HttpProtocolOptions

UNSAID = HttpProtocolOptions()


@dataclass(slots=True)
class Term:
    """How long a connection is used: so many calls, and until a moment; ``None`` is no limit."""

    calls: int | None
    until: float | None

    def is_over(self, clock: Clock) -> bool:
        """Counts the call that asks."""
        if self.calls is not None:
            self.calls -= 1
            if self.calls < 0:
                return True
        return self._has_lasted(clock)

    def ends_with(self, clock: Clock) -> bool:
        """Is the connection not to be used again after a call that ended on it?"""
        if self.calls is not None:
            self.calls -= 1
            if self.calls <= 0:
                return True
        return self._has_lasted(clock)

    def _has_lasted(self, clock: Clock) -> bool:
        return self.until is not None and clock() >= self.until


def cluster_of(engine: Engine, endpoint: UpstreamEndpoint) -> UpstreamCluster | None:
    """The cluster that an endpoint is of: asked once a connection."""
    for cluster in engine.clusters.values():
        if cluster.balance.endpoints.get(endpoint.key) is endpoint:
            return cluster
    return None


def term_of(config: Cluster | None, clock: Clock) -> Term | None:
    http = (config and config.http_protocol_options) or UNSAID
    calls, lasts = http.max_requests_per_connection or None, http.max_connection_duration
    if calls is None and not lasts:
        return None
    return Term(calls, clock() + lasts if lasts else None)
