"""``meshlib explain``: what the mesh would do with a request, and why. Nothing is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._config import load, locality_option, scope_of
from ._output import console, example, output_option, print_json, print_table

if TYPE_CHECKING:
    from ..controlplane import World
    from ..dataplane import Decision, Request
    from ..model import Locality, RetryPolicy, Snapshot


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
        print_json(decision.to_dict())
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
    if decision.trace:
        rows = [
            (
                str(number),
                tried.source,
                tried.rule,
                f"{tried.outcome}: {tried.reason}" if tried.reason else tried.outcome,
            )
            for number, tried in enumerate(decision.trace, 1)
        ]
        print_table(("#", "SOURCE", "RULE", "OUTCOME"), rows)
    out = console()
    for name, text in _facts(decision, snapshot, request):
        out.print(f"{name:<12}{text}", soft_wrap=True)
    hosts = sorted({name for name in snapshot.listeners if name.count(".") == 0})
    if request.target not in snapshot.listeners:
        known = ", ".join(hosts) or "none"
        out.print(f"{request.target} is not of the mesh. Known: {known}", soft_wrap=True)


def _facts(
    decision: "Decision", snapshot: "Snapshot", request: "Request"
) -> Iterator[tuple[str, str]]:
    if decision.error:
        yield "error", decision.error
    if decision.virtual_host:
        yield "host", decision.virtual_host
    if decision.response is not None:
        answer = decision.response
        yield "response", f"{answer.status} {answer.body}".strip()
        for name, value in answer.headers:
            yield "", f"{name}: {value}"
        return
    total = sum(choice.weight for choice in decision.clusters) or 1
    for choice in decision.clusters:
        share = f"  {100 * choice.weight / total:g} %" if len(decision.clusters) > 1 else ""
        source = _source(snapshot, choice.cluster)
        yield "cluster", f"{choice.cluster}{share}{source}"
        yield "endpoints", ", ".join(_endpoints(snapshot, choice.cluster)) or "none"
    if decision.cluster and not decision.clusters:
        yield "cluster", f"{decision.cluster} (sent as it is, by DNS)"
    if decision.cluster:
        limit = "none" if decision.timeout is None else f"{decision.timeout:g} s"
        yield "policy", f"timeout {limit}  retries {_retries(decision.retry_policy)}"
    if decision.path != request.path:
        yield "path", decision.path
    if decision.authority != (request.authority or request.target):
        yield "authority", decision.authority
    for name, value in decision.request_headers:
        if (name, value) not in request.headers:
            yield "header", f"{name}: {value}"
    yield from _beside(decision)


def _beside(decision: "Decision") -> Iterator[tuple[str, str]]:
    """What else happens to such a call, and to its answer."""
    if decision.filters:
        yield "filters", ", ".join(name.rpartition(".")[2] for name in decision.filters)
    for copy in decision.mirrors:
        yield "copy", f"{copy.cluster}  {100 * copy.share:g} %"
    for name, value in decision.response_headers:
        yield "answer", f"{name}: {value}"


def _source(snapshot: "Snapshot", name: str) -> str:
    cluster = snapshot.clusters.get(name)
    source = cluster.metadata.source if cluster is not None else ""
    return f"  ({source})" if source else ""


def _retries(policy: "RetryPolicy | None") -> str:
    if policy is None or not policy.num_retries:
        return "none"
    each = f", {policy.per_try_timeout:g} s each" if policy.per_try_timeout else ""
    return f"{policy.num_retries} on {','.join(policy.retry_on) or 'nothing'}{each}"


def _endpoints(snapshot: "Snapshot", name: str) -> Iterator[str]:
    from ..model import LogicalDns, Static, StrictDns

    cluster = snapshot.clusters.get(name)
    if cluster is None:
        return
    match cluster.discovery:
        case Static(assignment) | StrictDns(assignment) | LogicalDns(assignment):
            found = assignment
        case _:
            eds = snapshot.endpoints.get(cluster.load_assignment_name or "")
            if eds is None:
                return
            found = eds
    for group in found.endpoints:
        for endpoint in group.lb_endpoints:
            weight = endpoint.load_balancing_weight
            health = endpoint.health_status.value.lower()
            marks = [f"w{weight}"] * (weight != 1) + [health] * (health != "unknown")
            yield " ".join([str(endpoint.address), *marks])
