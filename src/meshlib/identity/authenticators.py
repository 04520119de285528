"""Who asks a CA for a certificate. Never what the signing request says of itself."""

import asyncio
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..clock import Clock
from .credentials import IdentityError
from .leaf import Leaf
from .spiffe import SpiffeId, TrustDomain
from .tokens import JoinTokens

log = logging.getLogger("meshlib.ca")

ID_METADATA = "meshlib-spiffe-id"
"""By this a caller who may be anybody says who."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Of a connection: ``leaf`` is that of the verified certificate, and ``refusal`` says why one
    that was shown is believed no more; ``uid`` is the user at the other end of a socket of this
    machine, as the kernel says."""

    address: str
    leaf: Leaf | None = None
    refusal: str = ""
    uid: int | None = None
    secure: bool = False

    @property
    def spiffe_id(self) -> SpiffeId | None:
        return None if self.leaf is None else SpiffeId.parse(self.leaf.spiffe_id)


@dataclass(frozen=True, slots=True)
class Asking:
    caller: Caller
    metadata: Mapping[str, str] = field(repr=False)

    @property
    def bearer(self) -> str:
        kind, _, token = self.metadata.get("authorization", "").partition(" ")
        return token.strip() if hmac.compare_digest(kind.lower().encode(), b"bearer") else ""


class UnauthenticatedError(IdentityError):
    """Nobody vouches for who asks."""


class Authenticator(Protocol):
    kind: str

    async def identify(self, asking: Asking) -> SpiffeId | None:
        """``None``: it has nothing to go by. Raises :class:`UnauthenticatedError` where what it
        goes by is bad."""


class ByCertificate:
    """Who shows a living certificate is given another for the same id."""

    kind = "certificate"

    async def identify(self, asking: Asking) -> SpiffeId | None:
        if asking.caller.refusal:
            raise UnauthenticatedError(asking.caller.refusal)
        return asking.caller.spiffe_id


class ByJoinToken:
    kind = "join-token"

    def __init__(self, tokens: JoinTokens, wall: Clock) -> None:
        self._tokens = tokens
        self._wall = wall

    async def identify(self, asking: Asking) -> SpiffeId | None:
        token = asking.bearer
        if not token or token.count(".") == 2:  # a JWT
            return None
        if not asking.caller.secure:
            raise UnauthenticatedError("a join token is worth nothing that came in plain text")
        try:
            return await asyncio.to_thread(self._tokens.redeem, token, self._wall())
        except IdentityError as error:
            raise UnauthenticatedError(str(error)) from error


class TokenReview(Protocol):
    """Asks the Kubernetes API server about a service account's token."""

    async def review(self, token: str) -> tuple[str, str]:
        """Namespace and account; raises :class:`UnauthenticatedError`."""


class ByServiceAccount:
    kind = "service-account"

    def __init__(self, reviewer: TokenReview, trust_domain: TrustDomain) -> None:
        self._reviewer = reviewer
        self._trust_domain = trust_domain

    async def identify(self, asking: Asking) -> SpiffeId | None:
        token = asking.bearer
        if token.count(".") != 2:
            return None
        if not asking.caller.secure:
            raise UnauthenticatedError("a token is worth nothing that came in plain text")
        namespace, account = await self._reviewer.review(token)
        return SpiffeId.of_workload(self._trust_domain, namespace, account)


class ByUser:
    """For work on one machine: a user whom the kernel names may be anybody. It has to be asked
    for, and is no more than what such a user could do with the CA's own folder."""

    kind = "user"

    def __init__(self, uids: frozenset[int]) -> None:
        self._uids = uids

    async def identify(self, asking: Asking) -> SpiffeId | None:
        uid = asking.caller.uid
        if uid is None:
            return None
        if uid not in self._uids:
            raise UnauthenticatedError(f"user {uid} may not have certificates here")
        named = asking.metadata.get(ID_METADATA, "")
        if not named:
            raise UnauthenticatedError(f"{ID_METADATA} does not say who this is")
        return SpiffeId.parse(named)
