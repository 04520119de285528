"""Who is let in, and as whom, by the connection that he comes by."""

import ssl
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..dataplane import PLAINTEXT, Connection, Peer
from ..dataplane.inbound import LISTENER
from ..identity.credentials import Credentials, IdentityError, UntrustedError
from ..identity.leaf import Leaf, Purpose, check_leaf, life_of
from ..identity.material import OWN_CERTIFICATE, OWN_ROOTS, Material, Materials, is_own
from ..identity.tls import (
    CheckedContext,
    CheckedObject,
    PeerRefusedError,
    server_context,
    shown_chain,
    swapped,
)
from ..model import Listener
from ..model.security import CertificateValidation, DownstreamTls, SdsSecret
from ._tls_held import Held
from ._tls_names import allowed, names_of

if TYPE_CHECKING:
    from ._drive import Runtime

MUTUAL = DownstreamTls(
    certificate=SdsSecret(OWN_CERTIFICATE),
    validation=CertificateValidation(roots=SdsSecret(OWN_ROOTS)),
    require_client_certificate=True,
)
"""How members of the mesh are let in as long as nothing else is said."""
STRANGER = Connection(refusal="a verified certificate is required")
ENCRYPTED = Connection()
COUNTED = 1024
"""Names of plaintext callers that are told apart."""
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class Mode:
    """``tls`` ``None``: connections are not encrypted. ``plaintext``: others are let in, too."""

    tls: DownstreamTls | None
    plaintext: bool


SOURCE, PERMITTED = "meshlib", "PERMISSIVE"
"""Where our control plane says that mutual TLS is as welcome as plain text, and how."""
OPEN = Mode(None, plaintext=True)
CLOSED = Mode(None, plaintext=False)
PERMISSIVE = Mode(MUTUAL, plaintext=True)


def is_member(tls: DownstreamTls) -> bool:
    return tls.certificate == MUTUAL.certificate


class InboundSecurity:
    """``callers``: how many calls came in plain text, by name, or else by host, of the caller."""

    def __init__(self, runtime: "Runtime", materials: Materials) -> None:
        self._runtime = runtime
        self._materials = materials
        self._wall = runtime.engine.options.wall
        self._made: tuple[DownstreamTls, Material, CheckedContext] | None = None
        self._peers: OrderedDict[tuple[bytes, str], tuple[Leaf, Connection]] = OrderedDict()
        self.callers: Counter[str] = Counter()
        self.held = Held(runtime, self._is_refused)

    @property
    def mode(self) -> Mode:
        """By the listener; where nothing is known of it, by the member's own option."""
        runtime = self._runtime
        listener = runtime.engine.listeners.get(LISTENER)
        if runtime.mtls == "off":
            strict = listener is not None and listener.config.tls and not listener.config.plaintext
            return CLOSED if strict else OPEN
        if runtime.mtls == "strict":
            tls = None if listener is None else listener.config.tls
            return Mode(tls or MUTUAL, plaintext=False)
        return self._of(None if listener is None else listener.config)

    def _of(self, listener: Listener | None) -> Mode:
        tls = None if listener is None else listener.tls
        if listener is not None and tls is not None and not listener.plaintext:
            return Mode(tls, plaintext=False)
        is_open = listener is None or listener.metadata.get(SOURCE, "mtls") == PERMITTED
        if tls is None and not is_open:
            return OPEN
        # Who has nothing of its own to show lets in plain text where that is let in at all.
        if self._runtime.credentials is None and is_member(tls or MUTUAL):
            return OPEN
        return PERMISSIVE if tls is None else Mode(tls, plaintext=True)

    def material(self, tls: DownstreamTls) -> Material:
        """Raises :class:`IdentityError` where there is nothing to show."""
        validation = tls.validation
        if validation is None:
            return self._materials.of(tls.certificate, None)
        return self._materials.of(tls.certificate, validation.roots, validation.crl)

    def context(self) -> ssl.SSLContext:
        """Of the mode in force at each handshake."""
        return swapped(self._current, server_side=True)

    def _current(self) -> ssl.SSLContext:
        tls = self.mode.tls
        if tls is None:
            raise IdentityError("connections are not encrypted here any more")
        material, known = self.material(tls), self._made
        if known is None or known[0] != tls or known[1] is not material:
            required = tls.require_client_certificate
            context = server_context(material, self._check, required=required)
            known = self._made = tls, material, context
        return known[2]

    def _check(self, connection: CheckedObject) -> None:
        refusal = self.connection(connection.shown).refusal
        if refusal:
            raise PeerRefusedError(refusal)

    def connection(self, chain: bytes, server_name: str = "") -> Connection:
        """Of an encrypted connection, by what the peer showed (PEM, the leaf first)."""
        mode = self.mode
        tls = mode.tls or MUTUAL
        if not chain:
            demanded = tls.require_client_certificate and not mode.plaintext
            return STRANGER if demanded else ENCRYPTED
        try:
            leaf = self._leaf(tls, chain, server_name)
        except (UntrustedError, IdentityError) as refused:
            return Connection(refusal=f"the certificate is not trusted: {refused}")
        known = self._peers.get((chain, server_name))
        if known is not None and known[0] is leaf:
            return known[1]
        return self._remember(chain, leaf, server_name)

    def _leaf(self, tls: DownstreamTls, chain: bytes, server_name: str) -> Leaf:
        validation = tls.validation
        if validation is None or not is_own(validation.roots):
            raise UntrustedError("only members of the mesh are told apart here")
        leaf = self._believed(chain, server_name)
        matchers = validation.match_subject_alt_names
        if matchers and not allowed(matchers, self._runtime.engine.options.regex)(names_of(leaf)):
            raise UntrustedError(f"{leaf.spiffe_id} is not one of those who are let in")
        return leaf

    def _believed(self, chain: bytes, server_name: str) -> Leaf:
        """At the handshake it held, so a leaf that has ended is that of a connection that was there
        before: those live on, as Envoy's do for days, unless somebody is revoked."""
        credentials, now = self._materials.credentials(), self._wall()
        try:
            return check_leaf(chain, credentials, now, Purpose.CLIENT)
        except UntrustedError:
            leaf, _ = self._peers.get((chain, server_name), (None, None))
            if leaf is None or now <= leaf.not_after or not _is_free(chain, credentials):
                raise
            return leaf

    def _remember(self, chain: bytes, leaf: Leaf, server_name: str) -> Connection:
        peer = Peer(
            secure=True,
            spiffe_id=leaf.spiffe_id,
            uri_sans=leaf.uri_sans,
            dns_sans=leaf.dns_sans,
            subject=leaf.subject,
            serial=leaf.serial,
            certificate=chain,
        )
        made = Connection(peer=peer, server_name=server_name)
        self._peers[chain, server_name] = leaf, made
        while len(self._peers) > COUNTED:
            self._peers.popitem(last=False)
        return made

    def _is_refused(self, connection: Connection) -> bool:
        """Of a call under way. Where the certificate has ended since, what its root is now says
        nothing any more: it may well be gone, too."""
        chain = connection.peer.certificate
        if self._wall() <= life_of(chain)[0]:
            return bool(self.connection(chain).refusal)
        return not _is_free(chain, self._materials.credentials())

    def plaintext(self) -> Connection:
        return PLAINTEXT if self.mode.plaintext else STRANGER

    def count(self, name: str, source: str) -> None:
        """A call in plain text was let in."""
        caller = name or source.rpartition(":")[0] or "unknown"
        if caller not in self.callers and len(self.callers) >= COUNTED:
            caller = OTHERS
        self.callers[caller] += 1

    def of_ssl(self, secured: ssl.SSLObject | None) -> Connection:
        """``None``: it is in plain text."""
        if secured is None:
            return self.plaintext()
        if isinstance(secured, CheckedObject):
            return self.connection(secured.shown, secured.asked)
        return self.connection(shown_chain(secured))

    # -- gRPC -----------------------------------------------------------------------------------

    def of_grpc(self, auth: Mapping[str, Sequence[bytes]]) -> Connection:
        """By what gRPC core says of the connection that a call came by."""
        kind = auth.get("transport_security_type")
        if not kind or bytes(kind[0]) not in (b"ssl", b"tls"):
            return self.plaintext()
        name = auth.get("ssl_requested_server_name")
        return self.connection(_chain(auth), name[0].decode("ascii", "replace") if name else "")


def _is_free(chain: bytes, credentials: Credentials) -> bool:
    """Of revocation."""
    return life_of(chain)[1].isdisjoint(credentials.revoked)


def _chain(auth: Mapping[str, Any]) -> bytes:
    """gRPC core tells the leaf, and besides it, where there are any, those that signed it."""
    leaf, chain = auth.get("x509_pem_cert"), auth.get("x509_pem_cert_chain")
    if not leaf:
        return b""
    shown: bytes = leaf[0]
    if not chain:
        return shown
    return bytes(chain[0]) if chain[0].startswith(shown.strip()) else shown + b"\n" + chain[0]
