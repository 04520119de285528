"""When a certificate is to be renewed, and when to cry. Decisions only: clocks are arguments.

``wall`` is the wall clock, by which certificates live and die; ``monotonic`` never jumps, and
waiting after a failure goes by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..clock import Dice
from .slots import BACKDATE, DAY

HALF = 0.5
SPREAD = 0.1
"""So that those who started together do not all come together."""
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
JUMP = 30.0
LOOK_AGAIN = 15.0
"""A clock that jumps is noticed after this long, at most."""
LEFT = 0.25
DAYS: Mapping[float, str] = MappingProxyType({30 * DAY: "30 days", 7 * DAY: "7 days", DAY: "a day"})


@dataclass(frozen=True, slots=True)
class Alarm:
    """``left``: seconds until the end; none or less where it has come."""

    left: float
    text: str


class ClockWatch:
    """Notices that the wall clock was set."""

    def __init__(self, wall: float, monotonic: float) -> None:
        self._offset = wall - monotonic

    def jumped(self, wall: float, monotonic: float) -> bool:
        """Since it was last asked; a slow drift is no jump."""
        before, self._offset = self._offset, wall - monotonic
        return abs(self._offset - before) > JUMP


class Renewal:
    """Of one certificate after the other: at half of its life, more or less, and then with
    growing pauses until it succeeds."""

    def __init__(self, dice: Dice, wall: float, monotonic: float) -> None:
        self._dice = dice
        self._watch = ClockWatch(wall, monotonic)
        self._has_one = False
        self._start = wall
        self._end = wall
        self._moment = wall
        self._failures = 0
        self._retry_at: float | None = None
        self._told: set[str] = set()

    @property
    def moment(self) -> float:
        """When it is to be renewed, on the wall clock; at once while there is none."""
        return self._moment

    @property
    def not_after(self) -> float:
        return self._end

    def renewed(self, not_before: float, not_after: float, wall: float) -> None:
        """There is a new certificate. What lies before its making does not count as life."""
        self._start = min(not_before + BACKDATE, max(wall, not_before), not_after)
        self._has_one = True
        self._end = not_after
        part = HALF + SPREAD * (2 * self._dice() - 1)
        self._moment = self._start + part * (not_after - self._start)
        self._failures = 0
        self._retry_at = None
        self._told.clear()

    def failed(self, monotonic: float) -> None:
        """It could not be renewed; the old one serves on."""
        most = min(LONGEST_BACKOFF, max((self._end - self._start) / 10, FIRST_BACKOFF))
        pause = min(FIRST_BACKOFF * 2.0 ** min(self._failures, 10), most)
        self._failures += 1
        self._retry_at = monotonic + pause * (1 + 2 * SPREAD * (2 * self._dice() - 1))

    def due(self, wall: float, monotonic: float) -> bool:
        """Whether to renew now. After a jump of the wall clock nothing is waited for."""
        if self._watch.jumped(wall, monotonic):
            self._retry_at = None
        if self._retry_at is not None:
            return monotonic >= self._retry_at
        return wall >= self._moment

    def wait(self, wall: float, monotonic: float) -> float:
        """How long to sleep until :meth:`due` is worth asking again."""
        if self._retry_at is not None:
            return min(max(self._retry_at - monotonic, 0.0), LOOK_AGAIN)
        return min(max(self._moment - wall, 0.0), LOOK_AGAIN)

    def alarms(self, wall: float) -> tuple[Alarm, ...]:
        """What is to be told now and was not yet told of this certificate; the worst last."""
        left = self._end - wall
        life = self._end - self._start
        if not self._has_one:
            return ()
        limits = {LEFT * life: f"less than {LEFT:.0%} of its life"}
        limits |= {limit: f"less than {name}" for limit, name in DAYS.items() if limit < life / 2}
        found = [(limit, f"the certificate has {text} left") for limit, text in limits.items()]
        found.append((0.0, "the certificate has expired"))
        fresh = [(limit, text) for limit, text in found if left <= limit and text not in self._told]
        self._told.update(text for _, text in fresh)
        return tuple([Alarm(left, text) for _, text in sorted(fresh, reverse=True)])
