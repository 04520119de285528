"""Counters, gauges and histograms as values, and as the texts that Prometheus reads.

Names are those of OpenTelemetry (``grpc.client.call.duration``, unit ``s``); Prometheus' are made
of them as its exporters do (``grpc_client_call_duration_seconds``).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate, islice

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes"}
"""What units are called at the end of a name; others are not."""

LINES = 256
"""Of one piece of a text."""

Labels = tuple[tuple[str, str], ...]

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")
_LABEL = re.compile(r"(?!__)[a-zA-Z_].*")


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Distribution:
    """``counts[i]`` are those of at most ``bounds[i]``; the last one is of what is above all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Sample:
    labels: Labels
    value: float | Distribution


@dataclass(frozen=True, slots=True)
class Metric:
    """All series of one name."""

    name: str
    kind: Kind
    text: str
    samples: Sequence[Sample]
    unit: str = ""

    @property
    def family(self) -> str:
        """The name as Prometheus has it, without ``_total``."""
        name = _NOT_IN_NAMES.sub("_", self.name).removesuffix("_total")
        unit = UNITS.get(self.unit, "")
        return f"{name}_{unit}" if unit and not name.endswith(f"_{unit}") else name


def wanted_format(accept: str) -> str:
    """The content type to answer with: OpenMetrics for those who name it."""
    return OPENMETRICS if "application/openmetrics-text" in accept else TEXT


def exposed(metrics: Iterable[Metric], content_type: str = TEXT) -> str:
    """One text of all; series are apart by name, so each name must come once."""
    return "".join(pieces(metrics, content_type))


def pieces(metrics: Iterable[Metric], content_type: str = TEXT) -> Iterator[str]:
    """The same, a few lines at a time: as a whole it may be larger than all that was counted."""
    openmetrics = content_type == OPENMETRICS
    for metric in metrics:
        found = lines(metric, openmetrics=openmetrics)
        while some := list(islice(found, LINES)):
            yield "\n".join([*some, ""])
    if openmetrics:
        yield "# EOF\n"


def lines(metric: Metric, *, openmetrics: bool = False) -> Iterator[str]:
    """One metric with its samples."""
    family, counter = metric.family, metric.kind is Kind.COUNTER
    sampled = f"{family}_total" if counter else family
    named = family if openmetrics else sampled
    yield f"# HELP {named} {_help(metric.text)}"
    yield f"# TYPE {named} {metric.kind}"
    for sample in metric.samples:
        pairs = _pairs(sample.labels)
        if isinstance(sample.value, Distribution):
            yield from _buckets(family, pairs, sample.value)
        else:
            yield f"{sampled}{_braced(pairs)} {_number(sample.value)}"


def _pairs(labels: Labels) -> str:
    """One name that is none, or is there twice, would cost Prometheus the whole text."""
    found: dict[str, str] = {}
    for key, value in labels:
        name = _label(key)
        while name in found:
            name += "_"
        found[name] = _escaped(value)
    return ",".join([f'{name}="{value}"' for name, value in found.items()])


@lru_cache(1024)
def _label(key: str) -> str:
    name = _NOT_IN_NAMES.sub("_", key)
    return name if _LABEL.fullmatch(name) and name != "le" else f"key_{name}"


def _buckets(family: str, pairs: str, found: Distribution) -> Iterator[str]:
    before = f"{pairs}," if pairs else ""
    counts = accumulate(found.counts)
    for bound, count in zip((*found.bounds, None), counts, strict=True):
        limit = "+Inf" if bound is None else _number(float(bound))
        yield f'{family}_bucket{{{before}le="{limit}"}} {count}'
    yield f"{family}_sum{_braced(pairs)} {_number(found.total)}"
    yield f"{family}_count{_braced(pairs)} {found.count}"


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    """Whole ones as Go writes them, which is how dashboards ask for ``le``."""
    if abs(value) < 2**53 and value == int(value):
        return str(int(value))
    return repr(float(value))


def _escaped(value: str) -> str:
    if not value.isprintable():
        # A surrogate alone is in no UTF-8, and a NUL is the end of the text to some.
        value = value.encode("utf-8", "replace").decode().replace("\0", "?")
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
