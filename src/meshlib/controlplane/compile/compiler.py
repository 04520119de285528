"""Worlds → Snapshots, one after the other: what an edit does not touch stays the same object."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ... import model
from ..scope import Scope
from ..world import MeshSettings, World
from .clusters import black_hole, passthrough
from .gateways import edge_of
from .guarding import Filters, Guard
from .names import BLACK_HOLE
from .pieces import Piece, piece_of, same
from .servers import server_listeners
from .services import MeshService
from .sidecar import inbound_of, outbound_listeners
from .tables import port_table
from .telemetry import Tellings
from .view import View

MAX_SCOPES = 1000
"""Of how many it is remembered what was made for them."""

R = TypeVar("R", model.Listener, model.Cluster)
PortTable = tuple[tuple[model.VirtualHost, ...], model.RouteConfiguration]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What was made for a scope, by service and by port."""

    mesh: MeshSettings
    pieces: Mapping[str, Piece] = field(default_factory=dict)
    ports: Mapping[int, PortTable] = field(default_factory=dict)
    snapshot: model.Snapshot = model.Snapshot()
    filters: Filters = Filters()


class Compiler:
    """Remembers what it made. Every thread may use it: nothing that it holds is ever changed."""

    def __init__(self) -> None:
        self._made: dict[Scope, Compiled] = {}

    def snapshot_of(self, world: World, scope: Scope) -> model.Snapshot:
        """Everything that the scope sees, complete in itself.

        A route to a host or subset that does not exist answers 503, as in Istio: the
        findings say so, and no reference dangles.
        """
        view = View(world, scope)
        before = self._made.get(scope)
        if before is None or before.mesh != world.mesh_config:
            before = Compiled(world.mesh_config)
        pieces = {s.host: _piece(s, view, before) for s in view.services.values()}
        ports = _port_tables(pieces.values(), before)
        if len(self._made) >= MAX_SCOPES:
            self._made = {}
        tables = [table for _, table in ports.values()]
        guard = Guard(view, before.filters)
        snapshot = _gathered(view, guard, list(pieces.values()), tables, before.snapshot)
        self._made[scope] = Compiled(world.mesh_config, pieces, ports, snapshot, guard.found)
        return snapshot


def _piece(service: MeshService, view: View, before: Compiled) -> Piece:
    old = before.pieces.get(service.host)
    if old is not None and old.service is service and old.holds(view):
        return old
    made = piece_of(service, view)
    return made if old is None else made.keeping(old)


def _port_tables(pieces: Iterable[Piece], before: Compiled) -> dict[int, PortTable]:
    by_port: dict[int, list[model.VirtualHost]] = defaultdict(list)
    for piece in pieces:
        for number, host in piece.hosts:
            by_port[number].append(host)
    registry_only = before.mesh.outbound_traffic_policy == "REGISTRY_ONLY"
    made: dict[int, PortTable] = {}
    for number in sorted(by_port):
        hosts, old = tuple(by_port[number]), before.ports.get(number)
        if old is None or not same(old[0], hosts):
            old = hosts, port_table(number, hosts, registry_only=registry_only)
        made[number] = old
    return made


def _gathered(
    view: View,
    guard: Guard,
    pieces: list[Piece],
    port_tables: list[model.RouteConfiguration],
    before: model.Snapshot,
) -> model.Snapshot:
    tellings = Tellings(view)
    listeners: dict[str, model.Listener] = {}
    for piece in pieces:
        for listener in piece.listeners:
            listeners.setdefault(listener.name, listener)
    listeners.update((one.name, one) for one in server_listeners(view, guard, tellings))
    tables = [table for piece in pieces for table in piece.tables] + port_tables
    clusters = [passthrough(view.mesh)]
    clusters += [cluster for piece in pieces for cluster in piece.clusters]
    edge = _edge(view, guard)
    led = {name for _, table in edge for _, name in model.referenced_clusters(table)}
    if BLACK_HOLE in led.union(*(piece.asked for piece in pieces)):
        clusters.append(black_hole())
    for listener, table in edge:
        listeners[listener.name] = listener
        tables.append(table)
    for listener, cluster in () if edge else _sidecar(view, guard, tables):
        listeners[listener.name] = listener
        clusters += cluster
    return model.gather(
        listeners=[_kept(tellings.told(one), before.listeners) for one in listeners.values()],
        routes=tables,
        clusters=[_kept(cluster, before.clusters) for cluster in clusters],
        endpoints=[one for piece in pieces for one in piece.endpoints],
    )


def _kept(made: R, before: Mapping[str, R]) -> R:
    """The one from before, if it is no different."""
    old = before.get(made.name)
    return old if old is not None and old == made else made


def _edge(view: View, guard: Guard) -> list[tuple[model.Listener, model.RouteConfiguration]]:
    """What is no sidecar but a gateway has, and nothing else."""
    return [] if view.scope.sidecar is None else list(edge_of(view, guard, view.scope.sidecar))


def _sidecar(
    view: View, guard: Guard, tables: list[model.RouteConfiguration]
) -> Iterator[tuple[model.Listener, tuple[model.Cluster, ...]]]:
    sidecar = view.scope.sidecar
    if sidecar is None:
        return
    by_name = {table.name: table for table in tables}
    for listener in outbound_listeners(view, sidecar, by_name):
        yield listener, ()
    for listener, cluster in inbound_of(view, guard, sidecar):
        yield listener, (cluster,)
