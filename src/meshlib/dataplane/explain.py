"""A dry run by the real tables: what would happen to a request, and why."""

from dataclasses import replace

from ..model import HealthStatus
from .decision import Choice, Copy, Decision, LocalResponse, RuleTried
from .engine import Engine
from .events import CallRecord
from .message import Failure, Request, Response
from .routing.matchers import path_of
from .routing.table import Destination, LiveHost, LiveRoute


def decide(engine: Engine, request: Request) -> Decision:
    """Route a request and say so, without sending it. Rolls the dice as a call would."""
    listener = engine.listener(request.target)
    if listener is None:
        return _unlisted(engine, request)
    tidied = listener.tidy(request)
    if isinstance(tidied, Response):
        return replace(_untouched(request), response=_shown(tidied))
    request = tidied
    table = listener.router.table
    host = table.host(request)
    if host is None:
        error = f"no virtual host for {request.authority or request.target!r}"
        return _untouched(request, error=error)
    record = CallRecord(request, engine.around.clock(), config_version=engine.around.version)
    table.roll()
    trace, route = _walk(host, request)
    found = replace(_untouched(request), virtual_host=host.name, trace=trace)
    if route is None:
        return replace(found, error="no route matches")
    record.route = route
    found = replace(
        found,
        route=route.config.name,
        route_metadata=route.config.metadata,
        virtual_cluster=route.virtual_cluster(request),
    )
    chosen = record.destination = route.choose(engine.around.dice, request, record)
    if chosen is None:
        local = _local(route, request, record)
        return replace(found, response=local, filters=route.filter_names)
    return _forwarded(found, route, record, chosen)


def _walk(host: LiveHost, request: Request) -> tuple[tuple[RuleTried, ...], LiveRoute | None]:
    found = host.to_https if host.wants_tls(request) else None
    trace = [] if found is None else [_tried(found, "matched", "")]
    path = path_of(request.path)
    for route in host.routes:
        if found is not None:
            trace.append(_tried(route, "not reached", ""))
            continue
        reason = "path does not match" if not route.matches_path(path) else route.mismatch(request)
        if reason is None:
            found = route
            trace.append(_tried(route, "matched", ""))
        else:
            trace.append(_tried(route, "skipped", reason))
    return tuple(trace), found


def _tried(route: LiveRoute, outcome: str, reason: str) -> RuleTried:
    return RuleTried(source=route.source, rule=route.rule, outcome=outcome, reason=reason)


def _forwarded(
    found: Decision, route: LiveRoute, record: CallRecord, chosen: Destination
) -> Decision:
    request, record.cluster = record.request, chosen.cluster
    sent = chosen.rewrite(request, record) if chosen.rewrite is not None else request
    # Here a cookie may be made, which tells by ``respond``.
    key = route.hash_key(request, record)
    added = chosen.respond(sent, record, ()) if chosen.respond is not None else ()
    cluster = chosen.cluster
    endpoints = cluster.balance.endpoints.values() if cluster is not None else ()
    return replace(
        found,
        cluster=chosen.name,
        clusters=tuple(Choice(cluster=d.name, weight=d.weight) for d in route.destinations),
        endpoints=tuple(
            e.key if e.usable else f"{e.key} ({HealthStatus(e.config.health_status)})"
            for e in endpoints
        ),
        path=sent.path,
        authority=sent.authority or sent.target,
        request_headers=sent.headers,
        response_headers=record.respond(added) if record.respond is not None else added,
        timeout=route.timeout(request),
        retry_policy=route.retry.policy if route.retry is not None else None,
        mirrors=tuple(Copy(cluster=m.name, share=m.share) for m in route.mirrors),
        filters=chosen.filter_names,
        hash_key=key,
        error="" if cluster is not None else f"no cluster {chosen.name!r}",
    )


def _local(route: LiveRoute, request: Request, record: CallRecord) -> LocalResponse | None:
    answer = route.answer(request, record)
    return None if isinstance(answer, Failure) else _shown(answer)


def _shown(answer: Response) -> LocalResponse:
    return LocalResponse(
        status=answer.status,
        headers=answer.headers,
        body=answer.body.decode("utf-8", "replace"),
    )


def _unlisted(engine: Engine, request: Request) -> Decision:
    if not engine.is_foreign(request.target) and not engine.goes_direct:
        return _untouched(request, error=f"no configuration for {request.target!r} yet")
    if engine.options.passthrough:
        return replace(_untouched(request), cluster="PassthroughCluster")
    return replace(
        _untouched(request, error=f"{request.target!r} is not of the mesh (REGISTRY_ONLY)"),
        cluster="BlackHoleCluster",
    )


def _untouched(request: Request, *, error: str = "") -> Decision:
    return Decision(
        path=request.path,
        authority=request.authority or request.target,
        request_headers=request.headers,
        error=error,
    )
