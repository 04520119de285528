"""Calls in virtual time: the real engine and the real loops, against scripted upstreams."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ..dataplane import Cause, Deliver, Failure, Outcome, Request, Steps
from ..middleware._drive import Runtime, adrive, drive
from ._lanes import AwaitedLanes, Lanes
from ._replies import said
from ._virtual import HungUp, TraceEvent, VirtualMesh, VirtualRuntime, rounded

T = TypeVar("T")
Driver = Literal["blocking", "awaiting"]
DRIVERS: tuple[Driver, ...] = ("blocking", "awaiting")


def get(target: str, path: str = "/", **fields: Any) -> Request:
    return Request(target, "GET", path, **fields)


def rpc(target: str, path: str = "/pkg.Service/Method", **fields: Any) -> Request:
    return Request(target, "POST", path, is_grpc=True, **fields)


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


@dataclass(frozen=True, slots=True)
class Held:
    """A call for :func:`play_alike` whose body takes so many seconds to be read."""

    request: Request
    seconds: float


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
    trace = [{**event, "at": rounded(event["at"] - started)} for event in mesh.trace]
    return Played(
        outcome=outcome,
        attempts=[event["endpoint"] for event in trace if event["what"] == "send"],
        trace=trace,
        elapsed=mesh.clock.now - started,
        _runtime=runtime,
        _steps=steps,
    )


def play_alike(make: Callable[[], VirtualMesh], *requests: Request | Held) -> list[Played]:
    """Make the same calls under both loops, on a mesh each, and see that they went alike."""
    plays = {}
    for driver in DRIVERS:
        mesh = make()
        plays[driver] = [_one(mesh, request, driver) for request in requests]
    for blocking, awaiting in zip(plays["blocking"], plays["awaiting"], strict=True):
        assert blocking == awaiting, f"{blocking.trace} is not {awaiting.trace}"
    return plays["blocking"]


def _one(mesh: VirtualMesh, request: Request | Held, driver: Driver) -> Played:
    if not isinstance(request, Held):
        return play(mesh, request, driver=driver)
    call = play(mesh, request.request, driver=driver, hold=True)
    mesh.at(mesh.clock.now + request.seconds, call.end)
    return call


def _driven(runtime: VirtualRuntime, steps: Steps[Outcome], driver: Driver) -> Deliver:
    if driver == "blocking":
        return drive(runtime, steps, runtime.send, beside=Lanes(runtime))
    return _awaited(adrive(runtime, steps, runtime.asend, beside=AwaitedLanes(runtime)))


def _awaited(running: Coroutine[Any, Any, T]) -> T:
    """Run to its end what never waits for anything outside."""
    while True:
        try:
            running.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
