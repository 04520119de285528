"""Calls in virtual time: the real engine and the real loops, against scripted upstreams."""

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import coroutine
from typing import Any, Literal, TypeVar

from ..clock import Dice
from ..dataplane import (
    AwaitConfig,
    Cause,
    Deliver,
    Engine,
    Event,
    Failure,
    Headers,
    Options,
    Outcome,
    Request,
    Response,
    Send,
    Steps,
)
from ..middleware._drive import Runtime, adrive, drive
from ._decide import Config, Source, snapshot_of
from .clock import FakeClock
from .dice import always

T = TypeVar("T")
Driver = Literal["blocking", "awaiting"]
DRIVERS: tuple[Driver, ...] = ("blocking", "awaiting")
TraceEvent = dict[str, Any]
"""``at`` (seconds since the call began), ``what`` (send, sleep, await_config, deliver), fields."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upstream does with one attempt; ``outcome`` ``None``: meanwhile the caller leaves."""

    outcome: Outcome | None
    after: float = 0.0


Script = Reply | Sequence[Reply]
"""One reply for ever, or several in turn, the last of them for ever."""


def ok(headers: Headers = (), *, body: bytes = b"") -> Reply:
    return Reply(Response(200, headers, body=body))


def fails_with(status: int) -> Reply:
    return Reply(Response(status))


def grpc_status(code: int) -> Reply:
    return Reply(Response(200, grpc_status=code))


def refuses() -> Reply:
    """No connection comes about."""
    return Reply(Failure(Cause.CONNECT, "connection refused"))


def refuses_stream() -> Reply:
    """The peer refuses the stream before it processed anything."""
    return Reply(Failure(Cause.REFUSED, "stream refused"))


def resets() -> Reply:
    """The connection breaks after the request was sent."""
    return Reply(Failure(Cause.RESET, "connection reset"))


def hangs_up() -> Reply:
    """The caller goes away while this upstream works."""
    return Reply(None)


def slow(seconds: float, then: Reply | None = None) -> Reply:
    reply = then or ok()
    return Reply(reply.outcome, reply.after + seconds)


def get(target: str, path: str = "/", **fields: Any) -> Request:
    return Request(target, "GET", path, **fields)


def rpc(target: str, path: str = "/pkg.Service/Method", **fields: Any) -> Request:
    return Request(target, "POST", path, is_grpc=True, **fields)


class HungUp(BaseException):
    """The caller went away, as a cancelled task or an interrupted thread does."""


@dataclass(slots=True)
class Played:
    """What became of a call. A held one still has its body to read: :meth:`end` or :meth:`drop`."""

    outcome: Outcome
    attempts: list[str]
    trace: list[TraceEvent]
    elapsed: float
    _runtime: Runtime = field(repr=False, compare=False)
    _steps: Steps[Outcome] = field(repr=False, compare=False)

    def end(self, outcome: Outcome | None = None) -> None:
        """The body or stream ended: as it was delivered, or otherwise."""
        self._runtime.finish(self._steps, outcome)

    def drop(self) -> None:
        """The application lost interest and never read the body."""
        self._runtime.drop(self._steps)
        self._runtime.collect()


class VirtualMesh:
    """One member of a mesh without network or waiting; its state lasts from call to call.

    ``upstreams``: a script per endpoint address (or per target, where the call leaves the mesh);
    an endpoint without one answers 200. ``dice`` serve calls only; rolls that configuration
    takes (where a rotation begins) are all 0. ``news``: configurations, each with the moment on
    ``clock`` at which it comes into force, as time passes during calls. ``source`` says where
    the member stands, as for :func:`decide`.
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
    ) -> None:
        self.clock = FakeClock()
        self.dice = always(0.0)
        self.events: list[Event] = []
        self.upstreams: dict[str, list[Reply]] = {}
        self.script(upstreams or {})
        self.news = sorted(news, key=lambda item: item[0])
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

    def passes(self, seconds: float) -> None:
        """Let time pass, and news come in."""
        until = self.clock.now + seconds
        while self.news and self.news[0][0] <= until:
            at, config = self.news.pop(0)
            self.clock.now = max(self.clock.now, at)
            self.apply(config)
        self.clock.now = until

    def perform(self, effect: Send) -> Outcome:
        """What the scripted upstream does with an attempt."""
        replies = self.upstreams.get(_place(effect)) or [ok()]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        timeout = effect.timeout
        if timeout is not None and reply.after >= timeout:
            self.passes(timeout)
            status = 4 if effect.request.is_grpc else None
            return Failure(Cause.TIMEOUT, f"no answer in {timeout:g} s", grpc_status=status)
        self.passes(reply.after)
        if reply.outcome is None:
            raise HungUp
        return reply.outcome


class VirtualRuntime(Runtime):
    """The real runtime, but waiting is a jump of the clock."""

    def __init__(self, mesh: VirtualMesh) -> None:
        super().__init__(mesh.engine, clock=mesh.clock, sleep=self._sleep, asleep=self._asleep)
        self._mesh = mesh

    def note(self, what: str, **fields: Any) -> None:
        at = round(self._mesh.clock.now, 9)
        self._mesh.trace.append({"at": at, "what": what, **fields})

    def send(self, effect: Send) -> Outcome:
        request = effect.request
        self.note(
            "send",
            endpoint=_place(effect),
            method=request.method,
            authority=request.authority or request.target,
            path=request.path,
            headers=dict(request.headers),
            timeout=_rounded(effect.timeout),
        )
        return self._mesh.perform(effect)

    async def asend(self, effect: Send) -> Outcome:
        await _turn()
        return self.send(effect)

    def _sleep(self, seconds: float) -> None:
        self.note("sleep", seconds=_rounded(seconds))
        self._mesh.passes(seconds)

    async def _asleep(self, seconds: float) -> None:
        await _turn()
        self._sleep(seconds)

    def await_config(self, effect: AwaitConfig) -> bool:
        self.note("await_config", listener=effect.listener, timeout=_rounded(effect.timeout))
        mesh = self._mesh
        assert effect.timeout is not None, "a call that waits for configuration needs a bound"
        until = mesh.clock.now + effect.timeout
        while not self.engine.knows(effect.listener) and mesh.news and mesh.news[0][0] <= until:
            mesh.passes(max(0.0, mesh.news[0][0] - mesh.clock.now))
        if self.engine.knows(effect.listener):
            return True
        mesh.passes(until - mesh.clock.now)
        return False

    async def aawait_config(self, effect: AwaitConfig) -> bool:
        await _turn()
        return self.await_config(effect)


def play(
    mesh: VirtualMesh, request: Request, *, driver: Driver = "blocking", hold: bool = False
) -> Played:
    """Make one call and let its body be read, unless it is to be held."""
    runtime, started = mesh.runtime, mesh.clock.now
    mesh.trace = []
    steps = runtime.outbound(request)
    try:
        outcome = _driven(runtime, steps, driver).outcome
    except HungUp:
        outcome = Failure(Cause.CANCELLED, "the caller went away")
    else:
        runtime.note("deliver", outcome=said(outcome))
        if not hold:
            runtime.finish(steps)
    trace = [{**event, "at": _rounded(event["at"] - started)} for event in mesh.trace]
    return Played(
        outcome=outcome,
        attempts=[event["endpoint"] for event in trace if event["what"] == "send"],
        trace=trace,
        elapsed=mesh.clock.now - started,
        _runtime=runtime,
        _steps=steps,
    )


def play_alike(make: Callable[[], VirtualMesh], *requests: Request) -> list[Played]:
    """Make the same calls under both loops, on a mesh each, and see that they went alike."""
    plays = {}
    for driver in DRIVERS:
        mesh = make()
        plays[driver] = [play(mesh, request, driver=driver) for request in requests]
    for blocking, awaiting in zip(plays["blocking"], plays["awaiting"], strict=True):
        assert blocking == awaiting, f"{blocking.trace} is not {awaiting.trace}"
    return plays["blocking"]


def said(outcome: Outcome) -> str:
    """An outcome in a word: ``200``, ``grpc 14``, or a response flag."""
    if isinstance(outcome, Failure):
        return outcome.cause.value
    if outcome.grpc_status is not None:
        return f"grpc {outcome.grpc_status}"
    return str(outcome.status)


def _driven(runtime: VirtualRuntime, steps: Steps[Outcome], driver: Driver) -> Deliver:
    if driver == "blocking":
        return drive(runtime, steps, runtime.send)
    return _awaited(adrive(runtime, steps, runtime.asend))


def _awaited(running: Coroutine[Any, Any, T]) -> T:
    """Run to its end what never waits for anything outside."""
    while True:
        try:
            running.send(None)
        except StopIteration as done:
            result: T = done.value
            return result


@coroutine
def _turn() -> Generator[None, None, None]:
    """Give way once, as every real wait does."""
    yield


def _place(effect: Send) -> str:
    return effect.endpoint.key if effect.endpoint is not None else effect.request.target


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 9)
