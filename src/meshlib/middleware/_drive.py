"""The two loops that run the core's steps, and what all adapters of one mesh share."""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from ..clock import Clock
from ..dataplane import (
    AskAuthorization,
    AskRateLimit,
    AwaitConfig,
    AwaitTurn,
    Deliver,
    Effect,
    Engine,
    Finish,
    Outcome,
    Pause,
    Race,
    ReadBody,
    Request,
    Send,
    Serve,
    Sleep,
    Spawn,
    Steps,
)
from ..dataplane.inbound import LISTENER as INBOUND
from ..identity.credentials import CredentialSource
from ..model import HttpFilter
from ._admin import AdminMessages
from ._binary import BinaryMetadata
from ._leftovers import Attendant, Leftovers
from ._news import News, settle
from ._propagation import NoPropagation, Propagation
from ._services import NoServices, Services

if TYPE_CHECKING:
    from ._tls import Security
    from ._tls_native import NativeResources

Perform = Callable[[Send], Outcome]
APerform = Callable[[Send], Awaitable[Outcome]]
B = TypeVar("B")


class Runtime:
    """One mesh's engine with its lock, its news of configuration, and its way to begin.

    ``start`` is called before the first call, ``want`` when a call needs a listener that nothing
    is known of yet (it subscribes). Both must be cheap when there is nothing to do. ``afterwards``
    is what observers, who run under the lock, leave to be done without it.
    The composition root sets ``credentials``, and ``mtls`` ("auto", "strict" or "off"): what holds
    for callers as long as nothing is known of the listener ``inbound``.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        asleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        start: Callable[[], None] = lambda: None,
        want: Callable[[str], None] = lambda _listener: None,
        propagation: Propagation | None = None,
        afterwards: deque[Callable[[], None]] | None = None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.lock = threading.Lock()
        self.sleep = sleep
        self.asleep = asleep
        self.start = start
        self.want = want
        self.propagation: Propagation = propagation or NoPropagation()
        self.services: Services = NoServices()
        self.propagate_deadlines = True
        self.serves = False
        self.binary_metadata: BinaryMetadata | None = None
        self.admin: AdminMessages | None = None
        self.resets: list[Callable[[], None]] = []
        self.native: NativeResources | None = None
        self.credentials: CredentialSource | None = None
        self.mtls = "auto"
        self._news = News()
        self.afterwards = deque() if afterwards is None else afterwards
        self._left = Leftovers(self.afterwards)
        self.attendant = Attendant(wanted=afterwards is not None)

    @cached_property
    def security(self) -> "Security":
        from ._tls import Security

        return Security(self)

    @property
    def guards(self) -> bool:
        """Does it matter by what connection a call comes in?"""
        if self.credentials is not None:
            return True
        doorway = self.engine.listeners.get(INBOUND)
        return doorway is not None and doorway.config.tls is not None

    def outbound(self, request: Request) -> Steps[Outcome]:
        self._begin()
        return self.engine.outbound(request)

    def serve(self) -> None:
        """A server hook is in use: what is to stand before the handlers is asked for too."""
        self.serves = True
        self.want(INBOUND)

    def inbound(self, request: Request, extra: Sequence[HttpFilter] = ()) -> Steps[Outcome]:
        """``extra``: the filters that decorators put around the handler."""
        self._begin()
        return self.engine.inbound(request, extra)

    def _begin(self) -> None:
        self.start()
        if self.attendant.is_due:
            self.attendant.begin(self)

    def step(self, steps: Steps[Outcome], answer: object) -> Effect:
        """Run the steps to their next effect."""
        with self.lock:
            if self._left.dropped:
                self._left.bury()
            effect = steps.send(answer)
        if self.afterwards or self._left.dropped:
            self.collect()
        return effect

    def conclude(self, steps: Steps[Outcome], outcome: Outcome) -> Effect:
        """Answer with an outcome that has no body to come: its delivery ends the call at once."""
        with self.lock:
            if self._left.dropped:
                self._left.bury()
            effect = steps.send(outcome)
            if type(effect) is Deliver:
                _resume(steps, None)
        if self.afterwards or self._left.dropped:
            self.collect()
        return effect

    def finish(self, steps: Steps[Outcome], end: Outcome | None = None) -> None:
        """Say how a delivered body ended; ``None``: as it was delivered."""
        with self.lock:
            _resume(steps, end)
        if self.afterwards or self._left.dropped:
            self.collect()

    def end(self, steps: Steps[Outcome], end: Outcome | None = None) -> None:
        """Like :meth:`finish`, for callbacks that a finaliser may call too."""
        self.soon(partial(_resume, steps, end))

    def close(self, steps: Steps[Outcome]) -> None:
        """Give up a call: cancelled, or broken off by its caller."""
        if isinstance(sys.exception(), GeneratorExit):
            self.drop(steps)  # perhaps by a finaliser
            return
        with self.lock:
            steps.close()
        if self.afterwards or self._left.dropped:
            self.collect()

    def drop(self, steps: Steps[Outcome]) -> None:
        """Give up a call from a finaliser, which may run while this very thread holds the lock."""
        self.soon(steps.close)

    def soon(self, action: Callable[[], None]) -> None:
        """Do this under the lock as soon as it is free; callbacks and finalisers may ask for it."""
        left = self._left
        left.dropped.append(action)
        if self.lock.acquire(blocking=False):
            try:
                left.bury()
            finally:
                self.lock.release()
            left.tell()
            if not self.afterwards:
                return
        # Who holds the lock for a step looks once more when he has let go of it; others do not.
        self.attendant.nudge()

    def collect(self) -> None:
        """Settle what finalisers and observers left behind; every step does it too."""
        left = self._left
        if left.dropped:
            with self.lock:
                left.bury()
        left.tell()
        left.follow_up()

    def commit(self, prepared: Any) -> None:
        """Put a prepared snapshot in force and wake the calls that wait for news."""
        with self.lock:
            self.engine.commit(prepared)
        self._news.announce()

    def contact(self, outage: str) -> None:
        """Say whether somebody can be asked for configuration, and if not, why."""
        with self.lock:
            self.engine.around.outage = outage
        self._news.announce()

    def reset(self) -> None:
        """Begin anew in a forked child: locks, waiters and connections are the parent's."""
        self.lock = threading.Lock()
        self._news = News()
        self.afterwards.clear()
        self._left = Leftovers(self.afterwards)
        self.attendant = self.attendant.anew()
        self.engine.around.outage = ""
        for reset in self.resets:
            reset()

    def await_config(self, effect: AwaitConfig) -> bool:
        self.want(effect.listener)
        return self._news.wait(partial(self._is_over, effect), effect.timeout)

    async def aawait_config(self, effect: AwaitConfig) -> bool:
        self.want(effect.listener)
        return await self._news.await_(partial(self._is_over, effect), effect.timeout)

    def _is_over(self, effect: AwaitConfig) -> bool:
        return self.engine.knows(effect.listener) or self.engine.is_cut_off

    def block(self, effect: Pause) -> object:
        """Do what every call waits for alike, and give the answer to it."""
        match effect:
            case Sleep(seconds):
                self.sleep(seconds)
                return None
            case AwaitConfig():
                return self.await_config(effect)
            case AwaitTurn():
                return self.await_turn(effect)
            case AskRateLimit() | AskAuthorization():
                return self.services.ask(effect)
            case ReadBody():
                return None  # where it can be had, the hook has read it

    async def wait(self, effect: Pause) -> object:
        """:meth:`block` for coroutines."""
        match effect:
            case Sleep(seconds):
                await self.asleep(seconds)
                return None
            case AwaitConfig():
                return await self.aawait_config(effect)
            case AwaitTurn():
                return await self.aawait_turn(effect)
            case AskRateLimit() | AskAuthorization():
                return await self.services.aask(effect)
            case ReadBody():
                return None

    def await_turn(self, effect: AwaitTurn) -> bool:
        turn, event = effect.turn, threading.Event()
        with self.lock:
            turn.wake = event.set
            if turn.granted:
                return True
        event.wait(effect.timeout)
        with self.lock:
            return turn.granted

    async def aawait_turn(self, effect: AwaitTurn) -> bool:
        turn, loop = effect.turn, asyncio.get_running_loop()
        future = loop.create_future()
        with self.lock:
            turn.wake = partial(_wake, loop, future)
            if turn.granted:
                return True
        with suppress(TimeoutError):
            async with asyncio.timeout(effect.timeout):
                await future
        with self.lock:
            return turn.granted

    def wait_for(self, known: Callable[[], bool], timeout: float | None) -> bool:
        """Block until a configuration makes ``known`` true; ``False`` after ``timeout``."""
        return self._news.wait(known, timeout)

    async def await_for(self, known: Callable[[], bool], timeout: float | None) -> bool:  # noqa: ASYNC109 - part of the effect
        return await self._news.await_(known, timeout)


def _resume(steps: Steps[Outcome], end: Outcome | None) -> None:
    try:
        steps.send(end)
    except StopIteration:
        return
    raise AssertionError("an effect followed Deliver")


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    with suppress(RuntimeError):  # the loop was closed, and the call with it
        loop.call_soon_threadsafe(settle, future)


def _only_inbound(effect: Serve) -> NoReturn:
    raise AssertionError(f"an outbound call does not serve: {effect}")


class Beside(Protocol):
    """What a hook can do beside the attempt that a call waits for."""

    def spawn(self, steps: Steps[Outcome]) -> None:
        """Run another call for its own sake, and do not wait for it."""

    def race(self, effect: Race) -> Finish | None: ...


class ABeside(Protocol):
    """:class:`Beside` on an event loop."""

    def spawn(self, steps: Steps[Outcome]) -> None: ...

    async def race(self, effect: Race) -> Finish | None: ...


def drive(
    runtime: Runtime,
    steps: Steps[Outcome],
    perform: Perform,
    effect: Effect | None = None,
    beside: Beside | None = None,
) -> Deliver:
    """Run a call to its delivery, blocking. The steps stay suspended there.

    ``effect``: what they asked for already, when their first step was taken elsewhere.
    """
    answer: object
    try:
        if effect is None:
            effect = runtime.step(steps, None)
        while True:
            match effect:
                case Send():
                    answer = perform(effect)
                case Deliver():
                    return effect
                case Spawn(steps=other):
                    _able(beside, effect).spawn(other)
                    answer = None
                case Race():
                    answer = _able(beside, effect).race(effect)
                case Serve():
                    _only_inbound(effect)
                case _:
                    answer = runtime.block(effect)
            effect = runtime.step(steps, answer)
    except BaseException:
        runtime.close(steps)
        raise


async def adrive(
    runtime: Runtime,
    steps: Steps[Outcome],
    perform: APerform,
    effect: Effect | None = None,
    beside: ABeside | None = None,
) -> Deliver:
    """Run a call to its delivery, awaiting. The steps stay suspended there."""
    answer: object
    try:
        if effect is None:
            effect = runtime.step(steps, None)
        while True:
            match effect:
                case Send():
                    answer = await perform(effect)
                case Deliver():
                    return effect
                case Spawn(steps=other):
                    _able(beside, effect).spawn(other)
                    answer = None
                case Race():
                    answer = await _able(beside, effect).race(effect)
                case Serve():
                    _only_inbound(effect)
                case _:
                    answer = await runtime.wait(effect)
            effect = runtime.step(steps, answer)
    except BaseException:
        runtime.close(steps)
        raise


def _able(beside: B | None, effect: Effect) -> B:
    assert beside is not None, f"this call is made one attempt after the other: {effect}"
    return beside
