"""``meshlib explain``: what the mesh would do with a request, and why. Nothing is sent."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import _told
from ._config import load, locality_option, scope_of
from ._output import console, example, output_option, print_json, print_table

if TYPE_CHECKING:
    from ..controlplane import World
    from ..dataplane import Decision, Request
    from ..model import Locality, Snapshot


def _headers(
    ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    pairs = [text.partition(":") for text in value]
    for (name, colon, _), text in zip(pairs, value, strict=True):
        if not colon or not name.strip():
            raise click.BadParameter(f"{text!r} is not name:value")
    return {name.strip().lower(): content.strip() for name, _, content in pairs}


def _url(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    from ..mesh import request_for

    try:
        request_for("GET", value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.command(
    epilog=example(
        "meshlib explain GET http://reviews:9080/1 -H end-user:jason --config mesh/",
        "meshlib explain POST grpc://reviews:9080/Reviews/Get --config mesh/ --from productpage",
    )
)
@click.argument("method")
@click.argument("url", callback=_url)
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="k:v",
    callback=_headers,
    help="May be given several times.",
)
@click.option(
    "--config",
    required=True,
    envvar="MESHLIB_CONFIG",
    metavar="DIR",
    type=click.Path(exists=True, path_type=Path),
    help="The manifests; else MESHLIB_CONFIG.",
)
@click.option("--from", "source", metavar="SERVICE", help="Who calls: name or namespace/name.")
@locality_option
@output_option()
def explain(
    method: str,
    url: str,
    headers: dict[str, str],
    config: Path,
    source: str | None,
    locality: "Locality",
    output: str,
) -> None:
    """Say which rule a request meets, and what would happen to it."""
    from ..controlplane import compile_snapshot
    from ..mesh import request_for

    world = load(config)
    snapshot = compile_snapshot(world, scope_of(world, source, locality))
    request = request_for(method, url, headers)
    decision = _decided(world, snapshot, request, locality)
    if output == "json":
        listener = snapshot.listeners.get(request.target)
        told = {} if listener is None else {"telemetry": _told.facts_of(listener)}
        print_json(decision.to_dict() | told)
    else:
        _show(decision, snapshot, request)
    raise SystemExit(1 if decision.error else 0)


def _decided(
    world: "World", snapshot: "Snapshot", request: "Request", locality: "Locality"
) -> "Decision":
    from ..dataplane import Engine, Options, decide
    from ..xds.regex import finditer, fullmatch

    passthrough = world.mesh_config.outbound_traffic_policy != "REGISTRY_ONLY"
    engine = Engine(
        clock=lambda: 0.0,
        dice=lambda: 0.0,  # the first of weighted clusters; all of them are shown
        options=Options(
            complete=True,
            passthrough=passthrough,
            regex=fullmatch,
            finditer=finditer,
            locality=locality,
        ),
    )
    engine.apply(snapshot)
    return decide(engine, request)


def _show(decision: "Decision", snapshot: "Snapshot", request: "Request") -> None:
    from ..mesh.explained import facts_of, rules_of

    if decision.trace:
        print_table(("#", "SOURCE", "RULE", "OUTCOME"), list(rules_of(decision)))
    out = console()
    listener = snapshot.listeners.get(request.target)
    told = () if listener is None else _told.lines_of(listener)
    for name, text in (*facts_of(decision, snapshot, request), *told):
        out.print(f"{name:<12}{text}", soft_wrap=True)
    hosts = sorted({name for name in snapshot.listeners if name.count(".") == 0})
    if request.target not in snapshot.listeners:
        known = ", ".join(hosts) or "none"
        out.print(f"{request.target} is not of the mesh. Known: {known}", soft_wrap=True)
