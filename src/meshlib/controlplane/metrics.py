"""What the control plane counts, as Prometheus reads it (text format 0.0.4)."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..exposition import Distribution, Kind, Labels, Metric, Sample, lines

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PREFIX = "meshlib_control_plane_"


class Histogram:
    """Seconds, in buckets; a count for each and for what is above the last."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class Metrics:
    """``push_seconds``: from a change until a client was sent all of it that it may have yet;
    ``ack_seconds``: from a response until the client's answer."""

    pushes: Counter[str] = field(default_factory=Counter)
    acks: Counter[str] = field(default_factory=Counter)
    nacks: Counter[str] = field(default_factory=Counter)
    refused_streams: Counter[str] = field(default_factory=Counter)
    refused_registrations: Counter[str] = field(default_factory=Counter)
    applied: int = 0
    refused_edits: int = 0
    rollbacks: int = 0
    push_seconds: Histogram = field(default_factory=Histogram)
    ack_seconds: Histogram = field(default_factory=Histogram)

    def lines(self) -> Iterator[str]:
        counted: Iterable[tuple[str, str, str, Mapping[str, int]]] = (
            ("pushes_total", "Responses sent.", "type", self.pushes),
            ("acks_total", "Responses that clients accepted.", "type", self.acks),
            ("nacks_total", "Responses that clients refused.", "type", self.nacks),
            ("refused_streams_total", "Streams beyond a limit.", "reason", self.refused_streams),
            (
                "refused_registrations_total",
                "Workloads not let in.",
                "code",
                self.refused_registrations,
            ),
        )
        for name, text, label, counts in counted:
            yield from metric(
                name, "counter", text, [(((label, key),), n) for key, n in sorted(counts.items())]
            )
        for name, text, value in (
            ("applied_total", "Edits put in force.", self.applied),
            ("refused_edits_total", "Edits refused.", self.refused_edits),
            ("rollbacks_total", "Edits taken back after a NACK.", self.rollbacks),
        ):
            yield from metric(name, "counter", text, [((), value)])
        yield from _histogram("push_seconds", "From a change to its push.", self.push_seconds)
        yield from _histogram("ack_seconds", "From a push to its answer.", self.ack_seconds)


def metric(
    name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]
) -> Iterator[str]:
    """One metric with its samples: labels and value of each."""
    found = [Sample(labels, value) for labels, value in samples]
    return lines(Metric(PREFIX + name, Kind(kind), text, found))


def _histogram(name: str, text: str, histogram: Histogram) -> Iterator[str]:
    found = Distribution(BUCKETS, tuple(histogram.counts), histogram.total)
    return lines(Metric(PREFIX + name, Kind.HISTOGRAM, text, [Sample((), found)]))
