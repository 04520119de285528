"""The service to which clients tell their load (LRS): whose it wants, and what they say."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import Any

import grpc

from ..identity.authenticators import Caller
from ..xds.load_report import ALL_CLUSTERS, METHOD, NANOS, OWN_FIELDS, REQUEST, RESPONSE
from ..xds.protos import message_class
from ..xds.types import CLUSTER
from .cache import SnapshotCache
from .loads import LOCALITIES, METRICS, Calls, ClusterLoad, Loads, LocalityLoad, Reporter
from .messages import MAX_ID, plain
from .node import Node

Room = Callable[[Any], AbstractAsyncContextManager[Caller]]
SERVICE, _, ENDING = METHOD.strip("/").partition("/")


class LoadReports:
    """``room`` lets a stream in, and ends it with what was raised inside; ``known`` tells
    who it is by the first request. ``interval`` is in seconds, ``age`` that of a stream at most.

    Clients that can are asked for all that they have; others for the clusters of their snapshot.
    """

    def __init__(
        self,
        cache: SnapshotCache,
        loads: Loads,
        room: Room,
        known: Callable[[Any, Caller], AbstractContextManager[Node]],
        *,
        interval: float,
        age: float | None,
    ) -> None:
        self._cache = cache
        self._loads = loads
        self._room = room
        self._known = known
        self._interval = interval
        self._age = age
        self._waiting: set[asyncio.Timeout] = set()
        self._closed = False

    @property
    def handler(self) -> grpc.GenericRpcHandler:
        method: Any = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=message_class(REQUEST).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        return grpc.method_handlers_generic_handler(SERVICE, {ENDING: method})

    def close(self) -> None:
        """End every stream in an orderly way."""
        self._closed = True
        for timeout in self._waiting:
            timeout.reschedule(asyncio.get_running_loop().time())

    async def _serve(self, messages: AsyncIterator[Any], grpc_call: Any) -> None:
        async with self._room(grpc_call) as caller:
            loop = asyncio.get_running_loop()
            until = loop.time() + self._age if self._age is not None else None
            first = await self._next(messages, until)
            if first is None:
                return
            with (
                self._known(first, caller) as node,
                self._loads.told_by(node, plain(caller.address, MAX_ID)) as reporter,
            ):
                await self._converse(reporter, first, messages, grpc_call, until)

    async def _converse(
        self,
        reporter: Reporter,
        first: Any,
        messages: AsyncIterator[Any],
        grpc_call: Any,
        until: float | None,
    ) -> None:
        takes_all = ALL_CLUSTERS in first.node.client_features
        told, message = None, first
        while message is not None:
            self._loads.heard(reporter, map(_load, message.cluster_stats))
            wanted = self._wanted(reporter.node, takes_all=takes_all)
            if wanted != told:
                await grpc_call.write(wanted)
                told = wanted
            message = await self._next(messages, until)

    def _wanted(self, node: Node, *, takes_all: bool) -> Any:
        wanted: Any = message_class(RESPONSE)(send_all_clusters=takes_all)
        wanted.load_reporting_interval.FromNanoseconds(round(self._interval * NANOS))
        snapshot = None if takes_all else self._cache.snapshot_of(node)
        if snapshot is not None:
            wanted.clusters.extend(sorted(snapshot.of(CLUSTER).resources))
        return wanted

    async def _next(self, messages: AsyncIterator[Any], until: float | None) -> Any:
        """``None``: the stream is at its end, or is to end."""
        if self._closed:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until) as timeout:
                self._waiting.add(timeout)
                try:
                    return await anext(messages, None)
                finally:
                    self._waiting.discard(timeout)
        return None


def _load(stats: Any) -> ClusterLoad:
    reasons = stats.dropped_requests[:LOCALITIES]
    return ClusterLoad(
        cluster=plain(stats.cluster_name, MAX_ID),
        service=plain(stats.cluster_service_name, MAX_ID),
        interval=max(0.0, stats.load_report_interval.ToNanoseconds() / NANOS),
        localities=tuple(map(_locality, stats.upstream_locality_stats[:LOCALITIES])),
        dropped=stats.total_dropped_requests,
        reasons=tuple((plain(one.category, MAX_ID), one.dropped_count) for one in reasons),
    )


def _locality(stats: Any) -> LocalityLoad:
    place = stats.locality
    return LocalityLoad(
        region=plain(place.region, MAX_ID),
        zone=plain(place.zone, MAX_ID),
        sub_zone=plain(place.sub_zone, MAX_ID),
        priority=stats.priority,
        calls=Calls(
            successful=stats.total_successful_requests,
            error=stats.total_error_requests,
            in_progress=stats.total_requests_in_progress,
            issued=stats.total_issued_requests,
        ),
        metrics=tuple(_metrics(stats)),
    )


def _metrics(stats: Any) -> Iterator[tuple[str, int, float]]:
    for name in OWN_FIELDS:
        if stats.HasField(name):
            own = getattr(stats, name)
            yield name, own.num_requests_finished_with_metric, own.total_metric_value
    for one in stats.load_metric_stats[:METRICS]:
        name = plain(one.metric_name, MAX_ID)
        yield name, one.num_requests_finished_with_metric, one.total_metric_value
