"""What gRPC's messages weigh by themselves (gRFC A66), out of octets that have frames among them.

Nearly every call has one message each way, so one frame is left out where buckets are folded. Of
all others it is noted into which bucket they belong instead.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...dataplane import FRAME
from ...exposition import Distribution

SIZES = (0.0, 1024.0, 2048.0, *(float(4**power) for power in range(6, 17)))
"""Bytes: the size buckets of gRFC A66, from 1 KiB to 4 GiB."""

FRAMED = tuple(size + FRAME for size in SIZES)
"""Their bounds for the octets of one message with its frame."""


class Odd:
    """Calls whose octets are not those of one message: where they are in ``FRAMED``, they are one
    less; where they belong, one more. ``less``: bytes in all that are not theirs."""

    __slots__ = ("counts", "less")

    def __init__(self) -> None:
        self.counts = [0] * (len(SIZES) + 1)
        self.less = 0

    def weighs(self, octets: int, weight: int) -> None:
        self.counts[bisect_left(FRAMED, octets)] -= 1
        self.counts[bisect_left(SIZES, weight)] += 1


class Way(NamedTuple):
    """What calls that are alike sent, or received: their octets in buckets of ``FRAMED``.

    ``none``: how many of them were never sent, and are not to be counted.
    """

    octets: Sequence[int]
    total: int
    messages: int
    odd: Odd | None
    none: int = 0


def weights(ways: Iterable[Way]) -> Distribution:
    counts, total = [0] * (len(SIZES) + 1), 0
    for way in ways:
        total += way.total - FRAME * way.messages
        parts = [way.octets]
        if way.odd is not None:
            total -= way.odd.less
            parts.append(way.odd.counts)
        for part in parts:
            for place, count in enumerate(part):
                counts[place] += count
        counts[0] -= way.none
    return Distribution(SIZES, tuple(counts), total)
