"""What a caller names: a host of the mesh, or a place of the library's own kind."""

from dataclasses import dataclass

FOREIGN_SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "vsock:", "google-c2p:")
XDS = "xds:///"


@dataclass(frozen=True, slots=True)
class Target:
    """``listener``: its name in the mesh, ``host:port`` in lower case; ``None`` for no mesh host.

    ``native`` is what the library is given when the mesh does not know the host.
    """

    listener: str | None
    native: str


def grpc_target(text: str) -> Target:
    """``reviews:9080`` and ``xds:///reviews:9080`` are of the mesh; other schemes are not.

    Raises :class:`ValueError` for what names nothing.
    """
    if text in ("", XDS):
        raise ValueError(f"{text!r} names no host: give host:port, such as 'reviews:9080'")
    if text.startswith(XDS):
        name = text.removeprefix(XDS)
        return Target(name.lower(), name)
    if text.startswith(FOREIGN_SCHEMES):
        return Target(None, text)
    return Target(text.lower(), text)


def host_of(authority: str) -> str:
    """Without the port."""
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() and (":" not in host or host[-1:] == "]") else authority
