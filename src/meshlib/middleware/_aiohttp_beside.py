"""Attempts beside each other: hedged ones, of which one wins, and mirrored calls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from aiohttp import ClientResponse

from ..dataplane import Finish, Outcome, Race, Send, Steps
from ._drive import Runtime, adrive

log = logging.getLogger("meshlib")

MIRRORED_BODY = 65536
"""Bytes: a larger body is not sent twice for the sake of a mirror."""

_MIRRORED: set[asyncio.Task[None]] = set()
"""Tasks live as long as somebody holds them."""


class Attempt(Protocol):
    """A native request of its own for one attempt."""

    answer: ClientResponse | None
    timer: asyncio.Timeout | None

    async def perform(self, send: Send) -> Outcome: ...

    def discard(self) -> None: ...


class Heats:
    """The attempts of one hedged call, numbered as they were begun."""

    def __init__(self, make: Callable[[], Attempt]) -> None:
        self._make = make
        self._attempts: list[Attempt] = []
        self._tasks: list[asyncio.Task[Outcome]] = []
        self._told: set[int] = set()

    async def race(self, effect: Race) -> Finish | None:
        if effect.send is not None:
            attempt = self._make()
            self._attempts.append(attempt)
            self._tasks.append(asyncio.create_task(_run(attempt.perform(effect.send))))
        running = [task for number, task in enumerate(self._tasks) if number not in self._told]
        await asyncio.wait(running, timeout=effect.timeout, return_when=asyncio.FIRST_COMPLETED)
        for number, task in enumerate(self._tasks):
            if number not in self._told and task.done():
                self._told.add(number)
                return Finish(number, task.result())
        return None

    def settle(self, native: object) -> Attempt | None:
        """The attempt whose answer this is; all others are given up."""
        winner = None
        for attempt, task in zip(self._attempts, self._tasks, strict=True):
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
    if not task.cancelled():
        task.exception()  # nobody else will ask


async def _run(performing: Awaitable[Outcome]) -> Outcome:
    return await performing


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
