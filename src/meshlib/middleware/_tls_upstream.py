"""How connections to endpoints are secured, as their clusters say; never less than that."""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..dataplane import UpstreamEndpoint
from ..dataplane.routing.matchers import Regex
from ..dataplane.upstream.transport import Transport, transport_of
from ..identity.credentials import Credentials, IdentityError, UntrustedError
from ..identity.leaf import Leaf, Purpose, check_leaf
from ..identity.material import Material, Materials
from ..identity.names import derived_name
from ..identity.spiffe import TrustDomain
from ..identity.tls import (
    Check,
    CheckedContext,
    CheckedObject,
    PeerRefusedError,
    client_context,
)
from ..model.security import SanType
from ._tls_names import (
    Allowed,
    allowed,
    knows_members,
    member_test,
    one_host,
    one_id,
    server_name,
    validation_of,
)

if TYPE_CHECKING:
    import grpc

KINDS = {
    "URI": SanType.URI,
    "DNS": SanType.DNS,
    "email": SanType.EMAIL,
    "IP Address": SanType.IP_ADDRESS,
}
"""How ``ssl`` calls them."""
TARGET_NAME = "grpc.ssl_target_name_override"


@dataclass(frozen=True, slots=True, eq=False)
class Dial:
    """What a gRPC channel is made with. The very same object as long as nothing has changed."""

    material: Material
    credentials: "grpc.ChannelCredentials"
    name: str


class UpstreamSecurity:
    """One for a mesh; safe from any thread. Everything raises :class:`IdentityError` where there
    is no way to connect that is as safe as the cluster wants it."""

    def __init__(self, materials: Materials, wall: Clock, regex: Regex) -> None:
        self._materials = materials
        self._wall = wall
        self._regex = regex
        self.reset()
        self._dials: dict[tuple[Transport, str], Dial] = {}
        self._contexts: dict[Transport, tuple[Material, CheckedContext, str]] = {}

    def reset(self) -> None:
        """In a forked child the lock is the parent's."""
        self._lock = threading.Lock()

    def material(self, transport: Transport) -> Material:
        validation = validation_of(transport)
        return self._materials.of(transport.tls.certificate, validation.roots, validation.crl)

    def wanted_for(self, endpoint: UpstreamEndpoint) -> Transport | None:
        """``None``: plain text."""
        cluster = endpoint.secured_by
        return None if cluster is None else transport_of(cluster, endpoint.config)

    # -- gRPC -----------------------------------------------------------------------------------

    def dial(self, transport: Transport, host: str) -> Dial:
        """``host``: the logical one, as which the server is known where nothing else is said."""
        material = self.material(transport)
        key = (transport, host)
        known = self._dials.get(key)
        if known is not None and known.material is material:
            return known
        with self._lock:
            made = self._dials[key] = self._dialled(transport, material, host)
            return made

    def _dialled(self, transport: Transport, material: Material, host: str) -> Dial:
        if material.crl:
            raise IdentityError("gRPC cannot go by a certificate revocation list")
        if material.credentials is None:
            return Dial(
                material, _credentials(material, _roots(material)), one_host(transport, host)
            )
        wanted = one_id(transport, self._regex)
        if wanted in material.credentials.revoked:
            raise IdentityError(f"{wanted} is revoked")
        if not material.credentials.derived_names:
            raise IdentityError(
                f"gRPC cannot verify {wanted}: its CA gives no DNS names that stand for SPIFFE ids"
            )
        roots = _vouching(material.credentials, wanted)
        return Dial(material, _credentials(material, roots), derived_name(wanted))

    # -- ssl ------------------------------------------------------------------------------------

    def context(self, transport: Transport, host: str) -> tuple[ssl.SSLContext, str]:
        """The context, and the name to ask for.

        The same context as long as nothing has changed: connections are kept by it, so that those
        made with an old certificate are not used any more.
        """
        material = self.material(transport)
        known = self._contexts.get(transport)
        if known is None or known[0] is not material:
            with self._lock:
                made = material, self._checking(transport, material), server_name(transport)
                known = self._contexts[transport] = made
        return known[1], known[2] or host

    def _checking(self, transport: Transport, material: Material) -> CheckedContext:
        if knows_members(transport):
            check = self._member_check(member_test(transport, self._regex))
            return client_context(material, check, by_hostname=False)
        matchers = validation_of(transport).match_subject_alt_names
        named = partial(_check_names, allowed(matchers, self._regex)) if matchers else _content
        return client_context(material, named, by_hostname=not matchers)

    def _member_check(self, test: Callable[[Leaf], bool]) -> Check:
        def check(connection: CheckedObject) -> None:
            credentials = self._materials.credentials()
            try:
                leaf = check_leaf(connection.shown, credentials, self._wall(), Purpose.SERVER)
            except UntrustedError as refused:
                raise PeerRefusedError(str(refused)) from refused
            if not test(leaf):
                raise PeerRefusedError(f"{leaf.spiffe_id} answers, who is not the one to call")

        return check


def _content(_connection: ssl.SSLObject) -> None:
    """OpenSSL has compared the name itself."""


def _check_names(test: Allowed, connection: ssl.SSLObject) -> None:
    found: Any = connection.getpeercert() or {}
    sans: dict[SanType, tuple[str, ...]] = {}
    for kind, name in found.get("subjectAltName", ()):
        if kind in KINDS:
            sans[KINDS[kind]] = (*sans.get(KINDS[kind], ()), name)
    if not test(sans):
        raise PeerRefusedError("the names of the server are not those to call")


def _credentials(material: Material, roots: bytes | None) -> "grpc.ChannelCredentials":
    import grpc

    chain, key = material.certificate_chain or None, material.private_key or None
    return grpc.ssl_channel_credentials(roots, key, chain)


def _vouching(credentials: Credentials, spiffe_id: str) -> bytes:
    """Only the roots of its own trust domain: any other's CA could claim the id as well."""
    bundle = credentials.bundles.get(str(TrustDomain.parse(spiffe_id)))
    if bundle is None or not bundle.roots:
        raise IdentityError(f"no roots vouch for the trust domain of {spiffe_id}")
    return bundle.pem


def _roots(material: Material) -> bytes | None:
    """gRPC core brings roots of its own along, where the system has none to show."""
    if material.roots is not None:
        return material.roots
    file = ssl.get_default_verify_paths().cafile
    try:
        return Path(file).read_bytes() if file else None
    except OSError:
        return None
