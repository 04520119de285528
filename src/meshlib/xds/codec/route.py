"""``RouteConfiguration`` ⇄ :class:`RouteConfiguration`."""

from collections.abc import Iterable

from ...model import (
    Action,
    ClusterHeader,
    ClusterWeight,
    DirectResponseAction,
    MaxStreamDuration,
    NonForwardingAction,
    RedirectAction,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    WeightedClusters,
)
from .headers import decode_mutations, encode_mutations
from .matcher import decode_match, encode_match
from .metadata import decode_metadata, encode_metadata
from .policy import decode_retry_policy, encode_retry_policy
from .wire import UINT32_MAX, Fields, Reader, duration, wrapped

ACTIONS = ("route", "redirect", "direct_response", "non_forwarding_action")
REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
REDIRECT_CODE_OF = {name: code for code, name in REDIRECT_CODES.items()}
STREAM_DURATIONS = (
    "max_stream_duration",
    "grpc_timeout_header_max",
    "grpc_timeout_header_offset",
)


def encode_route_configuration(table: RouteConfiguration) -> Fields:
    return {
        "name": table.name,
        "virtual_hosts": [_encode_virtual_host(host) for host in table.virtual_hosts],
        "ignore_port_in_host_matching": table.ignore_port_in_host_matching,
        "max_direct_response_body_size_bytes": wrapped(table.max_direct_response_body_size_bytes),
        **encode_mutations(table.headers),
    }


def decode_route_configuration(reader: Reader) -> RouteConfiguration:
    limit = reader.number("max_direct_response_body_size_bytes", 4096)
    hosts = reader.children("virtual_hosts", lambda message: message.name)
    decoded = tuple(_decode_virtual_host(host, limit) for host in hosts)
    table = RouteConfiguration(
        name=reader.text("name"),
        virtual_hosts=decoded,
        ignore_port_in_host_matching=reader.flag("ignore_port_in_host_matching"),
        max_direct_response_body_size_bytes=limit,
        headers=decode_mutations(reader, forwards=any(_forwards(h.routes) for h in decoded)),
    )
    _check_domains(zip(hosts, table.virtual_hosts, strict=True))
    return table


def _encode_virtual_host(host: VirtualHost) -> Fields:
    return {
        "name": host.name,
        "domains": host.domains,
        "routes": [_encode_route(route) for route in host.routes],
        "retry_policy": encode_retry_policy(host.retry_policy),
        "metadata": encode_metadata(host.metadata),
        **encode_mutations(host.headers),
    }


def _decode_virtual_host(reader: Reader, body_limit: int) -> VirtualHost:
    if reader.has("matcher"):
        reader.refuse("matcher")
    found = (_decode_route(route, body_limit) for route in reader.children("routes"))
    routes = tuple(route for route in found if route is not None)
    return VirtualHost(
        name=reader.text("name"),
        domains=reader.texts("domains"),
        routes=routes,
        retry_policy=decode_retry_policy(reader),
        headers=decode_mutations(reader, forwards=_forwards(routes)),
        metadata=decode_metadata(reader),
    )


def _forwards(routes: Iterable[Route]) -> bool:
    return any(_is_answered_elsewhere(route.action) for route in routes)


def _is_answered_elsewhere(action: Action | None) -> bool:
    return isinstance(action, RouteAction | NonForwardingAction)


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
    return {
        "name": route.name,
        "match": encode_match(route.match),
        "metadata": encode_metadata(route.metadata),
        **_encode_action(route.action),
        **encode_mutations(route.headers),
    }


def _decode_route(reader: Reader, body_limit: int) -> Route | None:
    if not reader.has("match"):
        reader.problem("must be set", "match")
    match = decode_match(reader.child("match"))
    action = _decode_action(reader, body_limit)
    name, metadata = reader.text("name"), decode_metadata(reader)
    headers = decode_mutations(reader, forwards=_is_answered_elsewhere(action))
    if action is None:
        return None
    return Route(match=match, action=action, name=name, metadata=metadata, headers=headers)


def _encode_action(action: Action) -> Fields:
    match action:
        case RouteAction():
            return {"route": _encode_forward(action)}
        case RedirectAction():
            return {"redirect": _encode_redirect(action)}
        case DirectResponseAction():
            return {"direct_response": _encode_direct_response(action)}
        case NonForwardingAction():
            return {"non_forwarding_action": {}}


def _decode_action(reader: Reader, body_limit: int) -> Action | None:
    match reader.which(*ACTIONS):
        case "route":
            return _decode_forward(reader.child("route"))
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


def _encode_forward(action: RouteAction) -> Fields:
    durations = action.max_stream_duration
    return {
        **_encode_destination(action.cluster),
        "timeout": duration(action.timeout),
        "max_stream_duration": durations
        and {name: duration(getattr(durations, name)) for name in STREAM_DURATIONS},
        "retry_policy": encode_retry_policy(action.retry_policy),
        "prefix_rewrite": action.prefix_rewrite,
        "host_rewrite_literal": action.host_rewrite_literal or None,
        "auto_host_rewrite": wrapped(True) if action.auto_host_rewrite else None,
        "priority": action.priority.upper(),
    }


def _decode_forward(reader: Reader) -> RouteAction:
    action = RouteAction(
        cluster=_decode_destination(reader),
        timeout=reader.optional_seconds("timeout"),
        max_stream_duration=_decode_stream_duration(reader),
        retry_policy=decode_retry_policy(reader),
        prefix_rewrite=reader.text("prefix_rewrite"),
        host_rewrite_literal=reader.text("host_rewrite_literal"),
        auto_host_rewrite=reader.flag("auto_host_rewrite"),
        priority=reader.enum("priority").lower(),
    )
    if action.auto_host_rewrite:
        reader.drop("auto_host_rewrite")
    if action.priority != "default":
        reader.drop("priority")
    return action


def _decode_stream_duration(reader: Reader) -> MaxStreamDuration | None:
    durations = reader.optional_child("max_stream_duration")
    if durations is None:
        return None
    found = MaxStreamDuration(**{n: durations.optional_seconds(n) for n in STREAM_DURATIONS})
    if found.grpc_timeout_header_offset:  # the caller's deadline is its own affair (gRFC A31)
        durations.drop("grpc_timeout_header_offset")
    return found


def _encode_destination(cluster: str | WeightedClusters | ClusterHeader) -> Fields:
    match cluster:
        case str():
            return {"cluster": cluster}
        case ClusterHeader(header_name):
            return {"cluster_header": header_name}
        case WeightedClusters(clusters=clusters):
            return {"weighted_clusters": {"clusters": [_encode_weight(w) for w in clusters]}}


def _decode_destination(reader: Reader) -> str | WeightedClusters | ClusterHeader:
    if reader.has("cluster_header"):
        return ClusterHeader(reader.text("cluster_header", required=True))
    if reader.has("cluster"):
        return reader.text("cluster", required=True)
    if reader.has("weighted_clusters"):
        return _decode_weights(reader.child("weighted_clusters"))
    reader.refuse(
        "cluster_specifier_plugin",
        "inline_cluster_specifier_plugin",
        otherwise="no cluster to send to",
    )
    return ""


def _encode_weight(choice: ClusterWeight) -> Fields:
    return {
        "name": choice.name,
        "weight": wrapped(choice.weight),
        "metadata_match": encode_metadata(choice.metadata),
        **encode_mutations(choice.headers),
    }


def _decode_weights(reader: Reader) -> WeightedClusters:
    reader.skip("total_weight")  # the sum counts, whatever this deprecated field says
    weighted = WeightedClusters(
        clusters=tuple(
            _decode_weight(choice)
            for choice in reader.children("clusters", lambda message: message.name)
        )
    )
    if not 0 < weighted.total_weight <= UINT32_MAX:
        reader.problem(f"weights must sum to 1..{UINT32_MAX}, not {weighted.total_weight}")
    return weighted


def _decode_weight(reader: Reader) -> ClusterWeight:
    choice = ClusterWeight(
        name=reader.text("name", required=True),
        weight=reader.number("weight"),
        headers=decode_mutations(reader, forwards=True),
        metadata=decode_metadata(reader, "metadata_match"),
    )
    if choice.metadata.filter_metadata:
        reader.drop("metadata_match")
    return choice


def _encode_redirect(action: RedirectAction) -> Fields:
    return {
        "host_redirect": action.host_redirect,
        "path_redirect": action.path_redirect or None,
        "prefix_rewrite": action.prefix_rewrite or None,
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
