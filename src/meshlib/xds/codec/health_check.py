"""``envoy.config.core.v3.HealthCheck`` ⇄ :class:`HealthCheck`."""

from ...model import GrpcHealthCheck, HealthCheck, HttpHealthCheck, TcpHealthCheck
from ...model.format import literal, quoted
from .status import decode_statuses, encode_statuses
from .wire import Fields, Reader, duration, wrapped

CHECKERS = ("http_health_check", "grpc_health_check", "tcp_health_check")
OPTIONAL_SECONDS = (
    "no_traffic_healthy_interval",
    "unhealthy_interval",
    "unhealthy_edge_interval",
    "healthy_edge_interval",
)
Checker = HttpHealthCheck | GrpcHealthCheck | TcpHealthCheck


def encode_health_check(check: HealthCheck) -> Fields:
    return {
        **_encode_checker(check.checker),
        "timeout": duration(check.timeout),
        "interval": duration(check.interval),
        "initial_jitter": duration(check.initial_jitter or None),
        "interval_jitter": duration(check.interval_jitter or None),
        "interval_jitter_percent": check.interval_jitter_percent,
        "unhealthy_threshold": wrapped(check.unhealthy_threshold),
        "healthy_threshold": wrapped(check.healthy_threshold),
        "no_traffic_interval": duration(check.no_traffic_interval),
        **{name: duration(getattr(check, name)) for name in OPTIONAL_SECONDS},
        "reuse_connection": wrapped(check.reuse_connection),
        "always_log_health_check_failures": check.always_log_health_check_failures,
    }


def decode_health_check(reader: Reader) -> HealthCheck:
    for field in ("timeout", "interval", "unhealthy_threshold", "healthy_threshold"):
        if not reader.has(field):
            reader.problem("must be set", field)
    return HealthCheck(
        checker=_decode_checker(reader),
        timeout=reader.seconds("timeout", 1.0, positive=True),
        interval=reader.seconds("interval", 1.0, positive=True),
        initial_jitter=reader.seconds("initial_jitter", 0.0),
        interval_jitter=reader.seconds("interval_jitter", 0.0),
        interval_jitter_percent=reader.number("interval_jitter_percent"),
        unhealthy_threshold=reader.number("unhealthy_threshold"),
        healthy_threshold=reader.number("healthy_threshold"),
        no_traffic_interval=reader.seconds("no_traffic_interval", 60.0, positive=True),
        reuse_connection=reader.flag("reuse_connection", True),
        always_log_health_check_failures=reader.flag("always_log_health_check_failures"),
        **{name: reader.optional_seconds(name, positive=True) for name in OPTIONAL_SECONDS},
    )


def _encode_checker(checker: Checker) -> Fields:
    match checker:
        case HttpHealthCheck():
            return {"http_health_check": _encode_http(checker)}
        case GrpcHealthCheck(service_name=name, authority=authority):
            return {"grpc_health_check": {"service_name": name, "authority": authority}}
        case TcpHealthCheck(send=send, receive=receive):
            blocks = [_payload(block) for block in receive]
            config = {"send": _payload(send) if send else None, "receive": blocks}
            return {"tcp_health_check": config}


def _decode_checker(reader: Reader) -> Checker:
    match reader.which(*CHECKERS):
        case "http_health_check":
            return _decode_http(reader.child("http_health_check"))
        case "grpc_health_check":
            grpc = reader.child("grpc_health_check")
            return GrpcHealthCheck(
                service_name=grpc.text("service_name"), authority=grpc.text("authority")
            )
        case "tcp_health_check":
            tcp = reader.child("tcp_health_check")
            send = tcp.optional_child("send")
            return TcpHealthCheck(
                send=b"" if send is None else _read_payload(send),
                receive=tuple(_read_payload(block) for block in tcp.children("receive")),
            )
        case _:
            reader.refuse("custom_health_check", otherwise="nothing to check by")
            return TcpHealthCheck()


def _encode_http(check: HttpHealthCheck) -> Fields:
    return {
        "host": check.host,
        "path": check.path,
        "method": check.method,
        "expected_statuses": encode_statuses(check.expected_statuses),
        "retriable_statuses": encode_statuses(check.retriable_statuses),
        "request_headers_to_add": [
            {"header": {"key": name, "value": quoted(value)}}
            for name, value in check.request_headers_to_add
        ],
        "codec_client_type": "HTTP2" if check.http2 else "HTTP1",
    }


def _decode_http(reader: Reader) -> HttpHealthCheck:
    codec, method = reader.enum("codec_client_type"), reader.enum("method")
    if codec == "HTTP3":
        reader.problem("HTTP3 is not supported", "codec_client_type")
    if method == "CONNECT":
        reader.problem("CONNECT is not supported", "method")
    return HttpHealthCheck(
        path=reader.text("path", required=True),
        host=reader.text("host"),
        method="GET" if method == "METHOD_UNSPECIFIED" else method,
        expected_statuses=decode_statuses(reader, "expected_statuses") or ((200, 201),),
        retriable_statuses=decode_statuses(reader, "retriable_statuses"),
        request_headers_to_add=tuple(
            _decode_header(option) for option in reader.children("request_headers_to_add")
        ),
        http2=codec == "HTTP2",
    )


def _decode_header(option: Reader) -> tuple[str, str]:
    option.skip("append_action", "append")  # a probe has no headers of these names yet
    header = option.child("header")
    name, value = header.text("key", required=True), literal(header.text("value"))
    if value is None:
        header.problem("a health check has nothing to fill in", "value")
    return name, value or ""


def _payload(block: bytes) -> Fields:
    """Hexadecimal, which every Envoy reads; nothing at all cannot be said so."""
    return {"text": block.hex()} if block else {"binary": b""}


def _read_payload(reader: Reader) -> bytes:
    if reader.has("binary"):
        return reader.octets("binary")
    text = reader.text("text", required=True)
    try:
        return bytes.fromhex(text)
    except ValueError:
        reader.problem(f"{text!r} is not hexadecimal", "text")
        return b""
