"""Luck that is known beforehand."""

import random
from collections.abc import Iterable

from ..clock import Dice


def scripted(rolls: Iterable[float]) -> Dice:
    """Dice that give these numbers in turn; one roll too many is an :class:`AssertionError`."""
    left = iter(tuple(rolls))

    def roll() -> float:
        try:
            return next(left)
        except StopIteration:
            raise AssertionError("the dice were rolled more often than scripted") from None

    return roll


def seeded(seed: int) -> Dice:
    """Dice that look random and are the same in every run."""
    return random.Random(seed).random


def always(number: float) -> Dice:
    return lambda: number
