"""What a VirtualService's route does with a request → Envoy's actions."""

from dataclasses import replace

from ... import model
from ..manifests.manifest import Manifest
from ..manifests.retry_on import conditions_and_statuses
from ..manifests.virtual_service import (
    Destination,
    HTTPRedirect,
    HTTPRetry,
    HTTPRoute,
    HTTPRouteDestination,
    VirtualService,
)
from .headers import authority_of, mutations
from .names import BLACK_HOLE, cluster_name, full_host
from .view import View

NO_LIMIT = 0.0
NO_DESTINATION = model.DirectResponseAction(status=503)

DEFAULT_RETRY_ON = ("connect-failure", "refused-stream")
"""Istio's list is longer; nothing that may have been worked on is retried unasked."""

ASKED_RETRY_ON = (*DEFAULT_RETRY_ON, "unavailable", "cancelled")
"""Istio's list, for those who ask for retries and do not say on what."""


def action_of(
    route: HTTPRoute, view: View, manifest: Manifest[VirtualService], port: int
) -> model.Action:
    if route.redirect is not None:
        return _redirect(route.redirect)
    if route.direct_response is not None:
        body = route.direct_response.body
        return model.DirectResponseAction(
            status=route.direct_response.status, body=body.content if body else b""
        )

    def cluster(choice: HTTPRouteDestination) -> str | None:
        return destination_cluster(choice.destination, view, manifest.namespace, port)

    if len(route.route) == 1:
        only = cluster(route.route[0])
        if only is None:
            return NO_DESTINATION
        return _rewritten(route, forward(only, route.retries, route.timeout))
    shares = tuple(
        model.ClusterWeight(
            name=cluster(choice) or BLACK_HOLE,
            weight=choice.weight,
            headers=mutations(choice.headers),
        )
        for choice in route.route
        if choice.weight
    )
    weighted = model.WeightedClusters(clusters=shares)
    return _rewritten(route, forward(weighted, route.retries, route.timeout))


def headers_of(route: HTTPRoute) -> model.HeaderMutations:
    """With one destination only, what it says about headers holds for the route."""
    if len(route.route) == 1:
        return mutations(route.route[0].headers, route.headers)
    return mutations(route.headers)


def destination_cluster(
    destination: Destination, view: View, namespace: str, listener_port: int
) -> str | None:
    """The cluster's name, or ``None`` where host, port or subset do not exist."""
    service = view.services.get(full_host(destination.host, namespace))
    if service is None or not service.is_known:
        return None
    number = destination.port.number if destination.port else None
    port = service.destination_port(number, listener_port)
    if port is None:
        return None
    rule = view.rule_for(service)
    if destination.subset and (rule is None or destination.subset not in rule.subsets):
        return None
    return cluster_name(service.host, port.number, destination.subset)


def _rewritten(route: HTTPRoute, action: model.RouteAction) -> model.RouteAction:
    levels = [route.headers]
    if len(route.route) == 1:
        levels.insert(0, route.route[0].headers)
    rewrite = route.rewrite
    return replace(
        action,
        prefix_rewrite=rewrite.uri if rewrite else "",
        host_rewrite_literal=(rewrite.authority if rewrite else "") or authority_of(*levels),
    )


def _redirect(redirect: HTTPRedirect) -> model.RedirectAction:
    return model.RedirectAction(
        host_redirect=redirect.authority,
        path_redirect=redirect.uri,
        scheme_redirect=redirect.scheme,
        port_redirect=redirect.port or 0,
        response_code=redirect.redirect_code,
    )


def forward(
    cluster: str | model.WeightedClusters,
    retries: HTTPRetry | None = None,
    timeout: float | None = None,
) -> model.RouteAction:
    limit = (
        model.MaxStreamDuration(max_stream_duration=timeout, grpc_timeout_header_max=timeout)
        if timeout
        else None
    )
    return model.RouteAction(
        cluster=cluster,
        timeout=timeout or NO_LIMIT,
        max_stream_duration=limit,
        retry_policy=retry_policy(retries),
    )


def retry_policy(retries: HTTPRetry | None) -> model.RetryPolicy | None:
    if retries is None:
        retries = HTTPRetry(attempts=2, retry_on=",".join(DEFAULT_RETRY_ON))
    if not retries.attempts:
        return None
    conditions, statuses = conditions_and_statuses(retries.retry_on)
    back_off = model.RetryBackOff(base_interval=retries.backoff) if retries.backoff else None
    return model.RetryPolicy(
        retry_on=conditions or ASKED_RETRY_ON,
        num_retries=retries.attempts,
        per_try_timeout=retries.per_try_timeout or None,
        retriable_status_codes=statuses,
        retry_back_off=back_off or model.RetryBackOff(),
        previous_hosts=retries.retry_ignore_previous_hosts,
        host_selection_retry_max_attempts=5,
    )
