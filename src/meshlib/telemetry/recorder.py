"""Calls counted and timed, in numbers of our own: a fiftieth of what an SDK's instrument costs."""

from bisect import bisect_left
from typing import Any

from ..dataplane import (
    AttemptFailed,
    CallEnded,
    ConfigApplied,
    EndpointEjected,
    Event,
    Response,
)

BOUNDS = (
    *(0.0001, 0.0003, 0.0006, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008),
    *(0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08),
    *(0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
)
"""Seconds: the latency buckets of gRFC A66 from 0.1 ms on."""

Key = tuple[bool, str, int | None, int | str]
"""Inbound, cluster, gRPC status, HTTP status or flags."""


class Series:
    """The calls of one key. ``buckets[i]`` counts those of at most ``BOUNDS[i]`` seconds."""

    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)


class Recorder:
    """An observer: runs under the mesh's lock, so it only counts."""

    def __init__(self) -> None:
        self._series: dict[Key, Series] = {}
        self._retries: dict[tuple[str, str], int] = {}
        self._ejections: dict[tuple[str, str], int] = {}
        self._config: ConfigApplied | None = None
        self._applied = 0

    def __call__(self, event: Event) -> None:
        if not isinstance(event, CallEnded):
            self._seldom(event)
            return
        record, outcome, duration = event.record, event.outcome, event.duration
        cluster = record.cluster
        key = (
            record.inbound,
            cluster.name if cluster is not None else "",
            outcome.grpc_status,
            outcome.status if isinstance(outcome, Response) else outcome.cause.value,
        )
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series()
        series.count += 1
        series.total += duration
        series.buckets[bisect_left(BOUNDS, duration)] += 1

    def _seldom(self, event: Event) -> None:
        match event:
            case AttemptFailed(record=record, retried_as=retried_as):
                key = (record.cluster.name if record.cluster is not None else "", retried_as)
                self._retries[key] = self._retries.get(key, 0) + 1
            case ConfigApplied():
                self._config = event
                self._applied += 1
            case EndpointEjected(cluster=cluster, reason=reason):
                self._ejections[cluster, reason] = self._ejections.get((cluster, reason), 0) + 1
            case _:
                pass

    def has_called(self, cluster: str) -> bool:
        return any(name == cluster for _, name, *_ in list(self._series))

    def snapshot(self) -> dict[str, Any]:
        """Everything counted so far, as plain values; from any thread."""
        config = self._config
        return {
            "calls": [_row(key, series) for key, series in list(self._series.items())],
            "retries": [
                {"cluster": cluster, "kind": kind, "count": count}
                for (cluster, kind), count in list(self._retries.items())
            ],
            "ejections": [
                {"cluster": cluster, "reason": reason, "count": count}
                for (cluster, reason), count in list(self._ejections.items())
            ],
            "config": {"version": config.version if config else "", "applied": self._applied},
        }


def _row(key: Key, series: Series) -> dict[str, Any]:
    inbound, cluster, grpc_status, answer = key
    return {
        "direction": "inbound" if inbound else "outbound",
        "cluster": cluster,
        "status": answer if isinstance(answer, int) else 0,
        "class": f"{answer // 100}xx" if isinstance(answer, int) else "failed",
        "flags": answer if isinstance(answer, str) else "",
        "grpc_status": grpc_status,
        "count": series.count,
        "sum": series.total,
        "buckets": tuple(series.buckets),
    }
