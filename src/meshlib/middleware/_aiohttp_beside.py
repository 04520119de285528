"""Attempts beside each other: hedged ones, of which one wins, and mirrored calls."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from aiohttp import ClientResponse

from ..dataplane import Finish, Outcome, Race, Send, Steps
from ._drive import Runtime, adrive
from ._heats import Heats

log = logging.getLogger("meshlib")

MIRRORED_BODY = 65536
"""Bytes: a larger body is not sent twice for the sake of a mirror."""

_MIRRORED: set[asyncio.Task[None]] = set()
"""Tasks live as long as somebody holds them."""


class Attempt(Protocol):
    """A native request of its own for one attempt."""

    answer: ClientResponse | None
    timer: asyncio.Timeout | None

    def perform(self, send: Send) -> Coroutine[Any, Any, Outcome]: ...

    def discard(self) -> None: ...


class Hedge:
    """The attempts of one hedged call, each with a native request of its own."""

    def __init__(self, make: Callable[[], Attempt]) -> None:
        self._make = make
        self._attempts: list[Attempt] = []
        self._heats = Heats()

    async def race(self, effect: Race) -> Finish | None:
        running = None
        if effect.send is not None:
            attempt = self._make()
            self._attempts.append(attempt)
            running = attempt.perform(effect.send)
        return await self._heats.first(running, effect.timeout)

    def settle(self, native: object) -> Attempt | None:
        """The attempt whose answer this is; all others are given up."""
        winner = None
        for attempt, task in zip(self._attempts, self._heats.tasks, strict=True):
            if native is not None and attempt.answer is native:
                winner = attempt
            elif not task.done():
                task.cancel()
                task.add_done_callback(partial(_discard, attempt))
            else:
                attempt.discard()
        return winner


def _discard(attempt: Attempt, task: asyncio.Task[Outcome]) -> None:
    attempt.discard()


def mirror(runtime: Runtime, steps: Steps[Outcome], attempt: Attempt) -> None:
    """Run a call for its own sake; whatever becomes of it, the caller never hears."""
    task = asyncio.create_task(_mirrored(runtime, steps, attempt))
    _MIRRORED.add(task)
    task.add_done_callback(_MIRRORED.discard)


async def _mirrored(runtime: Runtime, steps: Steps[Outcome], attempt: Attempt) -> None:
    try:
        await adrive(runtime, steps, attempt.perform)
        runtime.finish(steps)
    except Exception:
        log.debug("a mirrored call failed", exc_info=True)
    finally:
        attempt.discard()
