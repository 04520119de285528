"""What an upstream speaks, and for how long ⇄ :class:`HttpProtocolOptions`."""

from dataclasses import replace

from ...model import HttpProtocolOptions, OutlierDetection, TcpKeepalive
from .outlier import decode_error_matcher, encode_error_matcher
from .wire import Fields, Reader, duration, packed, wrapped

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
KEEPALIVE = ("keepalive_probes", "keepalive_time", "keepalive_interval")
UNSET = HttpProtocolOptions()


def encode_http_options(
    options: HttpProtocolOptions | None, outlier: OutlierDetection | None
) -> Fields | None:
    """Which statuses are errors needs the extension, and that needs a protocol."""
    errors = encode_error_matcher(outlier.error_statuses if outlier is not None else ())
    if options is None:
        if errors is None:
            return None
        options = UNSET
    protocol: Fields = {"http_protocol_options": {}}
    if options.http2:
        protocol = {"http2_protocol_options": _encode_http2(options)}
    fields: Fields = {
        "explicit_http_config": protocol,
        "common_http_protocol_options": _encode_common(options),
        "outlier_detection": errors and {"error_matcher": errors},
    }
    return {HTTP_OPTIONS: packed(HTTP_OPTIONS, fields)}


def _encode_common(options: HttpProtocolOptions) -> Fields | None:
    most = options.max_requests_per_connection
    common = {
        "max_requests_per_connection": wrapped(most) if most else None,
        "idle_timeout": duration(options.idle_timeout),
        "max_connection_duration": duration(options.max_connection_duration),
    }
    return common if any(value is not None for value in common.values()) else None


def _encode_http2(options: HttpProtocolOptions) -> Fields:
    keepalive = {
        "interval": duration(options.keepalive_interval),
        "timeout": duration(options.keepalive_timeout),
    }
    return {
        "max_concurrent_streams": wrapped(options.max_concurrent_streams),
        "connection_keepalive": keepalive if any(keepalive.values()) else None,
    }


def decode_http_options(cluster: Reader) -> tuple[HttpProtocolOptions | None, tuple[int, ...]]:
    """The options, and the statuses that outlier detection takes for errors."""
    extensions = cluster.entries("typed_extension_protocol_options")
    type_name, options = cluster.opened(extensions.pop(HTTP_OPTIONS, None), HTTP_OPTIONS)
    if type_name not in ("", HTTP_OPTIONS):
        said = f"must be a {HTTP_OPTIONS}, not a {type_name}"
        cluster.problem(said, f"typed_extension_protocol_options[{HTTP_OPTIONS}]")
        return None, ()
    for unknown in sorted(extensions):
        cluster.drop(f"typed_extension_protocol_options[{unknown}]")
    if options is not None:
        return _decode_options(options, options.child("explicit_http_config")), (
            decode_error_matcher(options)
        )
    return _decode_options(cluster, cluster), ()  # how it was said before the extension


def _decode_options(holder: Reader, protocol: Reader) -> HttpProtocolOptions | None:
    common = holder.child("common_http_protocol_options")
    most = common.number("max_requests_per_connection")
    if holder is protocol:
        most = most or holder.number("max_requests_per_connection")
    options = HttpProtocolOptions(
        max_requests_per_connection=most,
        idle_timeout=common.optional_seconds("idle_timeout"),
        max_connection_duration=common.optional_seconds("max_connection_duration", positive=True),
    )
    http2 = protocol.optional_child("http2_protocol_options")
    http1 = protocol.optional_child("http_protocol_options")
    if http2 is not None:
        return _decode_http2(http2, options)
    return options if http1 is not None or options != UNSET else None


def _decode_http2(reader: Reader, options: HttpProtocolOptions) -> HttpProtocolOptions:
    keepalive = reader.child("connection_keepalive")
    return replace(
        options,
        http2=True,
        max_concurrent_streams=_streams(reader),
        keepalive_interval=keepalive.optional_seconds("interval", positive=True),
        keepalive_timeout=keepalive.optional_seconds("timeout", positive=True),
    )


def encode_tcp_keepalive(keepalive: TcpKeepalive | None) -> Fields | None:
    if keepalive is None:
        return None
    return {"tcp_keepalive": {name: wrapped(getattr(keepalive, name)) for name in KEEPALIVE}}


def decode_tcp_keepalive(cluster: Reader) -> TcpKeepalive | None:
    options = cluster.child("upstream_connection_options")
    reader = options.optional_child("tcp_keepalive")
    if reader is None:
        return None
    return TcpKeepalive(**{name: reader.optional_number(name) for name in KEEPALIVE})


def _streams(reader: Reader) -> int | None:
    """The libraries have no such limit of their own: the server's holds."""
    if reader.has("max_concurrent_streams"):
        reader.drop("max_concurrent_streams")
    return reader.optional_number("max_concurrent_streams", low=1)
