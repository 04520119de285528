"""What a cluster says of its connections, in gRPC core's words."""

from dataclasses import dataclass
from typing import Any

from ..clock import Clock
from ..dataplane import Engine, UpstreamEndpoint
from ..model import Cluster, HttpProtocolOptions, TcpKeepalive

Options = tuple[tuple[str, Any], ...]

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
        return self.until is not None and clock() >= self.until


def cluster_of(engine: Engine, endpoint: UpstreamEndpoint) -> Cluster | None:
    """The configuration of the cluster that an endpoint is of: asked once a connection."""
    for cluster in engine.clusters.values():
        if cluster.balance.endpoints.get(endpoint.key) is endpoint:
            return cluster.balance.config
    return None


def term_of(config: Cluster | None, clock: Clock) -> Term | None:
    http = (config and config.http_protocol_options) or UNSAID
    calls, lasts = http.max_requests_per_connection or None, http.max_connection_duration
    if calls is None and not lasts:
        return None
    return Term(calls, clock() + lasts if lasts else None)


def connection_options(config: Cluster | None) -> Options:
    """Idle time-out and keepalive.

    How many streams a connection carries the server says, and gRPC core lets the others wait. No
    pings without calls: gRPC's servers take them for an attack.
    """
    if config is None:
        return ()
    http = config.http_protocol_options or UNSAID
    made: Options = ()
    if http.idle_timeout:
        made += (("grpc.client_idle_timeout_ms", int(http.idle_timeout * 1000)),)
    return (*made, *_keepalive(http, config.tcp_keepalive))


def _keepalive(http: HttpProtocolOptions, tcp: TcpKeepalive | None) -> Options:
    """gRPC core has no probes of TCP for us: what they are to find out, pings find out too."""
    interval, patience = http.keepalive_interval, http.keepalive_timeout
    if interval is None and tcp is not None and tcp.keepalive_time is not None:
        interval = float(tcp.keepalive_time)
        if tcp.keepalive_interval is not None and tcp.keepalive_probes is not None:
            patience = float(tcp.keepalive_interval * tcp.keepalive_probes)
    if interval is None:
        return ()
    made: Options = (("grpc.keepalive_time_ms", int(interval * 1000)),)
    if patience is not None:
        made += (("grpc.keepalive_timeout_ms", int(patience * 1000)),)
    return made
