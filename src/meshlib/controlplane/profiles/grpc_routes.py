"""Route tables as stock gRPC clients take them."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import replace

from ...model import (
    NO_MUTATIONS,
    Action,
    ClusterHeader,
    HashCookie,
    HashQueryParameter,
    HashSourceIp,
    HeaderMutations,
    NonForwardingAction,
    PathRegex,
    PathSeparatedPrefix,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedClusters,
)
from .downgrade import Downgrade, Report, report_ignored
from .grpc_filters import grpc_overrides

RETRY_WORDS = {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
"""What a gRPC client tries again for (gRFC A44); of other words it takes no notice."""


def grpc_table(
    table: RouteConfiguration, gone: AbstractSet[str], report: Report
) -> RouteConfiguration:
    where = f"routes/{table.name}"
    facts = (
        ("header changes", table.headers != NO_MUTATIONS),
        ("request_mirror_policies", table.request_mirror_policies),
    )
    report_ignored(where, facts, "gRPC", report)
    hosts = tuple(
        _host(host, f"{where}: virtual_hosts[{host.name}]", gone, report)
        for host in table.virtual_hosts
    )
    overrides = grpc_overrides(table.overrides, where, report)
    return replace(table, virtual_hosts=hosts, overrides=overrides)


def _host(host: VirtualHost, where: str, gone: AbstractSet[str], report: Report) -> VirtualHost:
    facts = (
        ("header changes", host.headers != NO_MUTATIONS),
        ("request_mirror_policies", host.request_mirror_policies),
        ("hedge_policy", host.hedge_policy),
        ("rate_limits", host.rate_limits),
        ("require_tls", host.require_tls != "none"),
        *_ignored_of_retries(host.retry_policy),
    )
    report_ignored(where, facts, "gRPC", report)
    routes = (
        _route(route, where, report)
        for route in host.routes
        if _is_understood(route, where, report) and not _leads_to(route, gone, where, report)
    )
    overrides = grpc_overrides(host.overrides, where, report)
    return replace(host, routes=tuple(routes), overrides=overrides)


def _is_understood(route: Route, where: str, report: Report) -> bool:
    """A condition that is not looked at would let the route match too much."""
    reason = ""
    if route.match.query_parameters:
        reason = "query parameters"
    elif route.match.dynamic_metadata:
        reason = "dynamic metadata"
    elif isinstance(route.action, RouteAction) and isinstance(route.action.cluster, ClusterHeader):
        reason = "a cluster that a header names"
    if reason:
        report(Downgrade(where, f"a route with {reason} is left out for gRPC clients"))
    return not reason


def _leads_to(route: Route, gone: AbstractSet[str], where: str, report: Report) -> bool:
    if not isinstance(route.action, RouteAction):
        return False
    match route.action.cluster:
        case WeightedClusters(clusters=choices):
            named = {choice.name for choice in choices} & gone
        case ClusterHeader():
            named = set()
        case str() as name:
            named = {name} & gone
    for name in sorted(named):
        report(Downgrade(where, f"no route to {name} for gRPC clients"))
    return bool(named)


def _route(route: Route, where: str, report: Report) -> Route:
    report_ignored(where, _ignored_of_route(route), "gRPC", report)
    overrides = grpc_overrides(route.overrides, where, report)
    route = replace(route, action=_action(route.action, where, report), overrides=overrides)
    match route.match.path:
        case PathSeparatedPrefix(prefix):
            report(Downgrade(where, f"prefix {prefix!r} is a regex for gRPC clients"))
            return replace(route, match=_by_regex(route.match, prefix))
        case _:
            return route


def _action(action: Action, where: str, report: Report) -> Action:
    if not isinstance(action, RouteAction):
        return action
    if not isinstance(action.cluster, WeightedClusters):
        return action
    weights = tuple(
        replace(choice, overrides=grpc_overrides(choice.overrides, where, report))
        for choice in action.cluster.clusters
    )
    return replace(action, cluster=replace(action.cluster, clusters=weights))


def _ignored_of_route(route: Route) -> list[tuple[str, object]]:
    action = route.action
    facts: list[tuple[str, object]] = [("header changes", _changes(route) != [])]
    if not isinstance(action, RouteAction):
        return [] if isinstance(action, NonForwardingAction) else [*facts, ("its answer", True)]
    hashed_by = (HashCookie, HashSourceIp, HashQueryParameter)
    return [
        *facts,
        ("timeout", action.timeout and action.max_stream_duration is None),
        ("rewrites", action.prefix_rewrite or action.regex_rewrite or _rewrites_host(action)),
        ("hash_policy", any(isinstance(policy, hashed_by) for policy in action.hash_policy)),
        ("request_mirror_policies", action.request_mirror_policies),
        ("hedge_policy", action.hedge_policy),
        ("rate_limits", action.rate_limits),
        ("priority", action.priority != "default"),
        ("how weights are rolled", _is_rolled_oddly(action)),
        *_ignored_of_retries(action.retry_policy),
    ]


def _changes(route: Route) -> list[HeaderMutations]:
    levels = [route.headers]
    if isinstance(route.action, RouteAction) and isinstance(route.action.cluster, WeightedClusters):
        levels += [choice.headers for choice in route.action.cluster.clusters]
    return [level for level in levels if level != NO_MUTATIONS]


def _rewrites_host(action: RouteAction) -> bool:
    return bool(
        action.host_rewrite_literal or action.host_rewrite_header or action.host_rewrite_path_regex
    )


def _is_rolled_oddly(action: RouteAction) -> bool:
    choices = action.cluster
    return isinstance(choices, WeightedClusters) and bool(
        choices.header_name or choices.use_hash_policy
    )


def _ignored_of_retries(policy: RetryPolicy | None) -> list[tuple[str, object]]:
    if policy is None:
        return []
    return [
        ("retry_policy", policy.retry_on and RETRY_WORDS.isdisjoint(policy.retry_on)),
        ("per_try_timeout", policy.per_try_timeout or policy.per_try_idle_timeout),
        ("retriable_headers", policy.retriable_headers),
        ("retriable_request_headers", policy.retriable_request_headers),
        ("rate_limited_retry_back_off", policy.rate_limited_retry_back_off),
    ]


def _by_regex(match: RouteMatch, prefix: str) -> RouteMatch:
    flags = "" if match.case_sensitive else "(?i)"  # case_sensitive does not reach a regex
    pattern = f"{flags}{re.escape(prefix)}(/.*)?"
    return replace(match, path=PathRegex(pattern), case_sensitive=True)
