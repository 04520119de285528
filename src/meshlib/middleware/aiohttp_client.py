"""The client hook: one aiohttp middleware between the application and the endpoints."""

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import replace
from typing import Any

import aiohttp
from aiohttp import ClientRequest, ClientResponse
from aiohttp.helpers import TimerNoop
from aiohttp.payload import BytesPayload
from yarl import URL

from ..dataplane import (
    AskAuthorization,
    AskRateLimit,
    AuthorizationVerdict,
    AwaitConfig,
    Deliver,
    Effect,
    Failure,
    Finish,
    Headers,
    Meter,
    Outcome,
    Race,
    RateLimitVerdict,
    Request,
    Response,
    Send,
    Serve,
    Spawn,
    Steps,
    UpstreamEndpoint,
)
from ..dataplane.introduction import INTRODUCTION, PEER
from ..dataplane.message import IDEMPOTENT, Cause
from ..dataplane.upstream.transport import transport_of
from ..identity.credentials import IdentityError
from ._aiohttp_beside import MIRRORED_BODY, Hedge, mirror
from ._aiohttp_body import hand_over
from ._aiohttp_connector import ENDPOINT, METER, MeshConnector
from ._aiohttp_deadline import announce
from ._aiohttp_errors import MeshTimeoutError, cause_of, error_of
from ._aiohttp_made import make_response, respond
from ._aiohttp_message import NativeRequest, NativeResponse, changed, is_replayable
from ._aiohttp_meter import count_request, uncounted
from ._deadline import INCOMING
from ._drive import Runtime
from ._override import OVERRIDE

Handler = Callable[[ClientRequest], Awaitable[ClientResponse]]
Middleware = Callable[[ClientRequest, Handler], Awaitable[ClientResponse]]

PLAIN_SCHEMES = {"ws": "http", "wss": "https"}
SECURED = {"http": "https", "ws": "wss"}
TLS_SCHEMES = frozenset({"https", "wss"})


def client_middleware(runtime: Runtime) -> Middleware:
    async def mesh(req: ClientRequest, handler: Handler) -> ClientResponse:
        call = _Call(runtime, req, handler)
        try:
            delivery = await call.drive()
        except BaseException as error:
            call.give_up()
            if isinstance(error, asyncio.CancelledError) and call.is_out_of_time():
                raise call.too_late() from error
            runtime.close(call.steps)
            call.discard()
            raise
        finally:
            # A middleware outside of this one may look at the request, or send it again.
            req.url = call.url
            req.server_hostname = call.server_hostname
            req.headers = call.headers
            uncounted(req)
            if call.trusts is not None:
                req._ssl = call.trusts  # noqa: SLF001 - see _secure
        answer = call.answer if call.hedge is None else call.settle(delivery)
        if answer is None or delivery.outcome.native is not answer:
            return await call.answer_for(delivery)
        if delivery.record.respond is not None:
            respond(answer, delivery.record.respond)
        if answer.connection is not None or call.hedge is not None:
            hand_over(runtime, call.steps, delivery, answer, call.timer)
        return answer

    return mesh


class _Call:
    """One call of the application, with all its attempts."""

    __slots__ = (
        "_base",
        "_effect",
        "_handler",
        "_leaves",
        "_req",
        "_request",
        "_runtime",
        "answer",
        "headers",
        "hedge",
        "server_hostname",
        "steps",
        "timer",
        "trusts",
        "url",
    )

    def __init__(self, runtime: Runtime, req: ClientRequest, handler: Handler) -> None:
        self._runtime = runtime
        self._req = req
        self._handler = handler
        self.url = url = req.url
        self.server_hostname = req.server_hostname
        self.headers = self._base = req.headers
        self.answer: ClientResponse | None = None
        self.timer: asyncio.Timeout | None = None
        self._effect: Effect | None = None
        self.trusts: Any = None
        self.hedge: Hedge | None = None
        scheme = url.scheme
        target = f"{url.raw_host}:{url.port}"
        runtime.start()  # whom the call goes to, and so what goes with it, is not known before
        self._leaves = runtime.engine.is_foreign(target)
        handed_on = runtime.propagation.outgoing(foreign=self._leaves)
        if handed_on or (self._leaves and runtime.propagation.outgoing()):
            self._carry(handed_on)
        self._request = request = NativeRequest(
            req,
            target,
            url.raw_path_qs,
            req.headers["Host"],
            PLAIN_SCHEMES.get(scheme, scheme),
        )
        request.override = OVERRIDE.get()
        incoming = INCOMING.get()
        if incoming is not None:
            request.deadline = incoming.bounded(None)
        body = req.body
        if type(body) is not bytes:
            request.replayable = is_replayable(body)
        request.meter = Meter()
        runtime.propagation.begin(request, foreign=self._leaves)
        self.steps: Steps[Outcome] = runtime.outbound(request)

    def _carry(self, handed_on: Headers) -> None:
        """Add what the call being served brought along; what the caller set himself wins."""
        self._base = headers = self.headers.copy()
        for name in INTRODUCTION:
            if name in headers:
                headers.popall(name)
        for name, value in handed_on:
            if name not in headers and name != PEER:
                headers[name] = value
        self._req.headers = headers

    async def drive(self) -> Deliver:
        """Run the steps to their delivery; where nothing is to come any more, to their end."""
        runtime, steps = self._runtime, self.steps
        effect = runtime.step(steps, None)
        while True:
            self._effect = effect
            if type(effect) is Send:
                outcome = await self.perform(effect)
                answer = self.answer
                if answer is None or answer.connection is None:
                    effect = runtime.conclude(steps, outcome)
                else:
                    effect = runtime.step(steps, outcome)
            elif type(effect) is Deliver:
                return effect
            elif type(effect) is Race:
                effect = runtime.step(steps, await self._race(effect))
            elif type(effect) is Spawn:
                self._mirror(effect.steps)
                effect = runtime.step(steps, None)
            else:
                assert not isinstance(effect, Send | Deliver | Serve | Race | Spawn), effect
                effect = runtime.step(steps, await runtime.wait(effect))

    async def _race(self, effect: Race) -> Finish | None:
        if self.hedge is None:
            self.hedge = Hedge(self._twin)
        return await self.hedge.race(effect)

    def settle(self, delivery: Deliver) -> ClientResponse | None:
        """The answer to hand out; of several attempts beside each other, the winner's."""
        if self.hedge is not None:
            winner = self.hedge.settle(delivery.outcome.native)
            if winner is not None:
                self.answer, self.timer = winner.answer, winner.timer
        return self.answer

    def give_up(self) -> None:
        """Whatever is under way beside this call ends with it."""
        if self.hedge is not None:
            self.hedge.settle(None)

    def _mirror(self, steps: Steps[Outcome]) -> None:
        body = self._req.body
        if body and (not isinstance(body, BytesPayload) or (body.size or 0) > MIRRORED_BODY):
            self._runtime.close(steps)
        else:
            mirror(self._runtime, steps, self._twin())

    def _twin(self) -> "_Call":
        """The same call with a native request of its own."""
        twin = copy(self)
        twin._req = req = copy(self._req)  # noqa: SLF001 - its own class
        req.headers = self._base
        # aiohttp's timer belongs to the task of the call itself, which ends its twins.
        req._timer = TimerNoop()  # noqa: SLF001 - as aiohttp passes it to the response
        twin.answer = twin.timer = None
        return twin

    def is_out_of_time(self) -> bool:
        """Was this task cancelled by aiohttp's own timer (``ClientTimeout.total``), and by it only?

        aiohttp's timer turns the cancellation it began into a ``TimeoutError`` without a word;
        what it would undo of the task's state is undone here instead.
        """
        timer = self._req._timer  # noqa: SLF001 - the only place that knows
        task = asyncio.current_task()
        if task is None or not getattr(timer, "_cancelled", False):
            return False
        if task.cancelling() - 1 > timer._cancelling:  # type: ignore[attr-defined]  # noqa: SLF001 - not of its base class
            return False
        task.uncancel()
        return True

    def too_late(self) -> MeshTimeoutError:
        """End the steps by the caller's own limit, and say what the call was waiting for."""
        effect = self._effect
        late = Failure(
            Cause.DEADLINE, f"no answer from {self._request.target} in the caller's time"
        )
        answers = {
            Send: late,
            AwaitConfig: False,
            Race: Finish(0, late),
            AskRateLimit: RateLimitVerdict(None, detail=late.detail),
            AskAuthorization: AuthorizationVerdict(None, detail=late.detail),
        }
        while type(effect) is not Deliver:
            effect = self._runtime.step(self.steps, answers.get(type(effect)))
        self._runtime.finish(self.steps)
        self.discard()
        return MeshTimeoutError(effect.record.report(effect.outcome))

    async def perform(self, send: Send) -> Outcome:
        if self.answer is not None:
            self.discard()
        try:
            self._aim(send)
        except IdentityError as missing:
            return Failure(Cause.CONNECT, str(missing))
        when = None if send.timeout is None else self._req.loop.time() + send.timeout
        meter, clock = send.request.meter, self._runtime.clock
        assert meter is not None
        while True:
            count_request(self._req, meter, clock)
            try:
                if when is None:
                    answer = await self._handler(self._req)
                else:
                    async with asyncio.timeout_at(when) as self.timer:
                        answer = await self._handler(self._req)
            except (aiohttp.ClientError, OSError) as error:
                if self._met_a_stale_connection(error):
                    continue
                return self._failure(error)
            self.answer = answer
            meter.response_began = clock()
            meter.response_bytes = answer.content.total_bytes
            return NativeResponse(answer)

    def _aim(self, send: Send) -> None:
        self._point(send)
        meter = send.request.meter
        if meter is not None and meter.trace is not None:
            self._req.headers = headers = self._req.headers.copy()
            traced = self._runtime.propagation.attempt(send)
            for name, _ in traced:
                if name in headers:
                    headers.popall(name)
            headers.extend(traced)

    def _point(self, send: Send) -> None:
        """Point aiohttp's request to the endpoint; ``Host`` and ``resp.url`` stay logical."""
        req, endpoint, request = self._req, send.endpoint, send.request
        leaves = endpoint is None or endpoint.is_external
        if leaves != self._leaves and self._base is not self.headers:
            self._leaves = leaves
            self._carry(self._runtime.propagation.outgoing(foreign=leaves))
        if endpoint is None and request is self._request:
            return
        scheme = self.url.scheme
        authority = self.url.authority
        if endpoint is not None:
            authority = endpoint.key
            req.__dict__[ENDPOINT], req.__dict__[METER] = endpoint, request.meter
            if endpoint.secured_by is not None or self.trusts is not None:
                scheme = self._secure(endpoint, scheme)
        # Without the slash, what a rewrite has left would be read as more of the authority.
        slash = "" if request.path[:1] == "/" else "/"
        req.url = URL(f"{scheme}://{authority}{slash}{request.path}", encoded=True)
        if scheme in TLS_SCHEMES and req.server_hostname is None:
            req.server_hostname = self.url.raw_host
        if request is not self._request:
            self._rewrite(request)
        if send.timeout is not None and endpoint is not None and self._runtime.propagate_deadlines:
            req.headers = headers = req.headers.copy()
            announce(headers, send.timeout)

    def _secure(self, endpoint: UpstreamEndpoint, scheme: str) -> str:
        """Connect as the cluster says; it decides for calls by https, too.

        Raises :class:`IdentityError` where there is no way that is safe enough.
        """
        req, cluster = self._req, endpoint.secured_by
        if self.trusts is None:
            self.trusts = req.ssl
        req._ssl, req.server_hostname = self.trusts, self.server_hostname  # noqa: SLF001 - nothing public sets it
        transport = None if cluster is None else transport_of(cluster, endpoint.config)
        if transport is None:
            return scheme
        host = self.url.raw_host or ""
        context, name = self._runtime.security.upstream.context(transport, host)
        req._ssl, req.server_hostname = context, name  # noqa: SLF001
        return SECURED.get(scheme, scheme)

    def _rewrite(self, request: Request) -> None:
        headers = changed(self._base, self._request.headers, request.headers)
        if request.authority != self._request.authority:
            headers["Host"] = request.authority
        self._req.headers = headers

    def _met_a_stale_connection(self, error: Exception) -> bool:
        """Did a kept connection turn out to be closed, with a request that may be sent again?

        aiohttp sends such a request once more by itself (RFC 9112, 9.3.1), but would run the
        whole call through the mesh again; so here it is done within the attempt.
        """
        connector = self._req.session.connector
        return (
            isinstance(connector, MeshConnector)
            and connector.used_kept(self._req)
            and isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
            and not isinstance(error, aiohttp.ClientConnectorError)
            and self._req.method in IDEMPOTENT
            and self._request.replayable
        )

    def _failure(self, error: Exception) -> Failure:
        timer = self.timer
        if timer is not None and timer.expired() and isinstance(error, TimeoutError):
            return Failure(Cause.TIMEOUT, f"no answer from {self._req.url.authority} in time")
        cause = cause_of(error)
        if cause is None:
            raise error
        return Failure(cause, str(error), native=error)

    def discard(self) -> None:
        """Let go of an answer that nobody will read."""
        if self.answer is not None:
            self.answer.release()
            self.answer = None

    async def answer_for(self, delivery: Deliver) -> ClientResponse:
        """What the mesh answers by itself: a response or an exception."""
        self.discard()
        meter = self._request.meter
        assert meter is not None
        meter.response_bytes = _length(delivery.outcome, self._req.method)
        self._runtime.finish(self.steps)
        match delivery.outcome:
            case Response() as response:
                if delivery.record.respond is not None:
                    response = replace(response, headers=delivery.record.respond(response.headers))
                return await make_response(response, self._req)
            case Failure() as failure:
                raise error_of(failure, delivery.record)


def _length(outcome: Outcome, method: str) -> int:
    """The body of what the mesh answers by itself."""
    return len(outcome.body) if isinstance(outcome, Response) and method != "HEAD" else 0
