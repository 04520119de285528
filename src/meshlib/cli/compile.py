"""``meshlib compile``: the xDS resources that the manifests become."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._config import load, locality_option, scope_of
from ._output import console, example, output_option, print_json, print_table

if TYPE_CHECKING:
    from ..model import Locality, Snapshot

ROOMS = {"lds": "listeners", "rds": "routes", "cds": "clusters", "eds": "endpoints"}


def _types(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    chosen = tuple(part.strip().lower() for part in value.split(",")) if value else tuple(ROOMS)
    unknown = [one for one in chosen if one not in ROOMS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: choose among {', '.join(ROOMS)}")
    return chosen


@click.command("compile", epilog=example("meshlib compile mesh/ --service reviews --type rds,cds"))
@click.argument("config", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--service", metavar="NAME", help="Only what calls to this service meet.")
@click.option("--type", "types", callback=_types, metavar="lds,rds,cds,eds", help="Only these.")
@click.option("--from", "source", metavar="SERVICE", help="As this service sees the mesh.")
@locality_option
@output_option("json")
def compile_(
    config: Path,
    service: str | None,
    types: tuple[str, ...],
    source: str | None,
    locality: "Locality",
    output: str,
) -> None:
    """Print the xDS resources that manifests become, as proto-JSON."""
    from ..controlplane import compile_snapshot
    from ..xds.codec import encode_json

    world = load(config)
    snapshot = compile_snapshot(world, scope_of(world, source, locality))
    chosen = _of_service(snapshot, service) if service else snapshot
    rooms = {kind: getattr(chosen, ROOMS[kind]) for kind in types}
    if output == "json":
        print_json([encode_json(one) for room in rooms.values() for one in room.values()])
    else:
        _show(rooms)
    if service and not chosen.listeners:
        known = sorted({name.partition(":")[0] for name in snapshot.listeners})
        click.echo(f"no service {service!r}; there are: {', '.join(known) or 'none'}", err=True)
        raise SystemExit(1)


def _of_service(snapshot: "Snapshot", service: str) -> "Snapshot":
    """What a call to the service may meet: its listeners, and all that they lead to."""
    from ..model import gather, referenced_clusters

    listeners = [
        one
        for one in snapshot.listeners.values()
        if service in (host := one.name.partition(":")[0], host.partition(".")[0])
    ]
    hosts = {listener.name.partition(":")[0] for listener in listeners}
    named = {listener.route_config_name for listener in listeners}
    routes = [table for name, table in snapshot.routes.items() if name in named]
    used = {name for table in routes for _, name in referenced_clusters(table)}
    clusters = [
        one
        for name, one in snapshot.clusters.items()
        if name in used or name.rpartition("|")[2] in hosts
    ]
    wanted = {cluster.load_assignment_name for cluster in clusters}
    endpoints = [one for name, one in snapshot.endpoints.items() if name in wanted]
    return gather(listeners=listeners, routes=routes, clusters=clusters, endpoints=endpoints)


def _show(rooms: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        (kind.upper(), name, one.metadata.source if hasattr(one, "metadata") else "")
        for kind, room in rooms.items()
        for name, one in room.items()
    ]
    if rows:
        print_table(("TYPE", "NAME", "SOURCE"), rows)
    else:
        console().print("nothing to serve. Next: meshlib analyze DIR")
