"""What a call on an event loop does beside the attempt it waits for: hedging, mirrored calls."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..dataplane import Deliver, Finish, Outcome, Race, Send, Steps
from ._drive import Runtime, adrive
from ._grpc_status import OK, succeeded
from ._heats import Heats

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

    __slots__ = ("_heats", "_lane", "_lanes", "_outcomes")

    def __init__(self, lane: Callable[[], Any]) -> None:
        self._lane = lane
        self._lanes: list[Any] = []
        self._outcomes: dict[int, Outcome] = {}
        self._heats = Heats()

    async def race(self, effect: Race) -> Finish | None:
        running = None
        if effect.send is not None:
            lane = self._lane()
            self._lanes.append(lane)
            running = _run(lane, effect.send)
        finish = await self._heats.first(running, effect.timeout)
        if finish is not None:
            self._outcomes[finish.number] = finish.outcome
        return finish

    def settle(self, deliver: Deliver) -> Any:
        """Cancel the losers; the winner, ``None`` where there was no race."""
        native, winner = deliver.outcome.native, None
        for number, outcome in self._outcomes.items():
            if native is not None and outcome.native is native:
                winner = self._lanes[number]
        self._heats.cancel()
        return winner

    def cancel(self) -> None:
        """The call is over before anyone won, or begins anew."""
        heats, self._heats = self._heats, Heats()
        self._lanes, self._outcomes = [], {}
        heats.cancel()


async def _run(lane: Any, send: Send) -> Outcome:
    outcome: Outcome = await lane._attempt(send)  # noqa: SLF001 - it is a call, too
    return succeeded(lane._native) if outcome is OK else outcome  # noqa: SLF001
