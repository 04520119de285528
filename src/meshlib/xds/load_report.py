"""The wire of load reports: ``StreamLoadStats`` (gRFC A27, A64, A85)."""

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from ..model.load_stats import ClusterStats, LocalityStats, Metrics
from .bootstrap import Node
from .bootstrap_servers import Server
from .codec.endpoint import encode_address
from .messages import write_node
from .protos import message_class
from .transport import open_channel

METHOD = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
REQUEST = "envoy.service.load_stats.v3.LoadStatsRequest"
RESPONSE = "envoy.service.load_stats.v3.LoadStatsResponse"
ALL_CLUSTERS = "envoy.lrs.supports_send_all_clusters"
OWN_FIELDS = ("application_utilization", "cpu_utilization", "mem_utilization")
NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the server wants to be told. ``clusters`` ``None`` is all; ``interval`` in seconds."""

    clusters: frozenset[str] | None = frozenset()
    interval: float = 0.0
    endpoints: bool = False

    def __contains__(self, cluster: str) -> bool:
        return self.clusters is None or cluster in self.clusters


@dataclass(frozen=True, slots=True)
class Ended:
    status: str


Post = Callable[["LoadStream", Wanted | Ended], None]


class LoadStream:
    """One stream. What happens to it is posted; nothing here blocks its owner."""

    def __init__(self, server: Server, node: Node, post: Post) -> None:
        self._post = post
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._outbox.put(_greeting(node))
        self._channel = open_channel(server)
        stub: Any = self._channel.stream_stream(METHOD)  # no serializers: bytes both ways
        self._call = stub(iter(self._outbox.get, None))
        threading.Thread(target=self._receive, name="meshlib-lrs-reader", daemon=True).start()

    def send(self, stats: Iterable[ClusterStats], *, endpoints: bool) -> None:
        self._outbox.put(encode_stats(stats, endpoints=endpoints))

    def close(self) -> None:
        self._call.cancel()
        self._outbox.put(None)
        self._channel.close()

    def _receive(self) -> None:
        try:
            for message in self._call:
                self._post(self, decode_response(message))
            self._post(self, Ended("the server ended the stream"))
        except DecodeError as error:
            self._post(self, Ended(f"the server sent garbage: {error}"))
        except grpc.RpcError as error:
            self._post(self, Ended(_said(error)))


def _said(error: Any) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)


def _greeting(node: Node) -> bytes:
    message: Any = message_class(REQUEST)()
    write_node(node, message.node, ALL_CLUSTERS)
    return bytes(message.SerializeToString(deterministic=True))


def decode_response(message: bytes) -> Wanted:
    """Raises :class:`DecodeError` for bytes that are none."""
    made: Any = message_class(RESPONSE).FromString(message)
    return Wanted(
        clusters=None if made.send_all_clusters else frozenset(made.clusters),
        interval=made.load_reporting_interval.ToNanoseconds() / NANOS,
        endpoints=made.report_endpoint_granularity,
    )


def encode_stats(stats: Iterable[ClusterStats], *, endpoints: bool = False) -> bytes:
    message: Any = message_class(REQUEST)()
    for cluster in stats:
        made = message.cluster_stats.add()
        made.cluster_name = cluster.cluster_name
        made.cluster_service_name = cluster.cluster_service_name
        made.total_dropped_requests = cluster.total_dropped
        for category, count in cluster.dropped:
            made.dropped_requests.add(category=category, dropped_count=count)
        made.load_report_interval.FromNanoseconds(round(cluster.interval * NANOS))
        for locality in cluster.localities:
            _write_locality(locality, made.upstream_locality_stats.add(), endpoints=endpoints)
    return bytes(message.SerializeToString(deterministic=True))


def _write_locality(stats: LocalityStats, made: Any, *, endpoints: bool) -> None:
    place = stats.locality
    made.locality.region, made.locality.zone = place.region, place.zone
    made.locality.sub_zone = place.sub_zone
    made.priority = stats.priority
    _write_calls(stats, made)
    for name, metric in stats.metrics:
        if name in OWN_FIELDS:
            field = getattr(made, name)
            field.num_requests_finished_with_metric = metric.count
            field.total_metric_value = metric.total
    _write_metrics(stats.metrics, made)
    for endpoint in stats.endpoints if endpoints else ():
        one = made.upstream_endpoint_stats.add(address=encode_address(endpoint.address))
        _write_calls(endpoint, one)
        _write_metrics(endpoint.metrics, one)


def _write_calls(stats: Any, made: Any) -> None:
    made.total_successful_requests = stats.successful
    made.total_requests_in_progress = stats.in_progress
    made.total_error_requests = stats.error
    made.total_issued_requests = stats.issued


def _write_metrics(metrics: Metrics, made: Any) -> None:
    for name, metric in metrics:
        if name not in OWN_FIELDS:
            made.load_metric_stats.add(
                metric_name=name,
                num_requests_finished_with_metric=metric.count,
                total_metric_value=metric.total,
            )
