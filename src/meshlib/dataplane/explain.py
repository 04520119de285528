"""A dry run by the real tables: what would happen to a request, and why."""

from dataclasses import replace

from ..model import HealthStatus
from .decision import Choice, Decision, LocalResponse, RuleTried
from .engine import Engine
from .filters.router import local_answer
from .message import Failure, Request
from .routing.matchers import path_of
from .routing.table import Destination, LiveHost, LiveRoute


def decide(engine: Engine, request: Request) -> Decision:
    """Route a request and say so, without sending it. Rolls the dice once for weights."""
    listener = engine.listeners.get(request.target)
    if listener is None:
        return _unlisted(engine, request)
    host = listener.router.table.host(request)
    if host is None:
        error = f"no virtual host for {request.authority or request.target!r}"
        return _untouched(request, error=error)
    trace, route = _walk(host, request)
    found = replace(_untouched(request), virtual_host=host.name, trace=trace)
    if route is None:
        return replace(found, error="no route matches")
    found = replace(found, route=route.config.name, route_metadata=route.config.metadata)
    chosen = route.choose(engine.around.dice)
    if chosen is None:
        return replace(found, response=_local(route, request))
    return _forwarded(found, route, request, chosen)


def _walk(host: LiveHost, request: Request) -> tuple[tuple[RuleTried, ...], LiveRoute | None]:
    found: LiveRoute | None = None
    trace = []
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
    found: Decision, route: LiveRoute, request: Request, chosen: Destination
) -> Decision:
    sent = chosen.rewrite(request) if chosen.rewrite is not None else request
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
        timeout=route.timeout(request),
        retry_policy=route.retry.policy if route.retry is not None else None,
        error="" if cluster is not None else f"no cluster {chosen.name!r}",
    )


def _local(route: LiveRoute, request: Request) -> LocalResponse | None:
    answer = local_answer(route, request)
    if isinstance(answer, Failure):
        return None
    return LocalResponse(
        status=answer.status,
        headers=answer.headers,
        body=answer.body.decode("utf-8", "replace"),
    )


def _unlisted(engine: Engine, request: Request) -> Decision:
    if not engine.is_foreign(request.target):
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
