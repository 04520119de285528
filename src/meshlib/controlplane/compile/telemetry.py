"""Telemetries and the MeshConfig → what listeners tell of their calls.

The mesh's own Telemetry speaks first, then that of the namespace, then that of the workload; the
later has the last word, as Istio merges them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from ... import model
from ...model.listener import ACCESS_LOG, DISABLED
from ...model.metadata import noted
from ...model.telemetry import AccessLog, Stats, Tracing
from ..manifests.manifest import Manifest
from ..manifests.telemetry import Telemetry
from .inbound import is_inbound
from .telemetry_logs import access_logs, are_off
from .telemetry_metrics import stats_of
from .telemetry_traces import tracing_of
from .view import View

Side = Literal["CLIENT", "SERVER"]
STATS = "istio.stats"


@dataclass(frozen=True, slots=True)
class Telling:
    """What the listeners of one side tell, and to whom."""

    access_log: tuple[AccessLog, ...] = ()
    tracing: Tracing | None = None
    stats: Stats | None = None
    logs_off: bool = False

    def of(self, listener: model.Listener) -> model.Listener:
        http = listener.http
        filters = http.http_filters
        if self.stats is not None:
            counted = model.HttpFilter(name=STATS, config=self.stats)
            filters = (*filters[:-1], counted, *filters[-1:])  # the router stays the last
        http = replace(http, http_filters=filters, access_log=self.access_log, tracing=self.tracing)
        metadata = listener.metadata
        if self.logs_off:
            metadata = noted(metadata, ACCESS_LOG, DISABLED)
        return replace(listener, http=http, metadata=metadata)


NOTHING = Telling()


@dataclass(frozen=True)
class Tellings:
    """Of the member that the view is of."""

    view: View

    @cached_property
    def client(self) -> Telling:
        return self._of("CLIENT")

    @cached_property
    def server(self) -> Telling:
        return self._of("SERVER")

    def told(self, listener: model.Listener) -> model.Listener:
        """With what it has to tell, as a listener of its side. A gateway is a client here."""
        telling = self.server if is_inbound(listener) else self.client
        return listener if telling == NOTHING else telling.of(listener)

    @cached_property
    def _applicable(self) -> tuple[Manifest[Telemetry], ...]:
        return tuple(applicable(self.view))

    def _of(self, side: Side) -> Telling:
        said = [manifest.spec for manifest in self._applicable]
        logs = access_logs(self.view, said, side)
        return Telling(
            access_log=logs,
            logs_off=not logs and are_off(said, side),
            tracing=tracing_of(self.view, [one for spec in said for one in spec.tracing], side),
            stats=stats_of(self.view.mesh, [one for spec in said for one in spec.metrics], side),
        )


def applicable(view: View) -> Iterator[Manifest[Telemetry]]:
    """At most one of each level: the first, as Istio has the oldest."""
    scope, root = view.scope, view.mesh.root_namespace
    said = [one for one in view.world.telemetries if not one.spec.is_for_waypoints]
    wide = [one for one in said if not one.spec.labels]
    yield from _first(one for one in wide if one.namespace == root)
    if scope.namespace != root:
        yield from _first(one for one in wide if one.namespace == scope.namespace)
    yield from _first(
        one
        for one in said
        if one.spec.labels and one.namespace == scope.namespace and scope.carries(one.spec.labels)
    )


def _first(found: Iterable[Manifest[Telemetry]]) -> Iterator[Manifest[Telemetry]]:
    for one in found:
        yield one
        return
