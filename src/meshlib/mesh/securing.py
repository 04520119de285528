"""What the member's own word about mutual TLS makes of the clusters that it is told."""

from collections.abc import Callable
from dataclasses import replace

from ..identity.material import OWN_CERTIFICATE, OWN_ROOTS, is_own
from ..model import Cluster, Snapshot
from ..model.security import CertificateValidation, SdsSecret, TransportSocketMatch, UpstreamTls

MUTUAL = UpstreamTls(
    certificate=SdsSecret(OWN_CERTIFICATE),
    validation=CertificateValidation(roots=SdsSecret(OWN_ROOTS)),
)
"""Without a name that it asks for: then the endpoint's metadata has to say who answers."""
Fit = Callable[[Snapshot], Snapshot]


class Fitting:
    """``change`` gives the same cluster where there is nothing to change; what it made is kept
    for as long as the cluster is."""

    def __init__(self, change: Callable[[Cluster], Cluster]) -> None:
        self._change = change
        self._known: dict[str, tuple[Cluster, Cluster]] = {}

    def __call__(self, snapshot: Snapshot) -> Snapshot:
        known, self._known = self._known, {}
        for name, cluster in snapshot.clusters.items():
            before = known.get(name)
            is_known = before is not None and before[0] is cluster
            self._known[name] = before if before and is_known else (cluster, self._change(cluster))
        if all(old is new for old, new in self._known.values()):
            return snapshot
        fitted = {name: new for name, (_, new) in self._known.items()}
        return replace(snapshot, clusters=fitted)


def fit_for(mtls: str, *, has_identity: bool) -> Fit:
    if mtls == "strict":
        return Fitting(strictly)
    return Fitting(without_identity) if mtls == "auto" and not has_identity else _as_it_is


def strictly(cluster: Cluster) -> Cluster:
    """No endpoint in plain text: what is not secured otherwise has to answer as a member."""
    sockets = tuple(one for one in cluster.transport_socket_matches if one.tls is not None)
    if cluster.tls is not None and sockets == cluster.transport_socket_matches:
        return cluster
    return replace(cluster, tls=cluster.tls or MUTUAL, transport_socket_matches=sockets)


def without_identity(cluster: Cluster) -> Cluster:
    """Nothing can be proven, so what mutual TLS comes by itself is not done; where a rule wants
    it, calls fail."""
    sockets = tuple(one for one in cluster.transport_socket_matches if not _shows_own(one))
    if sockets == cluster.transport_socket_matches:
        return cluster
    return replace(cluster, transport_socket_matches=sockets)


def _shows_own(one: TransportSocketMatch) -> bool:
    return one.tls is not None and is_own(one.tls.certificate)


def _as_it_is(snapshot: Snapshot) -> Snapshot:
    return snapshot
