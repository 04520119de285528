"""Whether a single port of a member wants mutual TLS, as our control plane tells it."""

from ..model import Listener, Struct

SOURCE = "meshlib"
"""Under this name its metadata say so."""
STRICT, PERMISSIVE, DISABLE = "STRICT", "PERMISSIVE", "DISABLE"


def said_of(listener: Listener) -> str:
    """Of the ports of which nothing else is said; "" where nothing is."""
    said = listener.metadata.get(SOURCE, "mtls")
    return said if isinstance(said, str) else ""


def said_of_port(listener: Listener, port: int | None) -> str:
    """ "" where ports do not differ, or it is not known which one it is."""
    ports = listener.metadata.get(SOURCE, "mtls_ports")
    if port is None or not isinstance(ports, Struct):
        return ""
    said = ports.get(str(port))
    return said if isinstance(said, str) else said_of(listener)
