"""A member of a mesh in virtual time: the real engine and runtime, against scripted upstreams."""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from types import coroutine
from typing import Any

from ..clock import Dice
from ..dataplane import (
    AskAuthorization,
    AuthorizationVerdict,
    AwaitConfig,
    AwaitTurn,
    Cause,
    Engine,
    Event,
    Failure,
    Options,
    Outcome,
    RateLimitVerdict,
    Send,
)
from ..middleware._drive import Runtime
from ..middleware._services import Question, Verdict
from ._decide import Config, Source, snapshot_of
from ._replies import Reply, Script, ok
from .clock import FakeClock
from .dice import always

TraceEvent = dict[str, Any]
"""``at`` (seconds since the call began), ``what``, and fields: send, sleep, await_config,
await_turn, ask_rate_limit, ask_authorization, finish (an attempt of several), spawn (another
call), deliver."""


class HungUp(BaseException):
    """The caller went away, as a cancelled task or an interrupted thread does."""


class VirtualMesh:
    """One member of a mesh without network or waiting; its state lasts from call to call.

    ``upstreams``: a script per endpoint address (or per target, where the call leaves the mesh);
    an endpoint without one answers 200. ``dice`` serve calls only; rolls that configuration
    takes (where a rotation begins) are all 0. ``news``: configurations, each with the moment on
    ``clock`` at which it comes into force, as time passes during calls. ``source`` says where
    the member stands, as for :func:`decide`. ``verdicts``: what a rate limit service answers, in
    turn and the last for ever; ``authorizations``: what an authorization service does.
    """

    def __init__(
        self,
        config: Config = (),
        upstreams: Mapping[str, Script] | None = None,
        *,
        dice: Dice | None = None,
        options: Options | None = None,
        news: Sequence[tuple[float, Config]] = (),
        source: Source | None = None,
        verdicts: Sequence[RateLimitVerdict] = (RateLimitVerdict(ok=True),),
        authorizations: Sequence[AuthorizationVerdict] = (AuthorizationVerdict(ok=True),),
    ) -> None:
        self.clock = FakeClock()
        self.dice = always(0.0)
        self.events: list[Event] = []
        self.upstreams: dict[str, list[Reply]] = {}
        self.script(upstreams or {})
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.verdicts = list(verdicts)
        self.authorizations = list(authorizations)
        self.trace: list[TraceEvent] = []
        self.engine = Engine(
            clock=self.clock,
            dice=self._roll,
            observe=self.events.append,
            options=options,
        )
        self.runtime = VirtualRuntime(self)
        self.source = source
        self.engine.apply(snapshot_of(config, source))
        self.dice = dice or always(0.0)
        for at, config_then in news:
            self.at(at, partial(self.apply, config_then))

    def _roll(self) -> float:
        return self.dice()

    def script(self, upstreams: Mapping[str, Script]) -> None:
        """Say from now on what these upstreams do."""
        for address, script in upstreams.items():
            replies = [script] if isinstance(script, Reply) else list(script)
            self.upstreams[address] = replies

    def apply(self, config: Config) -> None:
        """Put a configuration in force now."""
        dice, self.dice = self.dice, always(0.0)
        try:
            self.runtime.commit(self.engine.prepare(snapshot_of(config, self.source)))
        finally:
            self.dice = dice

    def at(self, moment: float, happens: Callable[[], None]) -> None:
        """Have something happen at a moment on ``clock``: a held call ends, news come in."""
        heappush(self._agenda, (moment, next(self._numbers), happens))

    def passes(self, seconds: float) -> None:
        """Let time pass, and happen what is to happen meanwhile."""
        until = self.clock.now + seconds
        while self._agenda and self._agenda[0][0] <= until:
            self._next()
        self.clock.now = until

    def waits(self, known: Callable[[], bool], until: float) -> bool:
        """Let time pass until something is so, but no longer than that."""
        while not known() and self._agenda and self._agenda[0][0] <= until:
            self._next()
        if not known():
            self.passes(until - self.clock.now)
        return known()

    def _next(self) -> None:
        at, _, happens = heappop(self._agenda)
        self.clock.now = max(self.clock.now, at)
        happens()

    def planned(self, effect: Send) -> tuple[float, Outcome | None]:
        """When the scripted upstream will have done what with an attempt that begins now."""
        replies = self.upstreams.get(place_of(effect)) or [ok()]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        timeout, now = effect.timeout, self.clock.now
        if timeout is not None and reply.after >= timeout:
            status = 4 if effect.request.is_grpc else None
            late = Failure(Cause.TIMEOUT, f"no answer in {timeout:g} s", grpc_status=status)
            return now + timeout, late
        return now + reply.after, reply.outcome

    def perform(self, effect: Send) -> Outcome:
        """What the scripted upstream does with an attempt that is waited for."""
        moment, outcome = self.planned(effect)
        self.passes(moment - self.clock.now)
        if outcome is None:
            raise HungUp
        return outcome

    def verdict(self) -> RateLimitVerdict:
        return self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]

    def authorization(self) -> AuthorizationVerdict:
        return (
            self.authorizations.pop(0) if len(self.authorizations) > 1 else self.authorizations[0]
        )


class VirtualRuntime(Runtime):
    """The real runtime, but waiting is a jump of the clock."""

    def __init__(self, mesh: VirtualMesh) -> None:
        super().__init__(mesh.engine, clock=mesh.clock, sleep=self._sleep, asleep=self._asleep)
        self.mesh = mesh
        self.services = _Services(self)

    def note(self, what: str, **fields: Any) -> None:
        at = round(self.mesh.clock.now, 9)
        self.mesh.trace.append({"at": at, "what": what, **fields})

    def note_send(self, effect: Send) -> None:
        request = effect.request
        self.note(
            "send",
            endpoint=place_of(effect),
            method=request.method,
            authority=request.authority or request.target,
            path=request.path,
            headers=dict(request.headers),
            timeout=rounded(effect.timeout),
        )

    def send(self, effect: Send) -> Outcome:
        self.note_send(effect)
        return self.mesh.perform(effect)

    async def asend(self, effect: Send) -> Outcome:
        await turn()
        return self.send(effect)

    def _sleep(self, seconds: float) -> None:
        self.note("sleep", seconds=rounded(seconds))
        self.mesh.passes(seconds)

    async def _asleep(self, seconds: float) -> None:
        await turn()
        self._sleep(seconds)

    def await_config(self, effect: AwaitConfig) -> bool:
        self.note("await_config", listener=effect.listener, timeout=rounded(effect.timeout))
        assert effect.timeout is not None, "a call that waits for configuration needs a bound"
        until = self.mesh.clock.now + effect.timeout
        return self.mesh.waits(lambda: self.engine.knows(effect.listener), until)

    async def aawait_config(self, effect: AwaitConfig) -> bool:
        await turn()
        return self.await_config(effect)

    def await_turn(self, effect: AwaitTurn) -> bool:
        self.note("await_turn", timeout=rounded(effect.timeout))
        assert effect.timeout is not None, "nobody else plays who could end this wait"
        until = self.mesh.clock.now + effect.timeout
        return self.mesh.waits(lambda: effect.turn.granted, until)

    async def aawait_turn(self, effect: AwaitTurn) -> bool:
        await turn()
        return self.await_turn(effect)


class _Services:
    """Answer as they are told to."""

    def __init__(self, runtime: VirtualRuntime) -> None:
        self._runtime = runtime

    def ask(self, effect: Question) -> Verdict:
        runtime, place = self._runtime, effect.endpoint.key
        if isinstance(effect, AskAuthorization):
            runtime.note("ask_authorization", endpoint=place, headers=dict(effect.headers))
            return runtime.mesh.authorization()
        facts = {"domain": effect.domain, "descriptors": effect.descriptors}
        runtime.note("ask_rate_limit", endpoint=place, **facts)
        return runtime.mesh.verdict()

    async def aask(self, effect: Question) -> Verdict:
        await turn()
        return self.ask(effect)


@coroutine
def turn() -> Generator[None, None, None]:
    """Give way once, as every real wait does."""
    yield


def place_of(effect: Send) -> str:
    return effect.endpoint.key if effect.endpoint is not None else effect.request.target


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 9)
