"""How long the word of a control plane takes until it is in force."""

from bisect import bisect_left

from ...exposition import Distribution

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""


class PushToApply:
    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._total = 0.0
        self._last = float("-inf")

    def applied(self, at: float, came: float | None) -> None:
        """A configuration was put in force ``at``, and the newest resource ``came`` then.

        One that is no newer than the last time was put in force by no word of anybody; one that
        came later is counted when it is in force.
        """
        if came is None or not self._last < came <= at:
            return
        self._last = came
        self._counts[bisect_left(BUCKETS, at - came)] += 1
        self._total += at - came

    def now(self) -> Distribution:
        return Distribution(BUCKETS, tuple(self._counts), self._total)
