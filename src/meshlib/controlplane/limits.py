"""How much a server bears from its clients, and how long it waits for them."""

from dataclasses import dataclass

from ..clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds. What exceeds a limit is refused with ``RESOURCE_EXHAUSTED``.

    ``streams_per_node`` is generous since one program may have many: C-core opens one for each
    target. So is ``new_streams``, those at once: after a restart everybody comes back. Requests
    beyond their rate are not refused but read later; answers to what was sent do not count, and
    a client of fifty services asks for two hundred names one by one when it begins. A request of
    10,000 names with their versions is longer than a megabyte. ``max_connection_age`` (±10 %)
    spreads clients over replicas: they are told GOAWAY and come back; ``None`` lets connections
    be. The first change is told at once, those that follow within ``debounce`` together after it:
    none waits longer than that, though they never cease. ``load_interval`` is how often clients
    are asked to tell their load.
    """

    streams: int = 20_000
    streams_per_node: int = 100
    new_streams: int = 1_000
    new_streams_per_second: float = 100.0
    requests: int = 1_000
    requests_per_second: float = 100.0
    request_bytes: int = 4_000_000
    node_bytes: int = 65_536
    push_timeout: float = 30.0
    max_connection_age: float | None = 1800.0
    debounce: float = 0.1
    load_interval: float = 10.0


class TokenBucket:
    """So many at once, and so many a second."""

    def __init__(self, burst: int, per_second: float, clock: Clock) -> None:
        self._burst = float(burst)
        self._rate = per_second
        self._clock = clock
        self._tokens = self._burst
        self._filled = clock()

    def take(self) -> float:
        """Take a token; how many seconds early that is, 0 if it was there."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def try_take(self) -> bool:
        """Take a token if there is one."""
        if self.take() == 0.0:
            return True
        self._tokens += 1
        return False
