"""``RouteConfiguration`` ⇄ :class:`RouteConfiguration`."""

from collections.abc import Iterable

from ...model import (
    Action,
    DirectResponseAction,
    HedgePolicy,
    Metadata,
    NonForwardingAction,
    RedirectAction,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualCluster,
    VirtualHost,
)
from .filter import decode_overrides, encode_overrides
from .headers import decode_mutations, encode_mutations
from .matcher import decode_header, decode_match, encode_header, encode_match
from .metadata import decode_metadata, encode_metadata
from .mirror import decode_mirrors, encode_mirrors
from .rate_limit import decode_rate_limits, encode_rate_limits
from .retry import (
    decode_hedge_policy,
    decode_retry_policy,
    encode_hedge_policy,
    encode_retry_policy,
    with_hedging_delay,
    without_hedging_delay,
)
from .rewrite import decode_rewrite, encode_rewrite
from .route_action import decode_route_action, encode_route_action
from .tracing import decode_route_tracing, encode_route_tracing
from .wire import Fields, Reader, wrapped

ACTIONS = ("route", "redirect", "direct_response", "non_forwarding_action")
REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
REDIRECT_CODE_OF = {name: code for code, name in REDIRECT_CODES.items()}


def encode_route_configuration(table: RouteConfiguration) -> Fields:
    return {
        "name": table.name,
        "virtual_hosts": [_encode_virtual_host(host) for host in table.virtual_hosts],
        "ignore_port_in_host_matching": table.ignore_port_in_host_matching,
        "max_direct_response_body_size_bytes": wrapped(table.max_direct_response_body_size_bytes),
        "internal_only_headers": table.internal_only_headers,
        "most_specific_header_mutations_wins": table.most_specific_header_mutations_wins,
        "request_mirror_policies": encode_mirrors(table.request_mirror_policies),
        "typed_per_filter_config": encode_overrides(table.overrides),
        **encode_mutations(table.headers),
    }


def decode_route_configuration(reader: Reader) -> RouteConfiguration:
    if reader.has("internal_only_headers"):  # whoever calls from outside comes through an edge
        reader.drop("internal_only_headers")
    limit = reader.number("max_direct_response_body_size_bytes", 4096)
    hosts = reader.children("virtual_hosts", lambda message: message.name)
    decoded = tuple(_decode_virtual_host(host, limit) for host in hosts)
    table = RouteConfiguration(
        name=reader.text("name"),
        virtual_hosts=decoded,
        ignore_port_in_host_matching=reader.flag("ignore_port_in_host_matching"),
        max_direct_response_body_size_bytes=limit,
        headers=decode_mutations(reader),
        internal_only_headers=reader.texts("internal_only_headers"),
        most_specific_header_mutations_wins=reader.flag("most_specific_header_mutations_wins"),
        request_mirror_policies=decode_mirrors(reader),
        overrides=decode_overrides(reader),
    )
    _check_domains(zip(hosts, table.virtual_hosts, strict=True))
    return table


def _encode_virtual_host(host: VirtualHost) -> Fields:
    return {
        "name": host.name,
        "domains": host.domains,
        "routes": [_encode_route(route) for route in host.routes],
        "retry_policy": encode_retry_policy(host.retry_policy),
        "metadata": encode_metadata(with_hedging_delay(host.metadata, host.hedge_policy)),
        "require_tls": host.require_tls.upper(),
        "virtual_clusters": [
            {"name": one.name, "headers": [encode_header(header) for header in one.headers]}
            for one in host.virtual_clusters
        ],
        "hedge_policy": encode_hedge_policy(host.hedge_policy),
        "request_mirror_policies": encode_mirrors(host.request_mirror_policies),
        "rate_limits": encode_rate_limits(host.rate_limits),
        "include_request_attempt_count": host.include_request_attempt_count,
        "include_attempt_count_in_response": host.include_attempt_count_in_response,
        "typed_per_filter_config": encode_overrides(host.overrides),
        **encode_mutations(host.headers),
    }


def _decode_virtual_host(reader: Reader, body_limit: int) -> VirtualHost:
    if reader.has("matcher"):
        reader.refuse("matcher")
    found = (_decode_route(route, body_limit) for route in reader.children("routes"))
    routes = tuple(route for route in found if route is not None)
    metadata, hedge_policy = _decode_hedged_metadata(reader)
    return VirtualHost(
        name=reader.text("name"),
        domains=reader.texts("domains"),
        routes=routes,
        retry_policy=decode_retry_policy(reader),
        headers=decode_mutations(reader),
        metadata=metadata,
        require_tls=reader.enum("require_tls").lower(),
        virtual_clusters=tuple(map(_decode_virtual_cluster, reader.children("virtual_clusters"))),
        hedge_policy=hedge_policy,
        request_mirror_policies=decode_mirrors(reader),
        rate_limits=decode_rate_limits(reader),
        include_request_attempt_count=reader.flag("include_request_attempt_count"),
        include_attempt_count_in_response=reader.flag("include_attempt_count_in_response"),
        overrides=decode_overrides(reader),
    )


def _decode_hedged_metadata(reader: Reader) -> tuple[Metadata, HedgePolicy | None]:
    """The delay that rides in the metadata belongs to a policy, if there is one."""
    metadata = decode_metadata(reader)
    if not reader.has("hedge_policy"):
        return metadata, None
    metadata, delay = without_hedging_delay(metadata)
    return metadata, decode_hedge_policy(reader, delay)


def _decode_virtual_cluster(reader: Reader) -> VirtualCluster:
    headers = tuple(map(decode_header, reader.children("headers")))
    if not headers:
        reader.problem("must not be empty", "headers")
    return VirtualCluster(name=reader.text("name", required=True), headers=headers)


def _check_domains(hosts: Iterable[tuple[Reader, VirtualHost]]) -> None:
    owners: dict[str, str] = {}
    for reader, host in hosts:
        if not host.domains:
            reader.problem("must not be empty", "domains")
        for domain in host.domains:
            owner = owners.setdefault(domain.lower(), host.name)
            if not _is_domain(domain):
                reader.problem(f"{domain!r} is not a domain pattern", "domains")
            elif owner != host.name or [d.lower() for d in host.domains].count(domain.lower()) > 1:
                reader.problem(f"duplicate domain {domain!r}, also in {owner!r}", "domains")


def _is_domain(domain: str) -> bool:
    """At most one ``*``, at one end."""
    return domain == "*" or (
        bool(domain) and "*" not in domain[1:-1] and not (domain[0] == domain[-1] == "*")
    )


def _encode_route(route: Route) -> Fields:
    hedge = route.action.hedge_policy if isinstance(route.action, RouteAction) else None
    return {
        "name": route.name,
        "match": encode_match(route.match),
        "metadata": encode_metadata(with_hedging_delay(route.metadata, hedge)),
        "stat_prefix": route.stat_prefix,
        **encode_route_tracing(route.tracing),
        "typed_per_filter_config": encode_overrides(route.overrides),
        **_encode_action(route.action),
        **encode_mutations(route.headers),
    }


def _decode_route(reader: Reader, body_limit: int) -> Route | None:
    if not reader.has("match"):
        reader.problem("must be set", "match")
    match, metadata = decode_match(reader.child("match")), decode_metadata(reader)
    delay = None
    if reader.has("route") and reader.message.route.HasField("hedge_policy"):
        metadata, delay = without_hedging_delay(metadata)
    action = _decode_action(reader, body_limit, delay)
    name, stat_prefix = reader.text("name"), reader.text("stat_prefix")
    headers, overrides = decode_mutations(reader), decode_overrides(reader)
    tracing = decode_route_tracing(reader)
    if action is None:
        return None
    return Route(
        match=match,
        action=action,
        name=name,
        metadata=metadata,
        headers=headers,
        overrides=overrides,
        stat_prefix=stat_prefix,
        tracing=tracing,
    )


def _encode_action(action: Action) -> Fields:
    match action:
        case RouteAction():
            return {"route": encode_route_action(action)}
        case RedirectAction():
            return {"redirect": _encode_redirect(action)}
        case DirectResponseAction():
            return {"direct_response": _encode_direct_response(action)}
        case NonForwardingAction():
            return {"non_forwarding_action": {}}


def _decode_action(reader: Reader, body_limit: int, hedging_delay: float | None) -> Action | None:
    match reader.which(*ACTIONS):
        case "route":
            return decode_route_action(reader.child("route"), hedging_delay)
        case "redirect":
            return _decode_redirect(reader.child("redirect"))
        case "direct_response":
            return _decode_direct_response(reader.child("direct_response"), body_limit)
        case "non_forwarding_action":
            reader.child("non_forwarding_action")
            return NonForwardingAction()
        case _:
            reader.refuse("filter_action", otherwise="no action")
            return None


def _encode_redirect(action: RedirectAction) -> Fields:
    return {
        "host_redirect": action.host_redirect,
        "path_redirect": action.path_redirect or None,
        "prefix_rewrite": action.prefix_rewrite or None,
        "regex_rewrite": encode_rewrite(action.regex_rewrite),
        "scheme_redirect": action.scheme_redirect or None,
        "https_redirect": action.https_redirect or None,
        "port_redirect": action.port_redirect,
        "response_code": REDIRECT_CODES[action.response_code],
        "strip_query": action.strip_query,
    }


def _decode_redirect(reader: Reader) -> RedirectAction:
    return RedirectAction(
        host_redirect=reader.text("host_redirect"),
        path_redirect=reader.text("path_redirect"),
        prefix_rewrite=reader.text("prefix_rewrite"),
        regex_rewrite=decode_rewrite(reader, "regex_rewrite"),
        scheme_redirect=reader.text("scheme_redirect"),
        https_redirect=reader.flag("https_redirect"),
        port_redirect=reader.number("port_redirect", high=65535),
        response_code=REDIRECT_CODE_OF[reader.enum("response_code")],
        strip_query=reader.flag("strip_query"),
    )


def _encode_direct_response(action: DirectResponseAction) -> Fields:
    if not action.body:
        return {"status": action.status}
    try:
        body: Fields = {"inline_string": action.body.decode()}
    except UnicodeDecodeError:
        body = {"inline_bytes": action.body}
    return {"status": action.status, "body": body}


def _decode_direct_response(reader: Reader, body_limit: int) -> DirectResponseAction:
    status = reader.number("status", low=200, high=599)
    source = reader.child("body")
    body = source.octets("inline_bytes") or source.text("inline_string").encode()
    if source.has("filename") or source.has("environment_variable"):
        # a control plane does not get to read this machine
        source.refuse("filename", "environment_variable")
    if len(body) > body_limit:
        reader.problem(f"is longer than the {body_limit} bytes allowed", "body")
    return DirectResponseAction(status=status, body=body)
