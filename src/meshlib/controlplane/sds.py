"""Secrets by SDS: each caller is given its own, and those that are no secret of anybody.

They belong to one stream, made for it and gone with it: nothing is kept by which one caller could
be given what is another's (CVE-2021-34824).
"""

import asyncio
import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from ..identity.authenticators import Caller
from ..identity.credentials import IdentityError, Svid
from ..identity.material import OWN_CERTIFICATE, OWN_ROOTS
from ..identity.spiffe import SCHEME
from ..model.security import Secret
from ..xds.codec import encode
from .type_names import SECRET
from .versions import NOTHING, PackedResource, PackedSnapshot, PackedType, digest

if TYPE_CHECKING:
    from .ca import Ca

LOG = logging.getLogger("meshlib.controlplane")
RENEWED_AT = 0.5


class Secrets:
    """Belongs to one event loop."""

    def __init__(self, ca: "Ca") -> None:
        self._ca = ca
        self._open: set[Own] = set()
        ca.watch(self._changed)

    def of(self, caller: Caller) -> "Own":
        """Close it with the stream."""
        made = Own(self._ca, caller, self._open.discard)
        self._open.add(made)
        return made

    def _changed(self) -> None:
        for each in tuple(self._open):
            each.renew_roots()


class Own:
    """What one stream has asked for by name. A key is made only for who asks for one."""

    def __init__(self, ca: "Ca", caller: Caller, closed: "Callable[[Own], None]") -> None:
        self._ca = ca
        self._caller = caller
        self._closed = closed
        self._type: PackedType = NOTHING
        self._names: AbstractSet[str] = frozenset()
        self._timer: asyncio.TimerHandle | None = None
        self._tell: Callable[[], None] = lambda: None

    def beside(self, snapshot: PackedSnapshot) -> PackedSnapshot:
        if not self._names:
            return snapshot
        return PackedSnapshot(snapshot.version, {**snapshot.types, SECRET: self._type})

    def ask(self, names: AbstractSet[str], tell: Callable[[], None]) -> None:
        """From now on these are wanted; ``tell`` is called whenever any of them is another."""
        new, self._names, self._tell = names - self._names, frozenset(names), tell
        if new - {OWN_CERTIFICATE}:
            self.renew_roots()
        if OWN_CERTIFICATE in new:
            self._renew()
        elif new:
            tell()

    def renew_roots(self) -> None:
        """Those of another trust domain are a secret of the domain's name."""
        authority = self._ca.authority
        known = {f"{SCHEME}://{one.trust_domain}": one.pem for one in authority.federated()}
        known[OWN_ROOTS] = authority.bundle().pem
        wanted = self._names & known.keys()
        for name in wanted:
            if known[name]:
                self._put(Secret(name=name, trusted_ca=known[name]))
        self._type = self._type.changed([], [name for name in wanted if not known[name]], None)
        if wanted:
            self._tell()

    def close(self) -> None:
        self._closed(self)
        if self._timer is not None:
            self._timer.cancel()

    def _renew(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if OWN_CERTIFICATE not in self._names:
            return
        try:
            svid = self._ca.issue(self._caller)
        except IdentityError as error:  # revoked meanwhile; what it has serves on until it is cut
            LOG.warning("%s is given no certificate: %s", self._caller.spiffe_id, error)
            self._tell()
            return
        chain, key = svid.certificate_chain, svid.private_key
        self._put(Secret(name=OWN_CERTIFICATE, certificate_chain=chain, private_key=key))
        self._timer = asyncio.get_running_loop().call_later(_life(svid), self._renew)
        self._tell()

    def _put(self, secret: Secret) -> None:
        packed = encode(secret)
        made = PackedResource(SECRET, secret.name, digest([packed.value]), packed)
        self._type = self._type.changed([made], (), None)


def _life(svid: Svid) -> float:
    return max(1.0, (svid.not_after - svid.not_before) * RENEWED_AT)
