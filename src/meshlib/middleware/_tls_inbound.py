"""Who is let in, and as whom, by the connection that he comes by."""

import ssl
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..dataplane import PLAINTEXT, Connection, Peer
from ..identity.credentials import Credentials, IdentityError, UntrustedError
from ..identity.leaf import Leaf, Purpose, check_leaf, life_of
from ..identity.material import Material, Materials, is_own
from ..identity.tls import (
    CheckedContext,
    CheckedObject,
    PeerRefusedError,
    server_context,
    shown_chain,
    swapped,
)
from ..model.security import DownstreamTls
from ._placed import Placed
from ._tls_held import Held
from ._tls_modes import MUTUAL, Modes
from ._tls_names import allowed, names_of

if TYPE_CHECKING:
    from ._drive import Runtime

STRANGER = Connection(refusal="a verified certificate is required")
ENCRYPTED = Connection()
COUNTED = 1024
"""Names of plaintext callers that are told apart."""
OTHERS = "(others)"


class InboundSecurity:
    """``callers``: how many calls came in plain text, by name, or else by host, of the caller."""

    def __init__(self, runtime: "Runtime", materials: Materials) -> None:
        self._runtime = runtime
        self._materials = materials
        self._wall = runtime.engine.options.wall
        self._made: dict[int | None, tuple[DownstreamTls, Material, CheckedContext]] = {}
        self._peers: OrderedDict[tuple[bytes, str], tuple[Leaf, Connection]] = OrderedDict()
        self.modes = Modes(runtime)
        self.placed = Placed()
        self.callers: Counter[str] = Counter()
        self.held = Held(runtime, self._is_refused)

    def material(self, tls: DownstreamTls) -> Material:
        """Raises :class:`IdentityError` where there is nothing to show."""
        validation = tls.validation
        if validation is None:
            return self._materials.of(tls.certificate, None)
        return self._materials.of(tls.certificate, validation.roots, validation.crl)

    def context(self, port: int | None = None) -> ssl.SSLContext:
        """Of the mode in force at each handshake."""
        return swapped(partial(self._current, port), server_side=True)

    def _current(self, port: int | None) -> ssl.SSLContext:
        tls = self.modes.at(port).tls
        if tls is None:
            raise IdentityError("connections are not encrypted here any more")
        material, known = self.material(tls), self._made.get(port)
        if known is None or known[0] != tls or known[1] is not material:
            required = tls.require_client_certificate
            context = server_context(material, partial(self._check, port), required=required)
            known = self._made[port] = tls, material, context
        return known[2]

    def _check(self, port: int | None, connection: CheckedObject) -> None:
        refusal = self.connection(connection.shown, port=port).refusal
        if refusal:
            raise PeerRefusedError(refusal)

    def connection(
        self,
        chain: bytes,
        server_name: str = "",
        port: int | None = None,
        *,
        resumed: bool = False,
    ) -> Connection:
        """Of an encrypted connection, by what the peer showed (PEM, the leaf first).

        ``resumed``: nobody looked at it at the handshake.
        """
        mode = self.modes.at(port)
        tls = mode.tls or MUTUAL
        if not chain:
            demanded = tls.require_client_certificate and not mode.plaintext
            return STRANGER if demanded else ENCRYPTED
        try:
            leaf = self._leaf(tls, chain, server_name, resumed=resumed)
        except (UntrustedError, IdentityError) as refused:
            return Connection(refusal=f"the certificate is not trusted: {refused}")
        known = self._peers.get((chain, server_name))
        if known is not None and known[0] is leaf:
            return known[1]
        return self._remember(chain, leaf, server_name)

    def _leaf(self, tls: DownstreamTls, chain: bytes, server_name: str, *, resumed: bool) -> Leaf:
        validation = tls.validation
        if validation is None or not is_own(validation.roots):
            raise UntrustedError("only members of the mesh are told apart here")
        leaf = self._believed(chain, server_name, resumed=resumed)
        matchers = validation.match_subject_alt_names
        if matchers and not allowed(matchers, self._runtime.engine.options.regex)(names_of(leaf)):
            raise UntrustedError(f"{leaf.spiffe_id} is not one of those who are let in")
        return leaf

    def _believed(self, chain: bytes, server_name: str, *, resumed: bool) -> Leaf:
        """At the handshake it held, so a leaf that has ended is that of a connection that was there
        before: those live on, as Envoy's do for days, unless somebody is revoked. Of a session that
        was resumed, as gRPC core lets callers do, nobody knows whether it held."""
        credentials, now = self._materials.credentials(), self._wall()
        try:
            return check_leaf(chain, credentials, now, Purpose.CLIENT)
        except UntrustedError:
            leaf, _ = self._peers.get((chain, server_name), (None, None))
            has_ended = leaf is not None and now > leaf.not_after
            if leaf is None or resumed or not has_ended or not _is_free(chain, credentials):
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

    def plaintext(self, port: int | None) -> Connection:
        return PLAINTEXT if self.modes.at(port).plaintext else STRANGER

    def count(self, name: str, source: str) -> None:
        """A call in plain text was let in."""
        caller = name or source.rpartition(":")[0] or "unknown"
        if caller not in self.callers and len(self.callers) >= COUNTED:
            caller = OTHERS
        self.callers[caller] += 1

    def of_ssl(self, secured: ssl.SSLObject | None, port: int | None) -> Connection:
        """``None``: it is in plain text."""
        if secured is None:
            return self.plaintext(port)
        if isinstance(secured, CheckedObject):
            return self.connection(secured.shown, secured.asked, port)
        return self.connection(shown_chain(secured), port=port)

    # -- gRPC -----------------------------------------------------------------------------------

    def of_grpc(self, auth: Mapping[str, Sequence[bytes]], port: int | None) -> Connection:
        """By what gRPC core says of the connection that a call came by."""
        if not is_encrypted(auth):
            return self.plaintext(port)
        name = auth.get("ssl_requested_server_name")
        asked = name[0].decode("ascii", "replace") if name else ""
        reused = auth.get("ssl_session_reused")
        resumed = reused is not None and bytes(reused[0]) != b"false"
        return self.connection(_chain(auth), asked, port, resumed=resumed)


def is_encrypted(auth: Mapping[str, Sequence[bytes]]) -> bool:
    kind = auth.get("transport_security_type")
    return kind is not None and bytes(kind[0]) in (b"ssl", b"tls")


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
