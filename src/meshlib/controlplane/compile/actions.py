"""What a VirtualService's rule does with a request → Envoy's actions."""

from collections.abc import Iterator

from ... import model
from ..manifests.http_policies import Percentage
from ..manifests.virtual_service import (
    PREFIX,
    Destination,
    HTTPRedirect,
    HTTPRoute,
    HTTPRouteDestination,
)
from .balancing import hash_policies
from .delegates import HttpRule
from .filters import percentage
from .headers import authority_of, mutations
from .names import BLACK_HOLE, cluster_name, full_host
from .policies import ClusterPolicy, policy_of
from .retries import retry_policy
from .services import MeshPort, MeshService
from .view import View

NO_LIMIT = 0.0
NO_DESTINATION = model.DirectResponseAction(status=503)
DEFAULT_PORTS = {"http": 80, "https": 443}


def action_of(rule: HttpRule, view: View, port: int) -> model.Action:
    route = rule.route
    if route.redirect is not None:
        return _redirect(route.redirect, port)
    if route.direct_response is not None:
        body = route.direct_response.body
        return model.DirectResponseAction(
            status=route.direct_response.status, body=body.content if body else b""
        )
    return _Forwarding(rule, view, port).action()


def headers_of(route: HTTPRoute) -> model.HeaderMutations:
    """With one destination only, what it says about headers holds for the route."""
    if len(route.route) == 1:
        return mutations(route.route[0].headers, route.headers)
    return mutations(route.headers)


def found(
    destination: Destination, view: View, namespace: str, listener_port: int
) -> tuple[MeshService, MeshPort] | None:
    """Service and port; ``None`` where host, port or subset do not exist."""
    service = view.service(full_host(destination.host, namespace))
    if service is None or not service.is_known:
        return None
    number = destination.port.number if destination.port else None
    port = service.destination_port(number, listener_port)
    if port is None:
        return None
    rule = view.rule_for(service)
    if destination.subset and (rule is None or destination.subset not in rule.subsets):
        return None
    return service, port


def default_action(service: MeshService, port: MeshPort, view: View) -> model.RouteAction:
    """Of a host that no VirtualService speaks of."""
    policy = policy_of(view.rule_for(service), port.number, "", view.mesh)
    hashes = hash_policies([policy])
    return model.RouteAction(
        cluster=cluster_name(service.host, port.number),
        timeout=NO_LIMIT,
        retry_policy=retry_policy(None, view.mesh.default_http_retry_policy, sticky=bool(hashes)),
        hash_policy=hashes,
    )


class _Forwarding:
    """One rule that forwards, as seen by one scope on one port."""

    def __init__(self, rule: HttpRule, view: View, port: int) -> None:
        self._route = rule.route
        self._namespace = rule.namespace
        self._view = view
        self._port = port

    def action(self) -> model.Action:
        route = self._route
        cluster = self._cluster(route.route)
        if cluster is None:
            return NO_DESTINATION
        hashes = hash_policies(self._policies())
        timeout = route.timeout
        rewrite = route.rewrite
        regex = rewrite.uri_regex_rewrite if rewrite else None
        return model.RouteAction(
            cluster=cluster,
            timeout=timeout or NO_LIMIT,
            max_stream_duration=model.MaxStreamDuration(
                max_stream_duration=timeout, grpc_timeout_header_max=timeout
            )
            if timeout
            else None,
            retry_policy=retry_policy(
                route.retries, self._view.mesh.default_http_retry_policy, sticky=bool(hashes)
            ),
            prefix_rewrite=rewrite.uri if rewrite else "",
            regex_rewrite=model.RegexRewrite(pattern=regex.match, substitution=regex.rewrite)
            if regex
            else None,
            host_rewrite_literal=self._authority(),
            hash_policy=hashes,
            request_mirror_policies=tuple(self._mirrors()),
        )

    def _cluster(
        self, choices: tuple[HTTPRouteDestination, ...]
    ) -> str | model.WeightedClusters | None:
        if len(choices) == 1:
            return self._name(choices[0].destination)
        shares = tuple(
            model.ClusterWeight(
                name=self._name(choice.destination) or BLACK_HOLE,
                weight=choice.weight,
                headers=mutations(choice.headers),
                host_rewrite_literal=authority_of(choice.headers),
            )
            for choice in choices
            if choice.weight
        )
        return model.WeightedClusters(clusters=shares)

    def _name(self, destination: Destination) -> str | None:
        place = found(destination, self._view, self._namespace, self._port)
        if place is None:
            return None
        service, port = place
        return cluster_name(service.host, port.number, destination.subset)

    def _authority(self) -> str:
        rewrite = self._route.rewrite
        levels = [self._route.headers]
        if len(self._route.route) == 1:
            levels.insert(0, self._route.route[0].headers)
        return (rewrite.authority if rewrite else "") or authority_of(*levels)

    def _policies(self) -> Iterator[ClusterPolicy]:
        for choice in self._route.route:
            place = found(choice.destination, self._view, self._namespace, self._port)
            if place is not None:
                service, port = place
                rule = self._view.rule_for(service)
                yield policy_of(rule, port.number, choice.destination.subset, self._view.mesh)

    def _mirrors(self) -> Iterator[model.RequestMirrorPolicy]:
        """Without the ``-shadow`` that Envoy appends to the host: Istio switches it off."""
        for destination, per_cent in mirrors_of(self._route):
            name = self._name(destination)
            if name is not None and per_cent > 0:
                yield model.RequestMirrorPolicy(
                    cluster=name,
                    runtime_fraction=percentage(per_cent),
                    disable_shadow_host_suffix_append=True,
                )


def mirrors_of(route: HTTPRoute) -> Iterator[tuple[Destination, float]]:
    """Each place that gets copies, and of how many per cent; unset is all."""
    everything = Percentage(value=100.0)
    if route.mirror is not None:
        older = 100.0 if route.mirror_percent is None else float(route.mirror_percent)
        yield route.mirror, (route.mirror_percentage or Percentage(value=older)).value
    for mirror in route.mirrors:
        yield mirror.destination, (mirror.percentage or everything).value


def _redirect(redirect: HTTPRedirect, port: int) -> model.RedirectAction:
    number = port if redirect.derive_port == "FROM_REQUEST_PORT" else redirect.port or 0
    if DEFAULT_PORTS.get(redirect.scheme or "http") == number:
        number = 0
    by_prefix = redirect.uri.startswith(PREFIX)
    return model.RedirectAction(
        host_redirect=redirect.authority,
        path_redirect="" if by_prefix else redirect.uri,
        prefix_rewrite=redirect.uri.removeprefix(PREFIX) if by_prefix else "",
        scheme_redirect=redirect.scheme,
        port_redirect=number,
        response_code=redirect.redirect_code,
    )
