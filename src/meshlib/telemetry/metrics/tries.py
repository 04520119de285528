"""Second tries of gRPC calls, by gRFC A96."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

from ...exposition import Distribution, Kind, Labels, Metric, Sample
from .series import GRPC_SECONDS, Tried

NUMBERS = (1.0, 2.0, 3.0, 4.0, 5.0)
MEASURES: tuple[tuple[str, str, str, tuple[float, ...], str], ...] = (
    ("retry", "retries", "{retry}", NUMBERS, "Retries of a call that had any."),
    (
        "another endpoint",
        "transparent_retries",
        "{transparent_retry}",
        (*NUMBERS, 10.0),
        "Retries of a call of which nothing had been sent.",
    ),
    ("hedge", "hedges", "{hedge}", NUMBERS, "Attempts of a call beside its first."),
)
"""Why there is another attempt, and the metric, its unit and bounds."""


def tries_metrics(told: Iterable[tuple[Labels, Tried]]) -> Iterator[Metric]:
    """Calls that never tried again are not among them."""
    found = list(told)
    for why, name, unit, bounds, text in MEASURES:
        numbers: dict[Labels, Counter[int]] = {}
        for labels, tried in found:
            for (reason, number), calls in list(tried.numbers.items()):
                if reason == why:
                    numbers.setdefault(labels, Counter())[number] += calls
        samples = [Sample(labels, _spread(each, bounds)) for labels, each in numbers.items()]
        yield Metric(f"grpc.client.call.{name}", Kind.HISTOGRAM, text, samples, unit)
    yield _delays(found)


def _delays(found: list[tuple[Labels, Tried]]) -> Metric:
    waits: dict[Labels, list[Tried]] = {}
    for labels, tried in found:
        if any(tried.delays):
            waits.setdefault(labels, []).append(tried)
    samples = [
        Sample(labels, GRPC_SECONDS((one.delays, one.delay) for one in alike))
        for labels, alike in waits.items()
    ]
    text = "Seconds of a call between two attempts, with none under way."
    return Metric("grpc.client.call.retry_delay", Kind.HISTOGRAM, text, samples, "s")


def _spread(numbers: Counter[int], bounds: tuple[float, ...]) -> Distribution:
    counts = [0] * (len(bounds) + 1)
    for number, calls in numbers.items():
        counts[bisect_left(bounds, number)] += calls
    total = sum(number * calls for number, calls in numbers.items())
    return Distribution(bounds, tuple(counts), total)
