"""Choices that follow from a seed."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..dice import seeded

T = TypeVar("T")


class Luck:
    def __init__(self, seed: int) -> None:
        self._roll = seeded(seed)

    def chance(self, share: float) -> bool:
        return self._roll() < share

    def number(self, least: int, most: int) -> int:
        return least + int(self._roll() * (most - least + 1))

    def one(self, options: Sequence[T]) -> T:
        return options[int(self._roll() * len(options))]

    def some(self, make: Callable[[], T], most: int) -> tuple[T, ...]:
        return tuple(make() for _ in range(self.number(0, most)))

    def maybe(self, make: Callable[[], T], share: float, otherwise: T) -> T:
        return make() if self.chance(share) else otherwise
