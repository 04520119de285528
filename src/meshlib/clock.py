"""Time and luck are arguments: the words for both."""

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds on a monotonic scale; only differences mean something."""

Dice = Callable[[], float]
"""A number in [0, 1), uniformly distributed."""
