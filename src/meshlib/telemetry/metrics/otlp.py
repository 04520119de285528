"""What all meshes of this process count, for any exporter of OpenTelemetry's SDK.

Histograms that are counted already cannot be had through instruments: there are no observable ones.
So the SDK's own ``MetricsData`` is made here, and handed to the exporter from a thread of ours,
beside whatever ``MeterProvider`` the program has; numbers are cumulative, as counters are, or only
what is new where the exporter prefers that.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...exposition import Distribution, Kind, Labels, Metric, Sample
from .deltas import Deltas
from .members import MEMBERS, Member, Members

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import (
        HistogramDataPoint,
        MetricExporter,
        MetricsData,
        NumberDataPoint,
    )
    from opentelemetry.sdk.metrics.export import Metric as OtelMetric
    from opentelemetry.sdk.resources import Resource

log = logging.getLogger("meshlib")

INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
"""Milliseconds, of the environment."""
MINUTE = 60.0
GRACE = 5.0
"""Seconds that :meth:`MetricsExport.close` waits for a thread that exports right now."""


def interval_of(environ: "os._Environ[str]") -> float:
    """Seconds; a word that is no number is none, as for OpenTelemetry's SDK."""
    said = environ.get(INTERVAL, "")
    if not said:
        return MINUTE
    try:
        return max(0.1, float(said) / 1000)
    except ValueError:
        log.warning("%s: %r are no milliseconds: metrics go each minute", INTERVAL, said)
        return MINUTE


class MetricsExport:
    """Exports every ``interval`` seconds (else ``OTEL_METRIC_EXPORT_INTERVAL``, else a minute).

    From :meth:`start` on, members of the mesh tell each other who they are. :meth:`close` exports
    once more.
    """

    def __init__(
        self,
        exporter: "MetricExporter",
        interval: float | None = None,
        *,
        resource: "Resource | None" = None,
        members: Members = MEMBERS,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        from opentelemetry.sdk.resources import Resource

        self._exporter = exporter
        self._interval = interval_of(os.environ) if interval is None else interval
        self._resource = Resource.create() if resource is None else resource
        self._members = members
        self._wall = wall
        self._deltas = Deltas(_prefers_deltas(exporter))
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    def start(self) -> None:
        """Once; a forked child goes on by itself."""
        if self._thread is not None:
            return
        self._members.want()
        self._begin()
        alive = weakref.ref(self)

        def begin_anew() -> None:
            here = alive()
            if here is not None:
                here.begin_anew()

        os.register_at_fork(after_in_child=begin_anew)

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="meshlib-metrics", daemon=True)
        self._thread.start()

    def begin_anew(self) -> None:
        """In a forked child: the thread is the parent's."""
        if self._thread is not None and not self._over.is_set():
            self._over = threading.Event()
            self._begin()

    def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._over.set()
        thread.join(GRACE)
        if not thread.is_alive():  # nobody answers, so nobody would answer once more
            self.export(GRACE)
        self._exporter.shutdown()

    def _run(self) -> None:
        over = self._over
        while not over.wait(self._interval):
            self.export()

    def export(self, patience: float = MINUTE) -> None:
        """Hand over what is counted up to now. A failure is logged once, until one succeeds."""
        from opentelemetry import context

        limit = min(self._interval, patience)
        # OpenTelemetry's instrumentors leave alone what is done for telemetry's own sake.
        quiet = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: SLF001
        try:
            told = self._exporter.export(self.collect(), timeout_millis=limit * 1000)
            failed = "" if told.name == "SUCCESS" else "the exporter failed"
        except Exception as error:  # noqa: BLE001 - exporters are foreign, and the next one may do
            failed = repr(error)
        finally:
            context.detach(quiet)
        if not failed:
            self._deltas.settle()
        if failed and not self._failing:
            log.warning("metrics are not exported: %s", failed)
        self._failing = bool(failed)

    def collect(self) -> "MetricsData":
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        scopes = [
            ScopeMetrics(
                scope=InstrumentationScope("meshlib", attributes={"meshlib.service": member.name}),
                metrics=list(self._metrics(member, since)),
                schema_url="",
            )
            for member, since in self._members.since()
        ]
        return MetricsData([ResourceMetrics(self._resource, scopes, schema_url="")])

    def _metrics(self, member: Member, since: int) -> "Iterator[OtelMetric]":
        deltas, now = self._deltas, self._wall()
        for metric in member.collect():
            is_delta = metric.kind in deltas.kinds
            told = deltas.of(member, metric, now) if is_delta else metric
            begun = deltas.began(member, since) if is_delta else since
            if told.samples:
                yield _converted(told, begun, now, is_delta=is_delta)


def _prefers_deltas(exporter: "MetricExporter") -> list[Kind]:
    from opentelemetry.sdk.metrics import Counter, Histogram
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    # The readers of OpenTelemetry's SDK ask exporters for it by the same name.
    preferred = getattr(exporter, "_preferred_temporality", None) or {}
    kinds = (Counter, Kind.COUNTER), (Histogram, Kind.HISTOGRAM)
    return [kind for one, kind in kinds if preferred.get(one) is AggregationTemporality.DELTA]


def _converted(metric: Metric, since: int, now: int, *, is_delta: bool) -> "OtelMetric":
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Histogram,
        Sum,
    )
    from opentelemetry.sdk.metrics.export import Metric as OtelMetric

    temporality = AggregationTemporality
    whole = temporality.DELTA if is_delta else temporality.CUMULATIVE
    data: Gauge | Histogram | Sum
    match metric.kind:
        case Kind.HISTOGRAM:
            spread = [_spread(sample, since, now) for sample in metric.samples]
            data = Histogram(spread, whole)
        case Kind.COUNTER:
            data = Sum([_number(sample, since, now) for sample in metric.samples], whole, True)
        case Kind.GAUGE:
            data = Gauge([_number(sample, None, now) for sample in metric.samples])
    return OtelMetric(metric.name, metric.text, metric.unit or "1", data)


def _number(sample: Sample, since: int | None, now: int) -> "NumberDataPoint":
    from opentelemetry.sdk.metrics.export import NumberDataPoint

    assert not isinstance(sample.value, Distribution)
    return NumberDataPoint(_attributes(sample.labels), since or 0, now, sample.value)


def _spread(sample: Sample, since: int, now: int) -> "HistogramDataPoint":
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    found = sample.value
    assert isinstance(found, Distribution)
    return HistogramDataPoint(
        attributes=_attributes(sample.labels),
        start_time_unix_nano=since,
        time_unix_nano=now,
        count=found.count,
        sum=found.total,
        bucket_counts=found.counts,
        explicit_bounds=found.bounds,
        min=None,  # type: ignore[arg-type]  # not kept, and OTLP may leave it out
        max=None,  # type: ignore[arg-type]
    )


def _attributes(labels: Labels) -> dict[str, str]:
    return dict(labels)
