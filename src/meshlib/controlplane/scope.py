"""Who asks: what one member of the mesh sees depends on where it stands."""

from dataclasses import dataclass

from ..model import Locality


@dataclass(frozen=True, slots=True)
class Sidecar:
    """An Envoy beside the member: the address on which it takes what the member calls, and the
    one on which it takes calls to the member ("": it takes none)."""

    listen_address: str = "127.0.0.1"
    inbound_address: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """``server_listeners`` are the names by which its gRPC servers ask for listeners (gRFC A36)."""

    namespace: str = "default"
    labels: tuple[tuple[str, str], ...] = ()
    locality: Locality = Locality()
    sidecar: Sidecar | None = None
    server_listeners: tuple[str, ...] = ()

    def carries(self, labels: dict[str, str]) -> bool:
        """Whether the member has all of these labels."""
        return labels.items() <= dict(self.labels).items()
