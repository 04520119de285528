"""Wakes what waits for configuration, wherever it waits."""

import asyncio
import threading
from collections.abc import Callable


class News:
    """Wakes whoever waits for configuration, on any thread and any event loop."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._futures: set[asyncio.Future[None]] = set()

    def announce(self) -> None:
        with self._condition:
            waiting, self._futures = self._futures, set()
            self._condition.notify_all()
        for future in waiting:
            try:
                future.get_loop().call_soon_threadsafe(settle, future)
            except RuntimeError:
                continue  # its loop was closed, and the call with it

    def wait(self, known: Callable[[], bool], timeout: float | None) -> bool:
        with self._condition:
            return self._condition.wait_for(known, timeout)

    async def await_(self, known: Callable[[], bool], timeout: float | None) -> bool:  # noqa: ASYNC109
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                while True:
                    future = loop.create_future()
                    with self._condition:
                        self._futures.add(future)
                    if known():
                        self._forget(future)
                        return True
                    try:
                        await future
                    finally:
                        self._forget(future)
        except TimeoutError:
            return known()

    def _forget(self, future: asyncio.Future[None]) -> None:
        with self._condition:
            self._futures.discard(future)


def settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
