"""Who asks: one client of the control plane, as it describes itself."""

from dataclasses import dataclass
from enum import StrEnum

from ..model import Locality
from .scope import Scope, Sidecar


class ClientKind(StrEnum):
    """What a client is known to understand, judged by its ``user_agent_name``.

    ``GRPC`` is C-core, the strictest, and every gRPC that is not told apart.
    """

    MESHLIB = "meshlib"
    ENVOY = "envoy"
    GRPC = "grpc"
    GRPC_GO = "grpc-go"
    GRPC_JAVA = "grpc-java"
    GRPC_NODE = "grpc-node"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """``namespace`` and ``labels`` are the NAMESPACE and LABELS of its metadata, as Istio's say;
    ``locality`` is where it stands, as its node says. ``sidecar``, which counts for Envoys, comes
    from MESHLIB_LISTEN_ADDRESS and MESHLIB_INBOUND_ADDRESS of the metadata. ``takes_ttl``: it
    says that it forgets what lives for a time only, and may be told that it lives on.
    ``service_account`` is its SERVICE_ACCOUNT."""

    id: str
    cluster: str = ""
    namespace: str = "default"
    labels: tuple[tuple[str, str], ...] = ()
    user_agent_name: str = ""
    user_agent_version: str = ""
    locality: Locality = Locality()
    sidecar: Sidecar = Sidecar()
    takes_ttl: bool = False
    service_account: str = ""

    @property
    def kind(self) -> ClientKind:
        name = self.user_agent_name.lower()
        if name == "meshlib":
            return ClientKind.MESHLIB
        if name == "envoy":
            return ClientKind.ENVOY
        # "gRPC C-core linux", "gRPC Go", "gRPC Java", "gRPC Node Pure JS", …
        if name == "grpc go":
            return ClientKind.GRPC_GO
        if name.startswith(("grpc java", "grpc-java")):
            return ClientKind.GRPC_JAVA
        if name.startswith(("grpc node", "grpc-node")):
            return ClientKind.GRPC_NODE
        return ClientKind.GRPC if name.startswith("grpc") else ClientKind.OTHER

    @property
    def scope(self) -> Scope:
        sidecar = self.sidecar if self.kind is ClientKind.ENVOY else None
        return Scope(self.namespace, self.labels, self.locality, sidecar)
