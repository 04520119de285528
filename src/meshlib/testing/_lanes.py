"""What a played call has under way beside the attempt that it waits for."""

from math import inf
from typing import Any

from ..dataplane import Cause, Failure, Finish, Outcome, Race, Send, Steps
from ..middleware._drive import drive
from ._replies import said
from ._virtual import HungUp, VirtualRuntime, place_of, turn


class Lanes:
    """Attempts that race each other end in the order of time; other calls are over at once."""

    def __init__(self, runtime: VirtualRuntime) -> None:
        self._runtime = runtime
        self._going: dict[int, tuple[float, Outcome | None]] = {}
        self._begun = 0

    def race(self, effect: Race) -> Finish | None:
        runtime, mesh = self._runtime, self._runtime.mesh
        if effect.send is not None:
            runtime.note_send(effect.send)
            self._going[self._begun] = mesh.planned(effect.send)
            self._begun += 1
        assert self._going, "nobody races"
        until = inf if effect.timeout is None else mesh.clock.now + effect.timeout
        first = min(self._going, key=lambda number: (self._going[number][0], number))
        moment, outcome = self._going[first]
        mesh.passes(max(0.0, min(moment, until) - mesh.clock.now))
        if moment > until:
            return None
        del self._going[first]
        if outcome is None:
            raise HungUp
        runtime.note("finish", number=first, outcome=said(outcome))
        return Finish(first, outcome)

    def spawn(self, steps: Steps[Outcome]) -> None:
        """Play another call in no time, and tell of it in one event."""
        runtime, clock = self._runtime, self._runtime.mesh.clock
        began = clock.now
        sent: dict[str, Any] = {"endpoint": None}

        def perform(effect: Send) -> Outcome:
            request = effect.request
            sent.update(
                endpoint=place_of(effect),
                authority=request.authority or request.target,
                path=request.path,
                timeout=effect.timeout,
            )
            clock.now, outcome = runtime.mesh.planned(effect)
            return outcome or Failure(Cause.CANCELLED, "the caller went away")

        outcome = drive(runtime, steps, perform).outcome
        runtime.finish(steps)
        clock.now = began
        runtime.note("spawn", **sent, outcome=said(outcome))


class AwaitedLanes:
    """The same for coroutines."""

    def __init__(self, runtime: VirtualRuntime) -> None:
        self._lanes = Lanes(runtime)

    async def race(self, effect: Race) -> Finish | None:
        await turn()
        return self._lanes.race(effect)

    def spawn(self, steps: Steps[Outcome]) -> None:
        self._lanes.spawn(steps)
