"""Credentials that are discovered as secrets (SDS): ``default`` and ``ROOTCA``, as Istio has it."""

import threading
from collections.abc import Mapping

from ..clock import Clock
from ..model.security import Secret
from .credentials import Bundle, Credentials, IdentityError
from .material import OWN_CERTIFICATE, OWN_ROOTS
from .sources import Feed, credentials, split
from .spiffe import SCHEME, TrustDomain


class SecretSource(Feed):
    """Who hears SDS puts here what came, and takes away what is gone.

    The certificate and the roots may come in any order: until they fit each other the last good
    ones are in force. Roots by the name of a trust domain (``spiffe://other.example``) are those
    of a federated one. Secrets of other names are for :meth:`named`.
    """

    def __init__(self, trust_domain: TrustDomain, *, clock: Clock) -> None:
        super().__init__()
        self._trust_domain = trust_domain
        self._clock = clock
        self._secrets: dict[str, Secret] = {}
        self._error = "no secret has come yet"
        self._putting = threading.Lock()
        self._revoked: frozenset[str] = frozenset()

    def start(self) -> None:
        """Somebody else asks for them."""

    def close(self) -> None:
        """Nothing is held open."""

    def status(self) -> Mapping[str, object]:
        return {"kind": "sds", "error": self._error, **self.shown()}

    def named(self, name: str) -> Secret | None:
        return self._secrets.get(name)

    def check(self, secret: Secret) -> None:
        """Raises :class:`IdentityError` for one that cannot be used."""
        roots = secret.name == OWN_ROOTS or secret.name.startswith(f"{SCHEME}:")
        if roots and not split(secret.trusted_ca):
            raise IdentityError(f"the secret {secret.name!r} has no roots in PEM")
        if secret.name == OWN_CERTIFICATE and not secret.private_key:
            raise IdentityError(f"the secret {secret.name!r} is no certificate with its key")
        if roots and secret.name != OWN_ROOTS:
            TrustDomain.parse(secret.name)

    def hear(self, secret: Secret) -> None:
        """Raises :class:`IdentityError` for one that cannot be used, and keeps the one before."""
        self.check(secret)
        with self._putting:
            self._secrets = {**self._secrets, secret.name: secret}
            self._settle()

    def revoke(self, revoked: frozenset[str]) -> None:
        """Serials and SPIFFE ids: all that are revoked."""
        with self._putting:
            self._revoked = revoked
            self._settle()

    def lose(self, name: str) -> None:
        """A secret is there no more. What it made possible so far stays, as with all that is bad
        news of a control plane."""
        with self._putting:
            self._secrets = {key: kept for key, kept in self._secrets.items() if key != name}

    def _settle(self) -> None:
        try:
            made = self._made()
        except IdentityError as error:
            self._error = str(error)
            return
        self._error = ""
        self.put(made)

    def _made(self) -> Credentials:
        own, roots = self._secrets.get(OWN_CERTIFICATE), self._secrets.get(OWN_ROOTS)
        if roots is None:
            raise IdentityError(f"the secret {OWN_ROOTS!r} has not come yet")
        federated = {
            str(TrustDomain.parse(name)): secret.trusted_ca
            for name, secret in self._secrets.items()
            if name.startswith(f"{SCHEME}:")
        }
        if own is None:
            pems = {**federated, str(self._trust_domain): roots.trusted_ca}
            bundles = {
                name: Bundle(trust_domain=name, roots=split(pem)) for name, pem in pems.items()
            }
            return Credentials(bundles=bundles, revoked=self._revoked)
        chain, key = own.certificate_chain, own.private_key
        made = credentials(chain, key, roots.trusted_ca, federated, self._clock(), "SDS")
        return Credentials(
            svid=made.svid,
            bundles=made.bundles,
            revoked=self._revoked,
            derived_names=made.derived_names,
        )
