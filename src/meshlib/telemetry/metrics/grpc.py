"""gRPC's own metrics of calls and attempts (gRFC A66, A89, A96), out of what was counted.

An attempt is counted when it is over, also as one that was started; only streams, which may go on
for days, are counted as started when they are. Each number that is a difference of others is made
of those of one moment: a counter must never go back.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from ...dataplane import Cause
from ...exposition import Distribution, Labels, Metric, Sample
from ...exposition import Kind as MetricKind
from .calls import OTHER
from .messages import Way, weights
from .recorder import Recorder
from .series import GRPC_SECONDS, Series
from .tries import tries_metrics

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
SCHEME = "dns:///"
UNNAMED: Mapping[str, str] = {}
UNCONTENDED = nullcontext()
COUNTER, HISTOGRAM = MetricKind.COUNTER, MetricKind.HISTOGRAM
UNSENT = Cause.CONNECT.value


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

    @property
    def sent(self) -> Way:
        return self.series.responses

    @property
    def received(self) -> Way:
        return self.series.requests


class Attempts(Told):
    """Of a client: the last ones of their calls, or, of no call, those before."""

    __slots__ = ("_is_unsent",)

    def __init__(self, series: Series, *labels: Any, is_unsent: bool = False) -> None:
        super().__init__(series, *labels)
        self._is_unsent = is_unsent

    @property
    def sent(self) -> Way:
        if self._is_unsent:
            return Way((sum(self.series.attempt_seconds),), 0, 0, None)
        return self.series.requests._replace(none=self._none)

    @property
    def received(self) -> Way:
        return self.series.responses._replace(none=self._none)

    @property
    def _none(self) -> int:
        """Calls that came to an end before there was an attempt."""
        return max(0, sum(self.series.seconds) - sum(self.series.attempt_seconds))


Made = Callable[[list[Told]], float | Distribution]
Begun = list[tuple[Labels, int]]


def grpc_metrics(
    recorder: Recorder,
    schemes: Mapping[str, str] = UNNAMED,
    lock: AbstractContextManager[Any] = UNCONTENDED,
) -> Iterator[Metric]:
    """``schemes``: those of targets that the application names with one. ``lock``: the mesh's,
    which is taken for moments."""

    def seen(series: Series) -> Series:
        with lock:
            return series.copied()

    def canonical(target: str) -> str:
        """As gRPC writes it: what is given without a scheme is a name of DNS."""
        if not target or target == OTHER:
            return target
        return f"{schemes.get(target, SCHEME)}{target}"

    counted = list(recorder.series.items())
    grpc = [(kind, seen(series)) for (_, kind), series in counted if kind.is_grpc]
    clients: list[Told] = [
        Attempts(
            *(series, kind.method, kind.status, canonical(kind.target), kind.cluster),
            is_unsent=kind.answer == UNSENT,
        )
        for kind, series in grpc
        if not kind.inbound
    ]
    servers = [Told(series, kind.method, kind.status) for kind, series in grpc if kind.inbound]
    failed = [
        Attempts(seen(series), method, status, canonical(target), cluster)
        for (method, target, cluster, status), series in list(recorder.attempts.over.items())
    ]
    begun: tuple[Begun, Begun] = [], []
    for (is_in, method, target), count in list(recorder.attempts.begun.items()):
        there = () if is_in else ((TARGET, canonical(target)),)
        begun[is_in].append((((METHOD, method), *there), count))
    yield from _of_attempts([*clients, *failed], begun[False])
    called = METHOD, TARGET, STATUS
    yield _metric("client.call.duration", "s", "Calls, over all attempts.", clients, called, _calls)
    yield from tries_metrics(
        (one.labels((METHOD, TARGET)), one.series.tried)
        for one in clients
        if one.series.tried is not None
    )
    yield from _of_servers(servers, begun[True])


def _of_attempts(told: list[Told], begun: Begun) -> Iterator[Metric]:
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
        ("sent_total_compressed_message_size", "By", "What they sent.", over, _sent),
        ("rcvd_total_compressed_message_size", "By", "What came back.", over, _received),
    ):
        yield _metric(f"client.attempt.{name}", unit, text, told, labels, made)


def _of_servers(told: list[Told], begun: Begun) -> Iterator[Metric]:
    text = "Calls that came in."
    started = _metric("server.call.started", "{call}", text, told, (METHOD,), _number_of_calls)
    yield _and(started, begun)
    over = METHOD, STATUS
    for name, unit, text, labels, made in (
        ("duration", "s", "Calls as they were served.", over, _calls),
        ("sent_total_compressed_message_size", "By", "What was answered.", over, _sent),
        ("rcvd_total_compressed_message_size", "By", "What came in.", over, _received),
    ):
        yield _metric(f"server.call.{name}", unit, text, told, labels, made)


def _metric(
    name: str, unit: str, text: str, told: list[Told], labels: tuple[str, ...], made: Made
) -> Metric:
    alike: dict[Labels, list[Told]] = {}
    for each in told:
        alike.setdefault(each.labels(labels), []).append(each)
    kind = COUNTER if name.endswith("started") else HISTOGRAM
    samples = [Sample(found, made(series)) for found, series in alike.items()]
    return Metric(f"grpc.{name}", kind, text, samples, unit)


def _and(ended: Metric, begun: Begun) -> Metric:
    """Streams are counted when they begin, and not once more."""
    found = Counter(dict(begun))
    for sample in ended.samples:
        if not isinstance(sample.value, Distribution):
            found[sample.labels] += int(sample.value)
    return replace(ended, samples=[Sample(*one) for one in found.items()])


def _status_name(number: int) -> str:
    return STATUSES[number] if 0 <= number < len(STATUSES) else "UNKNOWN"


def _number_of_calls(alike: list[Told]) -> float:
    return sum(sum(one.series.seconds) - one.series.streams for one in alike)


def _number_of_attempts(alike: list[Told]) -> float:
    return sum(sum(one.series.attempt_seconds) - one.series.streams for one in alike)


def _calls(alike: list[Told]) -> Distribution:
    return GRPC_SECONDS((one.series.seconds, one.series.total) for one in alike)


def _attempts(alike: list[Told]) -> Distribution:
    return GRPC_SECONDS((one.series.attempt_seconds, one.series.attempt_total) for one in alike)


def _sent(alike: list[Told]) -> Distribution:
    return weights(one.sent for one in alike)


def _received(alike: list[Told]) -> Distribution:
    return weights(one.received for one in alike)
