"""What is counted of calls that are alike, in buckets fine enough for every histogram made of it.

One search and one addition serve Istio's buckets and gRPC's, which are folded out of the fine ones
when somebody reads.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from ...exposition import Distribution

ISTIO = (
    *(0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0),
    *(30000.0, 60000.0, 300000.0, 600000.0, 1800000.0, 3600000.0),
)
"""Envoy's buckets, for milliseconds and for bytes."""

LATENCY = (
    *(0.0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005),
    *(0.006, 0.008, 0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13),
    *(0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
)
"""Seconds: the latency buckets of gRFC A66."""

SIZES = (0.0, 1024.0, 2048.0, *(float(4**power) for power in range(6, 17)))
"""Bytes: the size buckets of gRFC A66, from 1 KiB to 4 GiB."""

SECONDS = tuple(sorted({*LATENCY, *(round(bound / 1000, 7) for bound in ISTIO)}))
BYTES = tuple(sorted({*SIZES, *ISTIO}))


class Series:
    """Of calls that are alike in everything that any metric tells apart."""

    __slots__ = (
        "attempt_seconds",
        "attempt_total",
        "request_bytes",
        "request_messages",
        "request_total",
        "response_bytes",
        "response_messages",
        "response_total",
        "seconds",
        "total",
    )

    def __init__(self) -> None:
        self.seconds = [0] * (len(SECONDS) + 1)
        self.total = 0.0
        self.attempt_seconds = [0] * (len(SECONDS) + 1)
        self.attempt_total = 0.0
        self.request_bytes = [0] * (len(BYTES) + 1)
        self.request_total = 0
        self.response_bytes = [0] * (len(BYTES) + 1)
        self.response_total = 0
        self.request_messages = 0
        self.response_messages = 0


class Fold:
    """From fine buckets to those that a metric has. ``scale``: of its unit in the fine one's."""

    def __init__(self, fine: Sequence[float], bounds: tuple[float, ...], scale: float = 1) -> None:
        self.bounds = bounds
        self._scale = scale
        limits = [round(bound / scale, 7) for bound in bounds]
        self._places = (*(bisect_left(limits, bound) for bound in fine), len(bounds))

    def __call__(self, parts: Iterable[tuple[Sequence[int], float]]) -> Distribution:
        """The sum of histograms with fine buckets, each with its total."""
        counts, total = [0] * (len(self.bounds) + 1), 0.0
        for buckets, added in parts:
            total += added
            for place, count in zip(self._places, buckets, strict=True):
                if count:
                    counts[place] += count
        return Distribution(self.bounds, tuple(counts), total * self._scale)


MILLISECONDS = Fold(SECONDS, ISTIO, 1000)
ISTIO_BYTES = Fold(BYTES, ISTIO)
GRPC_SECONDS = Fold(SECONDS, LATENCY)
GRPC_BYTES = Fold(BYTES, SIZES)
