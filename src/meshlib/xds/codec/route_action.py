"""``RouteAction`` ⇄ :class:`RouteAction`."""

from ...model import (
    ClusterHeader,
    ClusterWeight,
    MaxStreamDuration,
    RouteAction,
    WeightedClusters,
)
from .filter import decode_overrides, encode_overrides
from .hash_policy import decode_hash_policy, encode_hash_policy
from .headers import decode_mutations, encode_mutations
from .metadata import decode_metadata, encode_metadata
from .mirror import decode_mirrors, encode_mirrors
from .rate_limit import decode_rate_limits, encode_rate_limits
from .retry import (
    decode_hedge_policy,
    decode_retry_policy,
    encode_hedge_policy,
    encode_retry_policy,
)
from .rewrite import decode_rewrite, encode_rewrite
from .wire import UINT32_MAX, Fields, Reader, duration, wrapped

STREAM_DURATIONS = (
    "max_stream_duration",
    "grpc_timeout_header_max",
    "grpc_timeout_header_offset",
)
NOT_FOUND = {503: "SERVICE_UNAVAILABLE", 404: "NOT_FOUND", 500: "INTERNAL_SERVER_ERROR"}
NOT_FOUND_OF = {name: code for code, name in NOT_FOUND.items()}
Destination = str | WeightedClusters | ClusterHeader


def encode_route_action(action: RouteAction) -> Fields:
    durations = action.max_stream_duration
    return {
        **_encode_destination(action.cluster),
        **_encode_host_rewrite(action),
        "timeout": duration(action.timeout),
        "max_stream_duration": durations
        and {name: duration(getattr(durations, name)) for name in STREAM_DURATIONS},
        "retry_policy": encode_retry_policy(action.retry_policy),
        "prefix_rewrite": action.prefix_rewrite,
        "regex_rewrite": encode_rewrite(action.regex_rewrite),
        "append_x_forwarded_host": action.append_x_forwarded_host,
        "priority": action.priority.upper(),
        "hash_policy": [encode_hash_policy(policy) for policy in action.hash_policy],
        "request_mirror_policies": encode_mirrors(action.request_mirror_policies),
        "hedge_policy": encode_hedge_policy(action.hedge_policy),
        "rate_limits": encode_rate_limits(action.rate_limits),
        "cluster_not_found_response_code": NOT_FOUND[action.cluster_not_found_response_code],
    }


def decode_route_action(reader: Reader, hedging_delay: float | None) -> RouteAction:
    action = RouteAction(
        cluster=_decode_destination(reader),
        timeout=reader.optional_seconds("timeout"),
        max_stream_duration=_decode_stream_duration(reader),
        retry_policy=decode_retry_policy(reader),
        prefix_rewrite=reader.text("prefix_rewrite"),
        regex_rewrite=decode_rewrite(reader, "regex_rewrite"),
        host_rewrite_literal=reader.text("host_rewrite_literal"),
        host_rewrite_header=reader.text("host_rewrite_header"),
        host_rewrite_path_regex=decode_rewrite(reader, "host_rewrite_path_regex"),
        auto_host_rewrite=reader.flag("auto_host_rewrite"),
        append_x_forwarded_host=reader.flag("append_x_forwarded_host"),
        priority=reader.enum("priority").lower(),
        hash_policy=tuple(
            policy
            for one in reader.children("hash_policy")
            if (policy := decode_hash_policy(one)) is not None
        ),
        request_mirror_policies=decode_mirrors(reader),
        hedge_policy=decode_hedge_policy(reader, hedging_delay),
        rate_limits=decode_rate_limits(reader),
        cluster_not_found_response_code=NOT_FOUND_OF[
            reader.enum("cluster_not_found_response_code")
        ],
    )
    if action.prefix_rewrite and action.regex_rewrite is not None:
        reader.problem("prefix_rewrite and regex_rewrite exclude each other", "regex_rewrite")
    return action


def _encode_host_rewrite(action: RouteAction) -> Fields:
    """At most one of them, even of those that would be written empty."""
    return {
        "host_rewrite_literal": action.host_rewrite_literal or None,
        "host_rewrite_header": action.host_rewrite_header or None,
        "host_rewrite_path_regex": encode_rewrite(action.host_rewrite_path_regex),
        "auto_host_rewrite": wrapped(True) if action.auto_host_rewrite else None,
    }


def _decode_stream_duration(reader: Reader) -> MaxStreamDuration | None:
    durations = reader.optional_child("max_stream_duration")
    if durations is None:
        return None
    found = MaxStreamDuration(**{n: durations.optional_seconds(n) for n in STREAM_DURATIONS})
    if found.grpc_timeout_header_offset:  # the caller's deadline is its own affair (gRFC A31)
        durations.drop("grpc_timeout_header_offset")
    return found


def _encode_destination(cluster: Destination) -> Fields:
    match cluster:
        case str():
            return {"cluster": cluster}
        case ClusterHeader(header_name):
            return {"cluster_header": header_name}
        case WeightedClusters(clusters=clusters):
            weighted = {
                "clusters": [_encode_weight(weight) for weight in clusters],
                "header_name": cluster.header_name or None,
                "use_hash_policy": wrapped(True) if cluster.use_hash_policy else None,
            }
            return {"weighted_clusters": weighted}


def _decode_destination(reader: Reader) -> Destination:
    match reader.which("cluster", "cluster_header", "weighted_clusters"):
        case "cluster":
            return reader.text("cluster", required=True)
        case "cluster_header":
            return ClusterHeader(reader.text("cluster_header", required=True))
        case "weighted_clusters":
            return _decode_weights(reader.child("weighted_clusters"))
        case _:
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
        "host_rewrite_literal": choice.host_rewrite_literal or None,
        "typed_per_filter_config": encode_overrides(choice.overrides),
        **encode_mutations(choice.headers),
    }


def _decode_weights(reader: Reader) -> WeightedClusters:
    reader.skip("total_weight")  # the sum counts, whatever this deprecated field says
    weighted = WeightedClusters(
        clusters=tuple(
            _decode_weight(choice)
            for choice in reader.children("clusters", lambda message: message.name)
        ),
        header_name=reader.text("header_name"),
        use_hash_policy=reader.flag("use_hash_policy"),
    )
    if not 0 < weighted.total_weight <= UINT32_MAX:
        reader.problem(f"weights must sum to 1..{UINT32_MAX}, not {weighted.total_weight}")
    return weighted


def _decode_weight(reader: Reader) -> ClusterWeight:
    if reader.has("cluster_header"):
        reader.refuse("cluster_header")
    choice = ClusterWeight(
        name=reader.text("name", required=True),
        weight=reader.number("weight"),
        headers=decode_mutations(reader),
        metadata=decode_metadata(reader, "metadata_match"),
        host_rewrite_literal=reader.text("host_rewrite_literal"),
        overrides=decode_overrides(reader),
    )
    if choice.metadata.filter_metadata:
        reader.drop("metadata_match")
    return choice
