"""Istio's standard metrics, out of what was counted."""

from collections.abc import Callable, Iterator

from ...exposition import Distribution, Labels, Metric, Sample
from ...exposition import Kind as MetricKind
from .calls import Kind
from .labels import istio_labels
from .overrides import Plan
from .recorder import Recorder
from .series import ISTIO_BYTES, MILLISECONDS, Series

Alike = dict[Labels, list[Series]]
Made = Callable[[list[Series]], float | Distribution]

COUNTER, HISTOGRAM = MetricKind.COUNTER, MetricKind.HISTOGRAM


def _requests(alike: list[Series]) -> float:
    return sum(sum(series.seconds) for series in alike)


def _duration(alike: list[Series]) -> Distribution:
    return MILLISECONDS((series.seconds, series.total) for series in alike)


def _request_bytes(alike: list[Series]) -> Distribution:
    return ISTIO_BYTES((series.request_bytes, series.request_total) for series in alike)


def _response_bytes(alike: list[Series]) -> Distribution:
    return ISTIO_BYTES((series.response_bytes, series.response_total) for series in alike)


def _request_messages(alike: list[Series]) -> float:
    return sum(series.request_messages for series in alike)


def _response_messages(alike: list[Series]) -> float:
    return sum(series.response_messages for series in alike)


STANDARD: tuple[tuple[str, MetricKind, str, str, Made], ...] = (
    ("requests_total", COUNTER, "", "Calls that are over.", _requests),
    ("request_duration_milliseconds", HISTOGRAM, "ms", "How long calls took.", _duration),
    ("request_bytes", HISTOGRAM, "By", "Sizes of the bodies of requests.", _request_bytes),
    ("response_bytes", HISTOGRAM, "By", "Sizes of the bodies of responses.", _response_bytes),
    ("request_messages_total", COUNTER, "", "gRPC messages of clients.", _request_messages),
    ("response_messages_total", COUNTER, "", "gRPC messages of servers.", _response_messages),
)
OF_GRPC = frozenset({"request_messages_total", "response_messages_total"})


def istio_metrics(recorder: Recorder) -> Iterator[Metric]:
    counted = list(recorder.series.items())
    labels = {key: istio_labels(key[1], falls_back=_falls_back(key[0])) for key, _ in counted}
    for name, kind, unit, text, made in STANDARD:
        alike: Alike = {}
        for (plan, call), series in counted:
            told = _told(name, plan, call, labels[plan, call])
            if told is not None:
                alike.setdefault(told, []).append(series)
        samples = [Sample(found, made(series)) for found, series in alike.items()]
        yield Metric(f"istio_{name}", kind, text, samples, unit)


def _falls_back(plan: Plan | None) -> bool:
    return plan is None or plan.falls_back


def _told(name: str, plan: Plan | None, call: Kind, labels: Labels) -> Labels | None:
    if name in OF_GRPC and not call.is_grpc:
        return None
    return labels if plan is None else plan.labels(name, labels, call.tags)
