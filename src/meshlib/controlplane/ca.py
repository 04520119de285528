"""The control plane's own CA: as a service, and as what it shows of itself."""

import asyncio
import logging
import os
import random  # noqa: TID251 - when to renew
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates

from ..clock import Clock
from ..errors import Place
from ..identity.authenticators import (
    Authenticator,
    ByCertificate,
    ByJoinToken,
    ByServiceAccount,
    ByUser,
    Caller,
)
from ..identity.authority import Authority
from ..identity.credentials import IdentityError, Svid, UntrustedError
from ..identity.kubernetes import ApiServer
from ..identity.leaf import Leaf, Purpose, check_leaf
from ..identity.material import Material
from ..identity.rotation import Renewal
from ..identity.service import CaService
from ..identity.spiffe import SpiffeId, TrustDomain
from ..identity.store import LOCK, FolderStore
from ..identity.tls import CheckedContext, CheckedObject, PeerRefusedError, server_context, swapped
from ..identity.tokens import JoinTokens
from .front import Front
from .gate import MembersOnly
from .manifests.finding import OTHER_TRUST_DOMAIN, Finding
from .world import World

LOG = logging.getLogger("meshlib.controlplane")

ACCOUNT = "meshlib-control-plane"
NAMESPACE = "istio-system"
HOSTS = ("localhost", "127.0.0.1", "::1")
DEFAULT_DOMAIN = "cluster.local"
HEARS_FOR = 1.0


class Ca(MembersOnly):
    """``hosts``: the names by which clients call, besides those of this machine.

    Where the folder holds no CA yet, one is made. ``socket_file`` lets users of this machine whom
    the kernel names (our own and root) be anybody.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        hosts: Sequence[str] = (),
        socket_file: str | Path | None = None,
        wall: Clock = time.time,  # noqa: TID251 - certificates go by it
        clock: Clock = time.monotonic,
    ) -> None:
        store = FolderStore(folder)
        self.authority = opened(store, wall)
        self._wall = wall
        self._clock = clock
        self._hosts = (*HOSTS, *hosts)
        self._id = SpiffeId.of_workload(self.authority.trust_domain, NAMESPACE, ACCOUNT)
        self._renewal = Renewal(random.random, wall(), clock())
        self._svid: Svid | None = None
        self._made: tuple[Svid, object, CheckedContext] | None = None
        local = None if socket_file is None else Path(socket_file)
        context = swapped(self._context, server_side=True)
        self.front = Front(context, self.believe, local)
        known = _authenticators(self.authority, store, wall, is_local=local is not None)
        self.service = CaService(self.authority, known, self.caller, wall=wall, clock=clock)
        self.service.watch(self._look_again_soon)

    @property
    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        return self.service.handlers

    def caller(self, grpc_call: Any) -> Caller:
        return self.front.caller(grpc_call)

    def believe(self, chain: bytes) -> Leaf:
        return check_leaf(chain, self.authority.credentials(), self._wall(), Purpose.CLIENT)

    def _look_again_soon(self) -> None:
        """Those who are believed no more may hear why, before they are cut: after an emergency
        they have to get another certificate."""
        asyncio.get_running_loop().call_later(HEARS_FOR, self.front.look_again)

    def left(self, caller: Caller) -> float | None:
        return None if caller.leaf is None else max(0.0, caller.leaf.not_after - self._wall())

    def issue(self, caller: Caller) -> Svid:
        """A new key and certificate for who calls, and for nobody else.

        Raises :class:`IdentityError` where what let the caller in is worth nothing any more: his
        stream is cut only after he has heard why.
        """
        found, leaf = caller.spiffe_id, caller.leaf
        assert found is not None, "let in by its certificate"
        assert leaf is not None
        if leaf.serial in self.authority.revoked or self._wall() >= leaf.not_after:
            raise IdentityError(f"the certificate that {found} shows is revoked or expired")
        LOG.info("issued a key and certificate to %s by SDS", found)
        return self.authority.issue(found, self._wall(), renewed=leaf.serial)

    def watch(self, changed: Callable[[], None]) -> None:
        self.service.watch(changed)

    def findings(self, world: World) -> Iterator[Finding]:
        """Names that nobody will ever have, because this CA gives others."""
        own, said = str(self.authority.trust_domain), world.mesh_config.trust_domain
        if own == said:
            return
        manifest = world.mesh_manifest
        place = Place("MeshConfig") if manifest is None else manifest.place_of("trustDomain")
        what = f"trustDomain is {said}, and the CA's is {own}: no member is who others expect"
        resource = "MeshConfig" if manifest is None else str(manifest)
        yield Finding(OTHER_TRUST_DOMAIN, "warning", place, resource, what)

    def _context(self) -> ssl.SSLContext:
        """At each handshake: as long as neither certificate nor roots are others, the same."""
        svid, roots = self._own(), self.authority.bundle().sequence
        if self._made is None or self._made[0] is not svid or self._made[1] != roots:
            material = Material(
                certificate_chain=svid.certificate_chain + self._root_of(svid),
                private_key=svid.private_key,
                roots=self.authority.bundle().pem,
            )
            context = server_context(material, self._check, required=False)
            context.set_alpn_protocols(["h2"])
            self._made = svid, roots, context
        return self._made[2]

    def _root_of(self, svid: Svid) -> bytes:
        """Shown too: there are those who know its hash alone."""
        last = load_pem_x509_certificates(svid.certificate_chain)[-1]
        roots = self.authority.bundle().roots
        return next(one for one in roots if load_pem_x509_certificate(one).subject == last.issuer)

    def _check(self, connection: CheckedObject) -> None:
        if connection.shown:
            try:
                self.believe(connection.shown)
            except UntrustedError as refused:
                raise PeerRefusedError(str(refused)) from refused

    def _own(self) -> Svid:
        wall = self._wall()
        if self._svid is None or self._renewal.due(wall, self._clock()) or self._is_outdated():
            self._svid = self.authority.issue(self._id, wall, hosts=self._hosts)
            self._renewal.renewed(self._svid.not_before, self._svid.not_after, wall)
        return self._svid

    def _is_outdated(self) -> bool:
        """Signed by a root that was taken out of the bundle in an emergency."""
        return self._made is not None and self._made[1] != self.authority.bundle().sequence


def opened(store: FolderStore, wall: Clock) -> Authority:
    """Of several programs that begin at once, one makes it."""
    store.create()
    with store.locked():
        if any(one.name != LOCK for one in store.folder.iterdir()):
            return Authority(store)
        LOG.info("made a CA of %s in %s", DEFAULT_DOMAIN, store.folder)
        return Authority.create(store, TrustDomain(DEFAULT_DOMAIN), wall())


def _authenticators(
    authority: Authority, store: FolderStore, wall: Clock, *, is_local: bool
) -> list[Authenticator]:
    known: list[Authenticator] = [ByCertificate(), ByJoinToken(JoinTokens(store), wall)]
    api_server = ApiServer.of_pod()
    if api_server is not None:
        known.append(ByServiceAccount(api_server, authority.trust_domain))
    if is_local:
        known.append(ByUser(frozenset({os.geteuid(), 0})))
    return known
