"""Which transport socket leads to an endpoint."""

from dataclasses import dataclass

from ...model import Cluster, Endpoint
from ...model.security import UpstreamTls

CRITERIA = "envoy.transport_socket_match"
"""The metadata of an endpoint that ``transport_socket_matches`` look at."""
SOURCE = "meshlib"


@dataclass(frozen=True, slots=True)
class Transport:
    """``spiffe_id``: who answers at the endpoint, as its metadata has it, "" where it is unsaid."""

    tls: UpstreamTls
    spiffe_id: str = ""
    hostname: str = ""


def transport_of(cluster: Cluster, endpoint: Endpoint) -> Transport | None:
    """``None``: plain text."""
    tls = _tls_of(cluster, endpoint)
    if tls is None:
        return None
    named = endpoint.metadata.get(SOURCE, "spiffe_id")
    return Transport(tls, named if isinstance(named, str) else "", endpoint.hostname)


def _tls_of(cluster: Cluster, endpoint: Endpoint) -> UpstreamTls | None:
    for one in cluster.transport_socket_matches:
        if all(endpoint.metadata.get(CRITERIA, key) == value for key, value in one.match.fields):
            return one.tls
    return cluster.tls


def is_secured(cluster: Cluster) -> bool:
    """Does the cluster ask for more than plain text, at least of some endpoints?"""
    return cluster.tls is not None or any(
        one.tls is not None for one in cluster.transport_socket_matches
    )
