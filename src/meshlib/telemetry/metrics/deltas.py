"""What was counted since the last export, for exporters that want no more than that."""

from collections.abc import Collection
from dataclasses import replace
from weakref import WeakKeyDictionary

from ...exposition import Distribution, Kind, Labels, Metric, Sample
from .members import Member

Value = float | Distribution
Numbers = dict[tuple[str, Labels], Value]
"""By metric and labels."""


class Deltas:
    """Of metrics of these ``kinds``. What an export took is done with when it has succeeded, so
    that what nobody got is told again. For one thread at a time."""

    def __init__(self, kinds: Collection[Kind]) -> None:
        self.kinds = frozenset(kinds)
        self._told: WeakKeyDictionary[Member, tuple[int, Numbers]] = WeakKeyDictionary()
        self._taken: WeakKeyDictionary[Member, tuple[int, Numbers]] = WeakKeyDictionary()

    def began(self, member: Member, since: int) -> int:
        """When the last export was that succeeded."""
        told = self._told.get(member)
        return since if told is None else told[0]

    def of(self, member: Member, metric: Metric, now: int) -> Metric:
        """The metric with what is new; samples of which nothing is new are left out."""
        _, before = self._told.get(member, (0, {}))
        at, taken = self._taken.get(member, (now, {}))
        if at != now:
            taken = {}
        self._taken[member] = now, taken
        new = []
        for sample in metric.samples:
            key = metric.name, sample.labels
            taken[key] = sample.value
            grown = _grown(before.get(key), sample.value)
            if grown if not isinstance(grown, Distribution) else grown.count:
                new.append(Sample(sample.labels, grown))
        return replace(metric, samples=new)

    def settle(self) -> None:
        """The export has succeeded."""
        for member, taken in list(self._taken.items()):
            self._told[member] = taken
        self._taken.clear()


def _grown(before: Value | None, now: Value) -> Value:
    """Who counts less than before has begun anew."""
    if isinstance(now, Distribution):
        if not isinstance(before, Distribution) or before.count > now.count:
            return now
        counts = tuple(b - a for a, b in zip(before.counts, now.counts, strict=True))
        return replace(now, counts=counts, total=now.total - before.total)
    if before is None or isinstance(before, Distribution) or before > now:
        return now
    return now - before
