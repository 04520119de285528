"""A control plane in the process of a test, for tests that have no event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ..controlplane.control_plane import Config, ControlPlane

T = TypeVar("T")


class RunningControlPlane:
    """A control plane on a thread of its own; safe from any other thread."""

    def __init__(self, plane: ControlPlane, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._plane = plane
        self._run = run

    @property
    def address(self) -> str:
        """``host:port``, for ``Mesh(control_plane=…)``."""
        return self._plane.address

    @property
    def status(self) -> dict[str, Any]:
        """Who is connected, and what each was sent and said to that."""

        async def status() -> dict[str, Any]:
            return self._plane.status

        answer: dict[str, Any] = self._run(status())
        return answer

    def apply(self, config: Sequence[Mapping[str, Any]]) -> None:
        """Put other manifests in force; raises :class:`ConfigError` if they are refused."""
        self._run(self._plane.apply(config))


@contextmanager
def control_plane(config: Config, *, listen: str = "127.0.0.1:0") -> Iterator[RunningControlPlane]:
    """Serve a folder, files or manifests until the block ends.

    Raises :class:`ConfigError` for a config that is bad from the start.
    """
    with _loop() as run:
        plane = ControlPlane(config, listen=listen)
        run(plane.start())
        try:
            yield RunningControlPlane(plane, run)
        finally:
            run(plane.stop())


@contextmanager
def _loop() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Runs coroutines on the loop of another thread, and waits for their results."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="control-plane", daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    try:
        yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
