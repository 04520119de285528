"""How connections to endpoints are secured, as their clusters say; never less than that."""

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from ..model import Address
from ..model.security import SanType
from ._target import host_of
from ._tls_names import (
    Allowed,
    allowed,
    exact_ids,
    knows_members,
    member_test,
    one_host,
    one_of,
    server_name,
    validation_of,
)

if TYPE_CHECKING:
    import grpc

    from ._tls_native import Native, Shim

KINDS = {
    "URI": SanType.URI,
    "DNS": SanType.DNS,
    "email": SanType.EMAIL,
    "IP Address": SanType.IP_ADDRESS,
}
"""How ``ssl`` calls them."""
TARGET_NAME = "grpc.ssl_target_name_override"
Ids = tuple[str, ...]
MakeShim = Callable[[], "Shim"]
"""Raises :class:`IdentityError` where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Dial:
    """What a gRPC channel is made with. The very same object as long as nothing has changed.

    ``name`` is the DNS name that the certificate has to have. Where ``native`` is there instead,
    gRPC core compares SPIFFE ids. ``principal`` is the one id that the server may have, "" of
    several or none; ``ids``: of members, all that it may have. Held by who has a channel of it.
    """

    material: Material
    credentials: "grpc.ChannelCredentials"
    name: str = ""
    native: "Native | None" = None
    principal: str = ""
    ids: Ids = ()

    def target(self, address: Address) -> str:
        """What the channel is to be made to, "" the address itself."""
        return self.native.target(address) if self.native is not None else ""

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        if self.native is not None:
            return self.native.options
        return ((TARGET_NAME, self.name),) if self.name else ()

    def authority(self, asked: str) -> str:
        """What calls may have for :authority.

        gRPC core compares it with the name of the certificate or of the target, and takes the port
        off the latter alone; but not where it is told of SPIFFE ids.
        """
        return asked if self.native is not None else host_of(asked)


def unmade() -> "Shim":
    raise IdentityError(
        "gRPC cannot verify the server: its CA gives no DNS names that stand for SPIFFE ids"
    )


class UpstreamSecurity:
    """One for a mesh; safe from any thread. Everything raises :class:`IdentityError` where there
    is no way to connect that is as safe as the cluster wants it."""

    def __init__(
        self, materials: Materials, wall: Clock, regex: Regex, shim: MakeShim = unmade
    ) -> None:
        self._materials = materials
        self._wall = wall
        self._regex = regex
        self._make_shim = shim
        self.reset()
        self._contexts: dict[Transport, tuple[Material, CheckedContext, str]] = {}

    def reset(self) -> None:
        """In a forked child the lock is the parent's, and the shim runs there alone."""
        self._lock = threading.Lock()
        self._dials: dict[tuple[Transport, str], Dial] = {}
        self._shim: Shim | None = None

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
            known = self._dials.get(key)
            if known is None or known.material is not material:
                known = self._dials[key] = self._dialled(transport, material, host)
            return known

    def _dialled(self, transport: Transport, material: Material, host: str) -> Dial:
        if material.crl:
            raise IdentityError("gRPC cannot go by a certificate revocation list")
        credentials = material.credentials
        if credentials is None:
            ids = exact_ids(transport)
            if ids:
                return self._native(material, _of_one_place(material, ids), ids)
            named = _credentials(material, _roots(material))
            return Dial(material, named, one_host(transport, host))
        ids = _unrevoked(one_of(transport, self._regex), credentials)
        if len(ids) == 1 and _is_derived(ids[0], credentials):
            sealed = _credentials(material, _vouching(credentials, ids[0]))
            return Dial(material, sealed, derived_name(ids[0]), None, ids[0], ids)
        vouching = {_domain(one): _vouching(credentials, one) for one in ids}
        return replace(self._native(material, vouching, ids), ids=ids)

    def _native(self, material: Material, roots: Mapping[str, bytes], ids: Ids) -> Dial:
        if self._shim is None:
            self._shim = self._make_shim()
        native, credentials = self._shim.native(material, roots, ids)
        return Dial(material, credentials, native=native, principal=_only(ids))

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
                if known is not None:
                    known[1].is_outdated = True
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
            connection.spiffe_id = leaf.spiffe_id

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


def _unrevoked(ids: Ids, credentials: Credentials) -> Ids:
    found = tuple(one for one in ids if one not in credentials.revoked)
    if not found:
        raise IdentityError(f"{' and '.join(ids)} is revoked")
    return found


def _only(ids: Ids) -> str:
    return ids[0] if len(ids) == 1 else ""


def _domain(spiffe_id: str) -> str:
    return str(TrustDomain.parse(spiffe_id))


def _is_derived(spiffe_id: str, credentials: Credentials) -> bool:
    """Does its CA give the DNS name that stands for it? Of another domain's nothing is known."""
    svid = credentials.svid
    own = svid is None or _domain(svid.spiffe_id) == _domain(spiffe_id)
    return own and credentials.derived_names


def _vouching(credentials: Credentials, spiffe_id: str) -> bytes:
    """Only the roots of its own trust domain: any other's CA could claim the id as well."""
    bundle = credentials.bundles.get(_domain(spiffe_id))
    if bundle is None or not bundle.roots:
        raise IdentityError(f"no roots vouch for the trust domain of {spiffe_id}")
    return bundle.pem


def _of_one_place(material: Material, ids: Ids) -> dict[str, bytes]:
    """What the cluster says whom to believe, for the trust domain of the ids that it names."""
    domains = {_domain(one) for one in ids}
    if material.roots is None or len(domains) > 1:
        raise IdentityError(
            "the system's roots vouch for no SPIFFE ids, and no others for several trust domains"
        )
    return dict.fromkeys(domains, material.roots)


def _roots(material: Material) -> bytes | None:
    """gRPC core brings roots of its own along, where the system has none to show."""
    if material.roots is not None:
        return material.roots
    file = ssl.get_default_verify_paths().cafile
    try:
        return Path(file).read_bytes() if file else None
    except OSError:
        return None
