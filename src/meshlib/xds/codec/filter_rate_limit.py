"""Local and global rate limits ⇄ :class:`LocalRateLimit`, :class:`GlobalRateLimit`."""

from ...model import NEVER, GlobalRateLimit, LocalDescriptor, LocalRateLimit, TokenBucket
from .rate_limit import MAX_STAGE, decode_rate_limits, encode_rate_limits
from .runtime import decode_runtime_percentage, encode_runtime_percentage
from .status import decode_status, encode_status
from .wire import Fields, FilterCodec, Reader, duration, wrapped

LEAST_FILL_INTERVAL = 0.05
TOO_MANY_REQUESTS = 429


def _encode_local(limit: LocalRateLimit) -> Fields:
    return {
        "stat_prefix": limit.stat_prefix,
        "token_bucket": None if limit.token_bucket is None else _encode_bucket(limit.token_bucket),
        "filter_enabled": encode_runtime_percentage(limit.filter_enabled),
        "filter_enforced": encode_runtime_percentage(limit.filter_enforced),
        "status": encode_status(limit.status),
        "descriptors": [_encode_descriptor(one) for one in limit.descriptors],
        "rate_limits": encode_rate_limits(limit.rate_limits),
        "enable_x_ratelimit_headers": limit.headers.upper(),
        "rate_limited_as_resource_exhausted": limit.rate_limited_as_resource_exhausted,
        "always_consume_default_token_bucket": wrapped(limit.always_consume_default_token_bucket),
        "max_dynamic_descriptors": wrapped(limit.max_dynamic_descriptors),
        "stage": limit.stage,
    }


def _decode_local(reader: Reader) -> LocalRateLimit:
    bucket = reader.optional_child("token_bucket")
    return LocalRateLimit(
        stat_prefix=reader.text("stat_prefix", required=True),
        token_bucket=None if bucket is None else _decode_bucket(bucket),
        filter_enabled=decode_runtime_percentage(reader, "filter_enabled", NEVER),
        filter_enforced=decode_runtime_percentage(reader, "filter_enforced", NEVER),
        status=decode_status(reader, "status", TOO_MANY_REQUESTS),
        descriptors=tuple(map(_decode_descriptor, reader.children("descriptors"))),
        rate_limits=decode_rate_limits(reader, in_filter=True),
        headers=reader.enum("enable_x_ratelimit_headers").lower(),
        rate_limited_as_resource_exhausted=reader.flag("rate_limited_as_resource_exhausted"),
        always_consume_default_token_bucket=reader.flag(
            "always_consume_default_token_bucket", True
        ),
        max_dynamic_descriptors=reader.number("max_dynamic_descriptors", 20, low=1),
        stage=reader.number("stage", high=MAX_STAGE),
    )


def _encode_bucket(bucket: TokenBucket) -> Fields:
    return {
        "max_tokens": bucket.max_tokens,
        "tokens_per_fill": wrapped(bucket.tokens_per_fill),
        "fill_interval": duration(bucket.fill_interval),
    }


def _decode_bucket(reader: Reader) -> TokenBucket:
    interval = reader.seconds("fill_interval", 0.0, positive=True)
    if interval < LEAST_FILL_INTERVAL:
        reader.problem(f"must be at least {LEAST_FILL_INTERVAL} s", "fill_interval")
    return TokenBucket(
        max_tokens=reader.number("max_tokens", low=1),
        tokens_per_fill=reader.number("tokens_per_fill", 1, low=1),
        fill_interval=interval,
    )


def _encode_descriptor(descriptor: LocalDescriptor) -> Fields:
    return {
        "entries": [{"key": key, "value": value} for key, value in descriptor.entries],
        "token_bucket": _encode_bucket(descriptor.token_bucket),
    }


def _decode_descriptor(reader: Reader) -> LocalDescriptor:
    entries = tuple(
        (entry.text("key", required=True), entry.text("value"))
        for entry in reader.children("entries")
    )
    if not entries:
        reader.problem("must not be empty", "entries")
    bucket = _decode_bucket(reader.child("token_bucket"))
    return LocalDescriptor(entries=entries, token_bucket=bucket)


def _encode_global(limit: GlobalRateLimit) -> Fields:
    service = {"envoy_grpc": {"cluster_name": limit.cluster}}
    return {
        "domain": limit.domain,
        "stage": limit.stage,
        "timeout": duration(limit.timeout),
        "failure_mode_deny": limit.failure_mode_deny,
        "rate_limited_as_resource_exhausted": limit.rate_limited_as_resource_exhausted,
        "rate_limit_service": {"grpc_service": service, "transport_api_version": "V3"},
        "enable_x_ratelimit_headers": limit.headers.upper(),
        "disable_x_envoy_ratelimited_header": limit.disable_x_envoy_ratelimited_header,
        "rate_limited_status": encode_status(limit.status),
        "status_on_error": encode_status(limit.status_on_error),
        "rate_limits": encode_rate_limits(limit.rate_limits),
    }


def _decode_global(reader: Reader) -> GlobalRateLimit:
    return GlobalRateLimit(
        domain=reader.text("domain", required=True),
        cluster=_decode_service(reader.child("rate_limit_service")),
        timeout=reader.seconds("timeout", 0.02),
        failure_mode_deny=reader.flag("failure_mode_deny"),
        status=decode_status(reader, "rate_limited_status", TOO_MANY_REQUESTS),
        status_on_error=decode_status(reader, "status_on_error", 500),
        headers=reader.enum("enable_x_ratelimit_headers").lower(),
        rate_limited_as_resource_exhausted=reader.flag("rate_limited_as_resource_exhausted"),
        stage=reader.number("stage", high=MAX_STAGE),
        rate_limits=decode_rate_limits(reader, in_filter=True),
        disable_x_envoy_ratelimited_header=reader.flag("disable_x_envoy_ratelimited_header"),
    )


def _decode_service(reader: Reader) -> str:
    reader.skip("transport_api_version")
    service = reader.child("grpc_service")
    if not service.has("envoy_grpc"):
        service.refuse("google_grpc", otherwise="no cluster to ask")
        return ""
    return service.child("envoy_grpc").text("cluster_name", required=True)


def _encode_per_route(limit: GlobalRateLimit) -> Fields:
    return {"domain": limit.domain, "rate_limits": encode_rate_limits(limit.rate_limits)}


def _decode_per_route(reader: Reader) -> GlobalRateLimit:
    """Without a cluster: all but what it says is as the filter of the listener has it."""
    return GlobalRateLimit(
        domain=reader.text("domain"),
        cluster="",
        rate_limits=decode_rate_limits(reader, in_filter=True),
    )


LOCAL_RATE_LIMIT = FilterCodec(
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    _encode_local,
    _decode_local,
)
GLOBAL_RATE_LIMIT = FilterCodec(
    "envoy.extensions.filters.http.ratelimit.v3.RateLimit", _encode_global, _decode_global
)
RATE_LIMIT_PER_ROUTE = FilterCodec(
    "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
    _encode_per_route,
    _decode_per_route,
)
