"""Issuers' keys by URI: fetched when they are needed first, and from then on beside the calls.

One thread for all. What was fetched last counts until it is a day old; a fetch that fails opens
nothing, and neither does one that brings no keys.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping

from ..clock import Clock, Dice
from ..model.authn import RemoteJwks
from .jwks import KeySet
from .key_fetch import Fetcher, FetchError

log = logging.getLogger("meshlib")

Fetch = Callable[[str, str, float], Awaitable[KeySet]]
"""By URI, issuer and time-out. Raises :class:`FetchError`."""
Then = Callable[[], None]

MAX_AGE = 24 * 3600.0
"""Seconds that keys count after they were fetched last."""
BETWEEN_EXTRA = 60.0
"""Seconds at least between two fetches because of keys that nobody knows."""
IDLE = 3600.0
"""Seconds without any question after which keys are not fetched again unasked."""
LEAST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
JITTER = 0.1
SHORT = 0.001
"""Seconds; two clocks need not agree to the last digit."""
LEAVING = 2.0


class Issuer:
    """What is known of one issuer's keys. Times are on the mesh's clock."""

    def __init__(self, source: RemoteJwks, name: str, clock: Clock, dice: Dice) -> None:
        self.source = source
        self.name = name
        self._clock = clock
        self._dice = dice
        self.keys: KeySet | None = None
        self.error = ""
        self.due = clock()
        self.asked = clock()
        self.is_busy = False
        self.waiting: list[Then] = []
        self._fetched = clock()
        self._failures = 0
        self._extra: float | None = None

    @property
    def age(self) -> float | None:
        return None if self.keys is None else self._clock() - self._fetched

    def current(self) -> KeySet | None:
        self.asked = self._clock()
        age = self.age
        return None if age is None or age > MAX_AGE else self.keys

    def succeeded(self, keys: KeySet) -> None:
        self.keys, self.error, self._failures = keys, "", 0
        self._fetched = self._clock()
        self._rest(max(LEAST_PAUSE, self.source.cache_duration))

    def failed(self, why: str) -> None:
        pause = min(LEAST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 30)
        self.error = why
        self._rest(min(pause, max(LEAST_PAUSE, self.source.cache_duration)))

    def _rest(self, seconds: float) -> None:
        self.due = self._clock() + seconds * (1 - JITTER * self._dice())

    def may_ask_again(self) -> bool:
        """Because of a key that is not among those known: whoever sends such must not rule us."""
        now = self._clock()
        if self._extra is not None and now - self._extra < BETWEEN_EXTRA:
            return False
        self._extra = now
        return True

    @property
    def is_due(self) -> bool:
        return self._clock() >= self.due

    @property
    def is_idle(self) -> bool:
        return self._clock() - self.asked > IDLE

    def over(self) -> list[Then]:
        """The fetch is over; whoever waits for it is to be told."""
        self.is_busy = False
        waiting, self.waiting = self.waiting, []
        return waiting

    def status(self) -> dict[str, object]:
        return {"uri": self.source.uri, "age": self.age, "error": self.error}


class RemoteKeys:
    """Safe from any thread; nothing here waits but :meth:`close`."""

    def __init__(self, *, clock: Clock, dice: Dice, fetch: Fetch | None = None) -> None:
        self._clock = clock
        self._dice = dice
        self._fetch: Fetch = fetch or Fetcher().fetch
        self._issuers: dict[tuple[RemoteJwks, str], Issuer] = {}
        self.reset()

    def reset(self) -> None:
        """In a forked child: what was fetched still counts, the thread is the parent's."""
        self._lock = threading.Lock()
        self._thread: _Fetching | None = None
        for one in self._issuers.values():
            one.over()

    def current(self, source: RemoteJwks, issuer: str) -> KeySet | None:
        """``None``: there are none, or they are too old to count."""
        with self._lock:
            found = self._issuer(source, issuer)
            if not found.is_busy and found.is_due:
                self._begin(found)
            return found.current()

    def when_fetched(
        self, source: RemoteJwks, issuer: str, then: Then, *, unknown_key: bool = False
    ) -> bool:
        """Is a fetch under way that may bring what is missing? ``then`` is called at its end.

        ``unknown_key``: there are keys, but not the one that a token names.
        """
        with self._lock:
            found = self._issuer(source, issuer)
            if not found.is_busy:
                if not (unknown_key and found.may_ask_again()):
                    return False
                self._begin(found)
            found.waiting.append(then)
            return True

    def status(self) -> Mapping[str, object]:
        """By issuer: where the keys are, their age in seconds, what went wrong at last."""
        with self._lock:
            return {one.name: one.status() for one in self._issuers.values()}

    def close(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.close()
        with self._lock:
            left = [then for one in self._issuers.values() for then in one.over()]
        for then in left:
            then()

    def _issuer(self, source: RemoteJwks, name: str) -> Issuer:
        found = self._issuers.get((source, name))
        if found is None:
            found = Issuer(source, name, self._clock, self._dice)
            self._issuers[source, name] = found
        return found

    def _begin(self, issuer: Issuer) -> None:
        issuer.is_busy = True
        if self._thread is None:
            self._thread = _Fetching(self._refresh)
        self._thread.begin(issuer)

    async def _refresh(self, issuer: Issuer) -> None:
        """Fetch, and say so; then again when it is time, as long as anybody asks."""
        while True:
            keys, why = await self._fetched(issuer)
            with self._lock:
                if keys is None:
                    issuer.failed(why)
                else:
                    issuer.succeeded(keys)
                waiting = issuer.over()
            for then in waiting:
                then()
            while not issuer.is_due:  # noqa: ASYNC110 - nothing else ends the pause
                await asyncio.sleep(max(issuer.due - self._clock(), SHORT))
            with self._lock:
                # Whoever asked meanwhile has begun another of these.
                if issuer.is_busy or issuer.is_idle:
                    return
                issuer.is_busy = True

    async def _fetched(self, issuer: Issuer) -> tuple[KeySet | None, str]:
        source = issuer.source
        try:
            return await self._fetch(source.uri, issuer.name, source.timeout), ""
        except FetchError as error:
            log.warning("no keys of the issuer %r: %s", issuer.name, error)
            return None, str(error)
        except Exception as error:
            log.exception("no keys of the issuer %r", issuer.name)
            return None, f"{type(error).__name__}: {error}"


class _Fetching:
    """A thread with an event loop; a task per issuer."""

    def __init__(self, work: Callable[[Issuer], Awaitable[None]]) -> None:
        self._work = work
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._run, name="meshlib-jwks", daemon=True)
        self._thread.start()

    def begin(self, issuer: Issuer) -> None:
        self._loop.call_soon_threadsafe(self._add, issuer)

    def _add(self, issuer: Issuer) -> None:
        before = self._tasks.get(id(issuer))
        if before is not None:
            before.cancel()
        self._tasks[id(issuer)] = self._loop.create_task(self._do(issuer))

    async def _do(self, issuer: Issuer) -> None:
        await self._work(issuer)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            for task in self._tasks.values():
                task.cancel()
            self._loop.run_until_complete(
                asyncio.gather(*self._tasks.values(), return_exceptions=True)
            )
        finally:
            self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(LEAVING)
