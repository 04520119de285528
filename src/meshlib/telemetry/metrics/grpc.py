"""gRPC's own metrics of calls and attempts (gRFC A66, A89), out of what was counted.

An attempt is counted when it is over, also as one that was started; only streams, which may go on
for days, are counted as started when they are.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from ...exposition import Distribution, Labels, Metric, Sample
from ...exposition import Kind as MetricKind
from .recorder import Recorder
from .series import GRPC_BYTES, GRPC_SECONDS, Series

STATUSES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
METHOD, TARGET, STATUS, BACKEND = (
    *("grpc.method", "grpc.target", "grpc.status"),
    "grpc.lb.backend_service",
)
COUNTER, HISTOGRAM = MetricKind.COUNTER, MetricKind.HISTOGRAM
Made = Callable[[list[Series]], float | Distribution]


class Told:
    """A call or an attempt under gRPC's labels."""

    __slots__ = ("_known", "series")

    def __init__(
        self, series: Series, method: str, status: int | None, target: str = "", backend: str = ""
    ) -> None:
        self.series = series
        self._known = {
            METHOD: method,
            TARGET: target,
            STATUS: _status_name(status or 0),
            BACKEND: backend,
        }

    def labels(self, names: tuple[str, ...]) -> Labels:
        return tuple([(name, self._known[name]) for name in names])


def grpc_metrics(recorder: Recorder) -> Iterator[Metric]:
    counted = [(kind, series) for (_, kind), series in list(recorder.series.items())]
    grpc = [(kind, series) for kind, series in counted if kind.is_grpc]
    clients = [
        Told(series, kind.method, kind.status, kind.target, kind.cluster)
        for kind, series in grpc
        if not kind.inbound
    ]
    servers = [Told(series, kind.method, kind.status) for kind, series in grpc if kind.inbound]
    failed = [
        Told(series, method, status, target, cluster)
        for (method, target, cluster, status), series in list(recorder.failed_attempts.items())
    ]
    streams = list(recorder.streams.values())
    begun: list[Labels] = [
        ((METHOD, method), (TARGET, to)) for inbound, method, to in streams if not inbound
    ]
    yield from _of_attempts([*clients, *failed], begun)
    called = METHOD, TARGET, STATUS
    yield _metric("client.call.duration", "s", "Calls, over all attempts.", clients, called, _calls)
    yield from _of_servers(servers, [((METHOD, method),) for is_in, method, _ in streams if is_in])


def _of_attempts(told: list[Told], begun: list[Labels]) -> Iterator[Metric]:
    started = _metric(
        "client.attempt.started",
        "{attempt}",
        "Attempts.",
        told,
        (METHOD, TARGET),
        _number_of_attempts,
    )
    yield _and(started, begun)
    over = METHOD, TARGET, STATUS, BACKEND
    for name, unit, text, labels, made in (
        ("duration", "s", "Attempts.", over, _attempts),
        ("sent_total_compressed_message_size", "By", "What they sent.", over, _request_bytes),
        ("rcvd_total_compressed_message_size", "By", "What came back.", over, _response_bytes),
    ):
        yield _metric(f"client.attempt.{name}", unit, text, told, labels, made)


def _of_servers(told: list[Told], begun: list[Labels]) -> Iterator[Metric]:
    text = "Calls that came in."
    started = _metric("server.call.started", "{call}", text, told, (METHOD,), _number_of_calls)
    yield _and(started, begun)
    over = METHOD, STATUS
    for name, unit, text, labels, made in (
        ("duration", "s", "Calls as they were served.", over, _calls),
        ("sent_total_compressed_message_size", "By", "What was answered.", over, _response_bytes),
        ("rcvd_total_compressed_message_size", "By", "What came in.", over, _request_bytes),
    ):
        yield _metric(f"server.call.{name}", unit, text, told, labels, made)


def _metric(
    name: str, unit: str, text: str, told: list[Told], labels: tuple[str, ...], made: Made
) -> Metric:
    alike: dict[Labels, list[Series]] = {}
    for each in told:
        alike.setdefault(each.labels(labels), []).append(each.series)
    kind = COUNTER if name.endswith("started") else HISTOGRAM
    samples = [Sample(found, made(series)) for found, series in alike.items()]
    return Metric(f"grpc.{name}", kind, text, samples, unit)


def _and(ended: Metric, under_way: list[Labels]) -> Metric:
    """What is under way was started, too."""
    found = Counter(under_way)
    for sample in ended.samples:
        if not isinstance(sample.value, Distribution):
            found[sample.labels] += int(sample.value)
    return replace(ended, samples=[Sample(*one) for one in found.items()])


def _status_name(number: int) -> str:
    return STATUSES[number] if 0 <= number < len(STATUSES) else "UNKNOWN"


def _number_of_calls(alike: list[Series]) -> float:
    return sum(sum(series.seconds) for series in alike)


def _number_of_attempts(alike: list[Series]) -> float:
    return sum(sum(series.attempt_seconds) for series in alike)


def _calls(alike: list[Series]) -> Distribution:
    return GRPC_SECONDS((series.seconds, series.total) for series in alike)


def _attempts(alike: list[Series]) -> Distribution:
    return GRPC_SECONDS((series.attempt_seconds, series.attempt_total) for series in alike)


def _request_bytes(alike: list[Series]) -> Distribution:
    return GRPC_BYTES((series.request_bytes, series.request_total) for series in alike)


def _response_bytes(alike: list[Series]) -> Distribution:
    return GRPC_BYTES((series.response_bytes, series.response_total) for series in alike)
