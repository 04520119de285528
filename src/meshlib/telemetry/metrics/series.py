"""What is counted of calls that are alike, in buckets fine enough for every histogram made of it.

One search and one addition serve Istio's buckets and gRPC's, which are folded out of the fine ones
when somebody reads.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy, deepcopy

from ...dataplane import FRAME, Meter, Tries
from ...exposition import Distribution
from .messages import FRAMED, Odd, Way

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

SECONDS = tuple(sorted({*LATENCY, *(round(bound / 1000, 7) for bound in ISTIO)}))
BYTES = tuple(sorted({*FRAMED, *ISTIO}))


class Tried:
    """Of calls that are alike, and had more than one attempt."""

    __slots__ = ("delay", "delays", "numbers")

    def __init__(self) -> None:
        self.numbers: Counter[tuple[str, int]] = Counter()
        self.delays = [0] * (len(SECONDS) + 1)
        self.delay = 0.0

    def count(self, tries: Tries) -> None:
        for each in tries.counts.items():
            self.numbers[each] += 1
        if tries.idle > 0:
            self.delay += tries.idle
            self.delays[bisect_left(SECONDS, tries.idle)] += 1


class Series:
    """Of calls that are alike in everything that any metric tells apart.

    ``streams``: how many of those attempts, or calls that came in, were told of when they began.
    """

    __slots__ = (
        "attempt_seconds",
        "attempt_total",
        "request_bytes",
        "request_messages",
        "request_odd",
        "request_total",
        "response_bytes",
        "response_messages",
        "response_odd",
        "response_total",
        "seconds",
        "streams",
        "total",
        "tried",
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
        self.request_odd: Odd | None = None
        self.response_odd: Odd | None = None
        self.streams = 0
        self.tried: Tried | None = None

    def copied(self) -> "Series":
        """As it is now, to be looked at in peace; what of it is told apart needs no such thing."""
        made = copy(self)
        made.seconds = self.seconds.copy()
        made.attempt_seconds = self.attempt_seconds.copy()
        made.request_bytes = self.request_bytes.copy()
        made.response_bytes = self.response_bytes.copy()
        made.request_odd = deepcopy(self.request_odd)
        made.response_odd = deepcopy(self.response_odd)
        return made

    def attempt(self, seconds: float) -> None:
        self.attempt_total += seconds
        self.attempt_seconds[bisect_left(SECONDS, seconds)] += 1

    def weigh(self, sent: int, received: int) -> None:
        """An attempt by itself, by the bytes of its messages."""
        self.request_bytes[bisect_left(BYTES, sent + FRAME)] += 1
        self.request_total += sent
        self.response_bytes[bisect_left(BYTES, received + FRAME)] += 1
        self.response_total += received

    def weigh_stream(self, meter: Meter) -> None:
        """A call that was counted like any other may have any number of messages."""
        octets, messages = meter.request_bytes, meter.request_messages
        if messages != 1:
            odd = self.request_odd = self.request_odd or Odd()
            odd.weighs(octets, octets - FRAME * messages)
        octets, messages = meter.response_bytes, meter.response_messages
        if messages != 1:
            odd = self.response_odd = self.response_odd or Odd()
            odd.weighs(octets, octets - FRAME * messages)

    def weigh_nothing(self, meter: Meter) -> None:
        """A call that was counted like any other has ended without a last attempt: those that it
        had were weighed by themselves."""
        octets, messages = meter.request_bytes, meter.request_messages
        odd = self.request_odd = self.request_odd or Odd()
        odd.weighs(octets, 0)
        odd.less += octets - FRAME * messages
        octets, messages = meter.response_bytes, meter.response_messages
        odd = self.response_odd = self.response_odd or Odd()
        odd.weighs(octets, 0)
        odd.less += octets - FRAME * messages

    @property
    def requests(self) -> Way:
        octets = UNFRAMED.counts(self.request_bytes)
        return Way(octets, self.request_total, self.request_messages, self.request_odd)

    @property
    def responses(self) -> Way:
        octets = UNFRAMED.counts(self.response_bytes)
        return Way(octets, self.response_total, self.response_messages, self.response_odd)


class Fold:
    """From fine buckets to those that a metric has. ``scale``: of its unit in the fine one's."""

    def __init__(self, fine: Sequence[float], bounds: tuple[float, ...], scale: float = 1) -> None:
        self.bounds = bounds
        self._scale = scale
        limits = [round(bound / scale, 7) for bound in bounds]
        self._places = (*(bisect_left(limits, bound) for bound in fine), len(bounds))

    def __call__(self, parts: Iterable[tuple[Sequence[int], float]]) -> Distribution:
        """The sum of histograms with fine buckets, each with its total."""
        buckets, totals = zip(*parts, strict=True)
        return Distribution(self.bounds, tuple(self.counts(*buckets)), sum(totals) * self._scale)

    def counts(self, *parts: Sequence[int]) -> list[int]:
        counts = [0] * (len(self.bounds) + 1)
        for buckets in parts:
            for place, count in zip(self._places, buckets, strict=True):
                if count:
                    counts[place] += count
        return counts


MILLISECONDS = Fold(SECONDS, ISTIO, 1000)
ISTIO_BYTES = Fold(BYTES, ISTIO)
GRPC_SECONDS = Fold(SECONDS, LATENCY)
UNFRAMED = Fold(BYTES, FRAMED)
