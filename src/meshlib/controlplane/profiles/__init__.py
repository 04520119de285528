"""What a kind of client cannot take is said in a way that it can, instead of provoking a NACK.

A gRPC client refuses a whole route table for one matcher that it does not know, and a cluster
for its balancer; each change made for its sake is a :class:`Downgrade` to be reported, and so is
what it takes and does not act on.
"""

from ...model import Snapshot
from ..node import ClientKind
from .downgrade import Downgrade, Report
from .envoy import for_envoy
from .grpc import for_grpc
from .grpc_go import with_clusters_to_come
from .grpc_leading import with_routes_that_lead
from .grpc_node import with_faults_that_end

__all__ = ["Downgrade", "Report", "adapt"]


def adapt(snapshot: Snapshot, kind: ClientKind, report: Report) -> Snapshot:
    """The snapshot as clients of this kind understand it."""
    match kind:
        case ClientKind.GRPC:
            return for_grpc(snapshot, kind, report)
        case ClientKind.GRPC_NODE:
            made = with_routes_that_lead(for_grpc(snapshot, kind, report))
            return with_faults_that_end(made, report)
        case ClientKind.GRPC_JAVA:
            return with_routes_that_lead(for_grpc(snapshot, kind, report))
        case ClientKind.GRPC_GO:
            return with_clusters_to_come(for_grpc(snapshot, kind, report))
        case ClientKind.ENVOY:
            return for_envoy(snapshot, report)
        case ClientKind.MESHLIB | ClientKind.OTHER:
            return snapshot
