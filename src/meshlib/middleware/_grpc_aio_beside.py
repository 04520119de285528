"""What a call on an event loop does beside the attempt it waits for: hedging, mirrored calls."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..dataplane import Deliver, Finish, Outcome, Race, Send, Steps
from ._drive import Runtime, adrive
from ._grpc_status import OK, succeeded

log = logging.getLogger("meshlib")


def spawn(
    runtime: Runtime, lane: Any, steps: Steps[Outcome], shadows: "set[asyncio.Task[None]]"
) -> None:
    """Mirror a call; ``shadows`` keeps hold of the tasks that nobody waits for."""
    task = asyncio.get_running_loop().create_task(_shadow(runtime, lane, steps))
    shadows.add(task)
    task.add_done_callback(shadows.discard)


async def _shadow(runtime: Runtime, lane: Any, steps: Steps[Outcome]) -> None:
    """What comes of it changes nothing."""
    try:
        await adrive(runtime, steps, lane._attempt)  # noqa: SLF001 - it is a call, too
        runtime.finish(steps)
    except Exception:
        log.debug("a mirrored call broke off", exc_info=True)


class AioRace:
    """Attempts of one unary call beside each other. ``lane`` makes another one of it."""

    __slots__ = ("_lane", "_lanes", "_outcomes")

    def __init__(self, lane: Callable[[], Any]) -> None:
        self._lane = lane
        self._lanes: list[tuple[Any, asyncio.Task[Outcome]]] = []
        self._outcomes: dict[int, Outcome] = {}

    async def race(self, effect: Race) -> Finish | None:
        if effect.send is not None:
            lane = self._lane()
            task = asyncio.get_running_loop().create_task(_run(lane, effect.send))
            task.add_done_callback(_heard)
            self._lanes.append((lane, task))
        running = {
            task: number
            for number, (_, task) in enumerate(self._lanes)
            if number not in self._outcomes
        }
        done, _ = await asyncio.wait(
            running, timeout=effect.timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            return None
        number = min(running[task] for task in done)
        outcome = self._outcomes[number] = self._lanes[number][1].result()
        return Finish(number, outcome)

    def settle(self, deliver: Deliver) -> Any:
        """Cancel the losers; the winner, ``None`` where there was no race."""
        native, winner = deliver.outcome.native, None
        for number, (lane, task) in enumerate(self._lanes):
            outcome = self._outcomes.get(number)
            if outcome is not None and native is not None and outcome.native is native:
                winner = lane
            task.cancel()
        return winner

    def cancel(self) -> None:
        """The call is over before anyone won, or begins anew."""
        lanes, self._lanes, self._outcomes = self._lanes, [], {}
        for _, task in lanes:
            task.cancel()


async def _run(lane: Any, send: Send) -> Outcome:
    outcome: Outcome = await lane._attempt(send)  # noqa: SLF001 - it is a call, too
    return succeeded(lane._native) if outcome is OK else outcome  # noqa: SLF001


def _heard(task: asyncio.Task[Outcome]) -> None:
    """A loser's own error is nobody's business."""
    if not task.cancelled():
        task.exception()
