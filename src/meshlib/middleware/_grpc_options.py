"""What a cluster says of its connections, in gRPC core's words."""

from typing import Any

from ..model import Cluster, HttpProtocolOptions, TcpKeepalive
from ._terms import UNSAID

Options = tuple[tuple[str, Any], ...]


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
