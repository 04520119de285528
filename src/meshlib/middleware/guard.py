"""Any callable under the rules of a host: what has no hook of its own (a driver, a subprocess)."""

import asyncio
import contextvars
import functools
import inspect
import queue
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from ..dataplane import (
    Cause,
    Deliver,
    Failure,
    Finish,
    Meter,
    Outcome,
    Race,
    Request,
    Response,
    Send,
    Steps,
)
from ..dataplane.upstream.half_open import Breaker, HalfOpenBreaker
from ..errors import CallError, CallReport
from ._drive import Perform, Runtime, adrive, drive
from ._heats import Heats
from ._override import OVERRIDE

P = ParamSpec("P")
R = TypeVar("R")
Judge = Callable[[object], int | None]
"""From what came of a call (its value, or the exception) to an HTTP status; ``None``: as usual."""

NEVER_CONNECTED = (ConnectionRefusedError, socket.gaierror)


class GuardedCallError(CallError):
    """The mesh did not let a guarded call through, or gave up on it."""


class GuardedCallTimeoutError(GuardedCallError, TimeoutError):
    """A guarded call took longer than its host's rules allow."""


def guard(
    runtime: Runtime,
    host: str,
    *,
    method: str = "POST",
    path: str = "/",
    breaker: Breaker | None = None,
    judge: Judge | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for ``def`` and ``async def``: see :meth:`meshlib.Mesh.guard`."""
    if not isinstance(host, str):
        raise TypeError(f'the host of a guard is missing: @mesh.guard("host"), not {host!r}')
    rules = _Rules(runtime, host, method.upper(), path, breaker, judge)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function!r} is a generator: its calls end before they begin")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await _acall(rules, functools.partial(function, *args, **kwargs))

            return cast("Callable[P, R]", awaited)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            return cast("R", _call(rules, functools.partial(function, *args, **kwargs)))

        return called

    return decorate


class _Rules:
    """What all calls of one guarded callable share."""

    def __init__(
        self,
        runtime: Runtime,
        host: str,
        method: str,
        path: str,
        breaker: Breaker | None,
        judge: Judge | None,
    ) -> None:
        self.runtime = runtime
        self.host = host
        self.method = method
        self.path = path
        self.judge = judge
        self.breaker: HalfOpenBreaker | None = None
        self._open_by = breaker
        if breaker is not None:
            self._begin_anew()
            runtime.resets.append(self._begin_anew)
        self._found: tuple[object, str] = (None, "")

    def _begin_anew(self) -> None:
        """In a forked child too: calls that were to decide on the breaker never end there."""
        assert self._open_by is not None
        self.breaker = HalfOpenBreaker(self._open_by, self.runtime.clock)

    def request(self) -> Request:
        target, runtime = self._target(), self.runtime
        made = Request(
            target,
            self.method,
            self.path,
            authority=target,
            override=OVERRIDE.get(),
            meter=Meter(),
        )
        runtime.propagation.begin(made, foreign=runtime.engine.is_foreign(target))
        return made

    def _target(self) -> str:
        """The host's first port, where none is named."""
        host = self.host.lower()
        self.runtime.start()
        if host.rpartition(":")[2].isdecimal():
            return host
        snapshot = self.runtime.engine.snapshot
        if self._found[0] is not snapshot:
            names = (name.rpartition(":") for name in self.runtime.engine.snapshot.listeners)
            ports = [int(port) for name, _, port in names if name == host and port.isdecimal()]
            self._found = snapshot, f"{host}:{min(ports, default=80)}"
        return self._found[1]

    def admit(self) -> None:
        if self.breaker is None:
            return
        with self.runtime.lock:
            admitted = self.breaker.admits()
        if not admitted:
            detail = f"the breaker of {self.host} is {self.breaker.state}"
            raise GuardedCallError(CallReport(host=self.host, flags=("UO",), detail=detail))

    def observe(self, outcome: Outcome | None, began: float) -> None:
        """``None``: the caller went away."""
        if self.breaker is None:
            return
        with self.runtime.lock:
            if outcome is None:
                self.breaker.withdraw()
                return
            duration = self.runtime.clock() - began
            self.breaker.observe(failed=_is_failure(outcome), duration=duration)

    def outcome_of(self, value: object) -> Outcome:
        """What came of an attempt, in the core's words; the value rides along."""
        if self.judge is not None:
            status = self.judge(value)
            if status is not None:
                return Response(status, native=value)
        return _judged(value) if isinstance(value, BaseException) else Response(200, native=value)

    def value_of(self, deliver: Deliver) -> object:
        """Return, or raise, what the application is to see."""
        outcome = deliver.outcome
        report = deliver.record.report(outcome)
        if isinstance(outcome.native, BaseException):
            outcome.native.mesh = report  # type: ignore[attr-defined] # as on the errors of all hooks
            raise outcome.native
        if isinstance(outcome, Failure):
            late = outcome.cause in (Cause.TIMEOUT, Cause.DEADLINE)
            raise GuardedCallTimeoutError(report) if late else GuardedCallError(report)
        if isinstance(outcome.native, _Value):
            return outcome.native.value
        said = f"the mesh answered {outcome.status} by itself"
        raise GuardedCallError(replace(report, detail=said))


class _Value:
    """What the callable returned: told apart from an answer that the mesh made by itself."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def _judged(error: BaseException) -> Outcome:
    """By the words of the libraries that people use, none of which is imported for it."""
    if isinstance(error, TimeoutError):
        return Failure(Cause.TIMEOUT, str(error), native=error)
    if isinstance(getattr(error, "os_error", error), NEVER_CONNECTED):
        return Failure(Cause.CONNECT, str(error), native=error)
    code = getattr(error, "code", None)
    if callable(code) and isinstance(number := getattr(code(), "value", None), tuple):
        return Response(200, grpc_status=int(number[0]), native=error)  # grpc.RpcError
    answer = getattr(error, "response", None)
    for status in (getattr(answer, "status_code", None), getattr(error, "status", None), code):
        if isinstance(status, int) and 100 <= status <= 599:
            return Response(status, native=error)  # httpx, requests; aiohttp; urllib
    if isinstance(error, OSError):
        return Failure(Cause.RESET, str(error), native=error)
    return Failure(Cause.LOCAL, f"{type(error).__name__}: {error}", native=error)


def _is_failure(outcome: Outcome) -> bool:
    if isinstance(outcome, Failure):
        return True
    return outcome.status >= 500 or bool(outcome.grpc_status)


def _call(rules: _Rules, function: Callable[[], object]) -> object:
    def attempt(send: Send) -> Outcome:
        _traced(send)
        try:
            value = function() if send.timeout is None else _timed(function, send.timeout)
        except _TooLateError:
            return Failure(Cause.TIMEOUT, f"no result in {send.timeout:g} s")
        except Exception as error:  # noqa: BLE001 - judged, and raised again if it stays
            return rules.outcome_of(error)
        return _wrapped(rules, value)

    rules.admit()
    began, deliver = rules.runtime.clock(), None
    try:
        steps = rules.runtime.outbound(rules.request())
        deliver = drive(rules.runtime, steps, attempt, beside=_Threads(rules.runtime, attempt))
        rules.runtime.finish(steps)
    finally:
        rules.observe(deliver.outcome if deliver is not None else None, began)
    return rules.value_of(deliver)


async def _acall(rules: _Rules, function: Callable[[], Awaitable[object]]) -> object:
    async def attempt(send: Send) -> Outcome:
        _traced(send)
        timer = asyncio.timeout(send.timeout)
        try:
            async with timer:
                value = await function()
        except Exception as error:  # noqa: BLE001 - judged, and raised again if it stays
            if timer.expired() and isinstance(error, TimeoutError):
                return Failure(Cause.TIMEOUT, f"no result in {send.timeout:g} s")
            return rules.outcome_of(error)
        return _wrapped(rules, value)

    rules.admit()
    began, deliver = rules.runtime.clock(), None
    tasks = _Tasks(rules.runtime, attempt)
    try:
        steps = rules.runtime.outbound(rules.request())
        deliver = await adrive(rules.runtime, steps, attempt, beside=tasks)
        rules.runtime.finish(steps)
    finally:
        tasks.cancel()
        rules.observe(deliver.outcome if deliver is not None else None, began)
    return rules.value_of(deliver)


def _traced(send: Send) -> None:
    """Nobody knows where a callable could put headers: they are its own to find."""
    meter = send.request.meter
    if meter is not None and meter.trace is not None:
        meter.trace.attempt(send)


def _wrapped(rules: _Rules, value: object) -> Outcome:
    outcome = rules.outcome_of(value)
    outcome.native = _Value(value)
    return outcome


class _Threads:
    """Hedged calls of a blocking callable; who loses runs on, and nobody hears of it.

    A callable has no copy that could be sent elsewhere, so mirrors are left out.
    """

    def __init__(self, runtime: Runtime, attempt: Perform) -> None:
        self._runtime = runtime
        self._attempt = attempt
        self._begun = 0
        self._ended: queue.SimpleQueue[Finish | BaseException] = queue.SimpleQueue()

    def spawn(self, steps: Steps[Outcome]) -> None:
        self._runtime.close(steps)

    def race(self, effect: Race) -> Finish | None:
        if effect.send is not None:
            run = partial(contextvars.copy_context().run, self._one, self._begun, effect.send)
            self._begun += 1
            threading.Thread(target=run, name="meshlib-guarded", daemon=True).start()
        try:
            ended = self._ended.get(timeout=effect.timeout)
        except queue.Empty:
            return None
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def _one(self, number: int, send: Send) -> None:
        try:
            self._ended.put(Finish(number, self._attempt(send)))
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            self._ended.put(error)


class _Tasks:
    """Hedged calls of a coroutine function; who loses is cancelled."""

    def __init__(
        self, runtime: Runtime, attempt: Callable[[Send], Coroutine[Any, Any, Outcome]]
    ) -> None:
        self._runtime = runtime
        self._attempt = attempt
        self._heats = Heats()

    def spawn(self, steps: Steps[Outcome]) -> None:
        self._runtime.close(steps)

    async def race(self, effect: Race) -> Finish | None:
        running = None if effect.send is None else self._attempt(effect.send)
        return await self._heats.first(running, effect.timeout)

    def cancel(self) -> None:
        self._heats.cancel()


class _TooLateError(Exception):
    pass


def _timed(function: Callable[[], object], timeout: float) -> object:
    """A blocking callable cannot be broken off: it runs on beside, and nobody hears of it."""
    done = threading.Event()
    came: list[tuple[bool, Any]] = []
    run = contextvars.copy_context().run

    def work() -> None:
        try:
            came.append((True, run(function)))
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            came.append((False, error))
        finally:
            done.set()

    threading.Thread(target=work, name="meshlib-guarded", daemon=True).start()
    if not done.wait(timeout):
        raise _TooLateError
    went_well, value = came[0]
    if not went_well:
        raise value
    return value
