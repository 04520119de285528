"""Attempts beside each other on an event loop: who ends first."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from ..dataplane import Finish, Outcome


class Heats:
    """The attempts of one hedged call as tasks, numbered as they were begun."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Outcome]] = []
        self._told: set[int] = set()

    async def first(
        self,
        attempt: Coroutine[Any, Any, Outcome] | None,
        timeout: float | None,  # noqa: ASYNC109 - part of the effect
    ) -> Finish | None:
        """Begin one more attempt, if any is given, and wait for the first of all to end.

        ``None`` after ``timeout`` seconds; each attempt is told of once.
        """
        if attempt is not None:
            task = asyncio.create_task(attempt)
            task.add_done_callback(_heard)
            self.tasks.append(task)
        running = [task for number, task in enumerate(self.tasks) if number not in self._told]
        await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for number, task in enumerate(self.tasks):
            if number not in self._told and task.done():
                self._told.add(number)
                return Finish(number, task.result())
        return None

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()


def _heard(task: asyncio.Task[Outcome]) -> None:
    """A loser's own error is nobody's business."""
    if not task.cancelled():
        task.exception()
