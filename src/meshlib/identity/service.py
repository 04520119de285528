"""A CA as a service: Istio's, so that its agents can use it, and one that tells whom to believe.

Who may have a certificate is said by authenticators. Of a signing request the public key alone
is taken.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import grpc

from ..clock import Clock
from .authenticators import Asking, Authenticator, ByCertificate, Caller
from .authority import Authority
from .ca_messages import (
    CERTIFICATES,
    TRUST,
    Trust,
    decode_heard,
    decode_request,
    encode_chain,
    encode_trust,
)
from .credentials import IdentityError
from .csr import parse_csr
from .slots import DEFAULT_TTL, LONGEST_TTL
from .spiffe import SpiffeId

log = logging.getLogger("meshlib.ca")

PAUSE = 0.5
"""Seconds between two looks at what has become of the CA: a revocation is told that soon."""
BURST, EVERY = 60, 1.0
"""So many requests one id, or one address without, may make at once; then one in so many
seconds."""
REMEMBERED = 10_000


class Refusal(Exception):  # noqa: N818 - not a failure: an answer
    def __init__(self, code: grpc.StatusCode, why: str) -> None:
        super().__init__(why)
        self.code = code


class CaService:
    """``caller`` says who is at the other end of a call. Belongs to one event loop."""

    def __init__(
        self,
        authority: Authority,
        authenticators: Sequence[Authenticator],
        caller: Callable[[Any], Caller],
        *,
        wall: Clock,
        clock: Clock,
    ) -> None:
        self._authority = authority
        self._authenticators = tuple(authenticators)
        self._caller = caller
        self._wall = wall
        self._rates = Rates(clock)
        self._listeners: dict[object, tuple[asyncio.Event, int]] = {}
        self._watches: list[Callable[[], None]] = []
        self._ticking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        create: Any = grpc.unary_unary_rpc_method_handler(self._create)  # bytes both ways
        stream: Any = grpc.stream_stream_rpc_method_handler(self._trust)
        return (
            grpc.method_handlers_generic_handler(CERTIFICATES, {"CreateCertificate": create}),
            grpc.method_handlers_generic_handler(TRUST, {"StreamTrust": stream}),
        )

    def watch(self, changed: Callable[[], None]) -> None:
        """Call it whenever roots or denials have changed, on the service's loop."""
        self._watches.append(changed)

    def start(self) -> None:
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def close(self) -> None:
        self._closed = True
        self._wake()
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking

    @property
    def acknowledged(self) -> float:
        """The part of those who listen that goes by the newest bundle."""
        heard, newest = self._listeners.values(), self._authority.bundle().sequence
        return sum(has >= newest for _, has in heard) / len(heard) if heard else 1.0

    async def _tick(self) -> None:
        told = self._now()
        while True:
            before = told
            try:
                wall, heard = self._wall(), self.acknowledged
                await asyncio.to_thread(self._authority.advance, wall, heard)
                told = self._now()
            except (IdentityError, OSError) as error:
                log.error("the CA cannot go on: %s", error)  # noqa: TRY400 - its words say it all
            if before != told:
                self._wake()
                for watch in self._watches:
                    watch()
            await asyncio.sleep(PAUSE)

    def _now(self) -> Trust:
        authority = self._authority
        return Trust(authority.bundle(), authority.revoked, authority.federated())

    def _wake(self) -> None:
        for event, _ in self._listeners.values():
            event.set()

    # -- certificates ---------------------------------------------------------------------------

    async def _create(self, message: bytes, call: Any) -> bytes:
        caller = self._caller(call)
        chain: tuple[bytes, ...] = ()
        try:
            wanted, kind = await self._identify(caller, metadata_of(call))
            renewed = caller.leaf.serial if caller.leaf and kind == ByCertificate.kind else ""
            chain, serial = self._signed(wanted, message, renewed)
            log.info("issued %s, serial %x, to %s by %s", wanted, serial, caller.address, kind)
        except Refusal as refusal:
            log.warning("refused to %s: %s", caller.address, refusal)
            await call.abort(refusal.code, str(refusal))  # which raises
        return encode_chain(chain)

    async def _identify(self, caller: Caller, metadata: Mapping[str, str]) -> tuple[SpiffeId, str]:
        known = caller.leaf.spiffe_id if caller.leaf is not None else caller.address
        if not self._rates.take(known):
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests; come back later")
        asking = Asking(caller, metadata)
        for authenticator in self._authenticators:
            try:
                found = await authenticator.identify(asking)
            except IdentityError as error:
                code = grpc.StatusCode.UNAUTHENTICATED
                raise Refusal(code, f"{authenticator.kind}: {error}") from error
            if found is not None:
                return found, authenticator.kind
        kinds = ", ".join(each.kind for each in self._authenticators)
        said = f"nothing, such as MESHLIB_CA_TOKEN, says who asks for a certificate ({kinds})"
        raise Refusal(grpc.StatusCode.UNAUTHENTICATED, said)

    def _signed(
        self, wanted: SpiffeId, message: bytes, renewed: str
    ) -> tuple[tuple[bytes, ...], int]:
        try:
            request = decode_request(message)
            key = parse_csr(request.csr).public_key
        except IdentityError as error:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        ttl = request.validity or DEFAULT_TTL
        if not 0 < ttl <= LONGEST_TTL:
            said = f"a certificate lives up to {LONGEST_TTL:g} s, not {ttl:g} s"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
        try:
            self._authority.check_askable(wanted, ttl)
        except IdentityError as error:
            raise Refusal(grpc.StatusCode.PERMISSION_DENIED, str(error)) from error
        try:
            issued = self._authority.sign(key, wanted, self._wall(), ttl, (), renewed)
        except IdentityError as error:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        # All roots as the last one: Istio's agents take it for the file of roots.
        return (issued.certificate_chain, self._authority.bundle().pem), issued.serial

    # -- whom to believe ------------------------------------------------------------------------

    async def _trust(self, messages: AsyncIterator[bytes], call: Any) -> None:
        caller = self._caller(call)
        if caller.leaf is None and caller.uid is None:
            said = "whom to believe is told to members only, by their certificate"
            await call.abort(grpc.StatusCode.UNAUTHENTICATED, said)
        ends = caller.leaf.not_after if caller.leaf is not None else None
        key, news = object(), asyncio.Event()
        self._listeners[key] = news, -1
        reader = asyncio.create_task(self._hear(key, messages))
        try:
            told: Trust | None = None
            while not self._closed and (ends is None or self._wall() < ends):
                trust = self._now()
                if trust != told:
                    told = trust
                    await call.write(encode_trust(trust))
                news.clear()
                with suppress(TimeoutError):
                    left = None if ends is None else max(0.0, ends - self._wall())
                    await asyncio.wait_for(news.wait(), left)
        finally:
            del self._listeners[key]
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _hear(self, key: object, messages: AsyncIterator[bytes]) -> None:
        async for message in messages:
            event, _ = self._listeners[key]
            self._listeners[key] = event, decode_heard(message)


class Rates:
    """A bucket for each who asks."""

    def __init__(self, clock: Clock, burst: int = BURST, every: float = EVERY) -> None:
        self._clock = clock
        self._burst = burst
        self._every = every
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, who: str) -> bool:
        now = self._clock()
        full_at = max(self._full_at.get(who, now), now) + self._every
        if full_at - now > self._burst * self._every:
            return False
        self._full_at[who] = full_at
        self._full_at.move_to_end(who)
        while len(self._full_at) > REMEMBERED:
            self._full_at.popitem(last=False)
        return True


def metadata_of(call: Any) -> dict[str, str]:
    """A key that comes twice says nothing."""
    found: dict[str, str] = {}
    twice = set()
    for key, value in call.invocation_metadata() or ():
        if key in found:
            twice.add(key)
        if isinstance(value, str):
            found[key] = value
    return {key: value for key, value in found.items() if key not in twice}
