"""Which connections a port lets in: encrypted ones, those in plain text, or both."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..dataplane.inbound import LISTENER
from ..dataplane.peer_mode import DISABLE, STRICT, said_of, said_of_port
from ..dataplane.peer_mode import PERMISSIVE as PERMITTED
from ..identity.credentials import CredentialSource
from ..identity.material import OWN_CERTIFICATE, OWN_ROOTS
from ..model import Listener
from ..model.security import CertificateValidation, DownstreamTls, SdsSecret

if TYPE_CHECKING:
    from ._drive import Runtime

MUTUAL = DownstreamTls(
    certificate=SdsSecret(OWN_CERTIFICATE),
    validation=CertificateValidation(roots=SdsSecret(OWN_ROOTS)),
    require_client_certificate=True,
)
"""How members of the mesh are let in as long as nothing else is said."""


@dataclass(frozen=True, slots=True)
class Mode:
    """``tls`` ``None``: connections are not encrypted. ``plaintext``: others are let in, too."""

    tls: DownstreamTls | None
    plaintext: bool


OPEN = Mode(None, plaintext=True)
CLOSED = Mode(None, plaintext=False)
PERMISSIVE = Mode(MUTUAL, plaintext=True)


def is_member(tls: DownstreamTls) -> bool:
    return tls.certificate == MUTUAL.certificate


@dataclass(frozen=True, slots=True)
class Seen:
    """What modes were found out of, and those."""

    listener: Listener | None
    credentials: CredentialSource | None
    mtls: str
    modes: dict[int | None, Mode]


class Modes:
    """By the listener; where nothing is known of it, by the member's own option."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._seen = Seen(None, None, "", {})

    def at(self, port: int | None) -> Mode:
        """``None``: nobody knows which port it is, so it is as the most lenient one, and policies
        refuse what the others do not let in."""
        seen, runtime = self._seen, self._runtime
        found = runtime.engine.listeners.get(LISTENER)
        listener = None if found is None else found.config
        credentials, mtls = runtime.credentials, runtime.mtls
        is_old = seen.listener is not listener or seen.credentials is not credentials
        if is_old or seen.mtls != mtls:
            seen = self._seen = Seen(listener, credentials, mtls, {})
        mode = seen.modes.get(port)
        if mode is None:
            mode = seen.modes[port] = _mode(seen, port)
        return mode


def _mode(seen: Seen, port: int | None) -> Mode:
    listener = seen.listener
    said = "" if listener is None else said_of_port(listener, port)
    tls = None if listener is None else listener.tls
    if not said and listener is not None and tls is not None and not listener.plaintext:
        said = STRICT
    if seen.mtls == "off":
        return CLOSED if said == STRICT else OPEN
    if said == STRICT or seen.mtls == "strict":
        return Mode(tls or MUTUAL, plaintext=False)
    if said == DISABLE:
        return OPEN
    is_open = listener is None or (said or said_of(listener)) == PERMITTED
    return _either(seen, tls, is_open=is_open)


def _either(seen: Seen, tls: DownstreamTls | None, *, is_open: bool) -> Mode:
    if tls is None and not is_open:
        return OPEN
    # Who has nothing of its own to show lets in plain text where that is let in at all.
    if seen.credentials is None and is_member(tls or MUTUAL):
        return OPEN
    return PERMISSIVE if tls is None else Mode(tls, plaintext=True)
