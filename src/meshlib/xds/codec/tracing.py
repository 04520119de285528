"""``HttpConnectionManager.Tracing`` ⇄ :class:`Tracing`, and what routes say of spans."""

from typing import Any

from ...model.route import RouteTracing
from ...model.telemetry import (
    CustomTag,
    EnvironmentTag,
    FormatterTag,
    HeaderTag,
    LiteralTag,
    OpenTelemetryTracer,
    Tracing,
)
from .access_log import checked_format
from .wire import Fields, Reader, duration, packed, wrapped

TRACER = "envoy.config.trace.v3.OpenTelemetryConfig"
TRACER_NAME = "envoy.tracers.opentelemetry"
SAMPLINGS = ("client_sampling", "random_sampling", "overall_sampling")
NOTHING = LiteralTag(value="")


def encode_tracing(tracing: Tracing) -> Fields:
    return {
        **{name: wrapped(getattr(tracing, name)) for name in SAMPLINGS},
        "verbose": tracing.verbose,
        "max_path_tag_length": wrapped(tracing.max_path_tag_length),
        "custom_tags": [_encode_tag(tag) for tag in tracing.custom_tags],
        "provider": None if tracing.tracer is None else _encode_tracer(tracing.tracer),
        "spawn_upstream_span": wrapped(True) if tracing.spawn_upstream_span else None,
    }


def _encode_tag(tag: CustomTag) -> Fields:
    match tag.source:
        case LiteralTag():
            return {"tag": tag.tag, "literal": {"value": tag.source.value}}
        case EnvironmentTag():
            return {"tag": tag.tag, "environment": _encode_named(tag.source)}
        case HeaderTag():
            return {"tag": tag.tag, "request_header": _encode_named(tag.source)}
        case FormatterTag():
            return {"tag": tag.tag, "value": tag.source.value}


def _encode_named(source: EnvironmentTag | HeaderTag) -> Fields:
    return {"name": source.name, "default_value": source.default_value}


def _encode_tracer(tracer: OpenTelemetryTracer) -> Fields:
    if tracer.uri:
        uri = {"uri": tracer.uri, "cluster": tracer.cluster, "timeout": duration(tracer.timeout)}
        service: Fields = {"http_service": {"http_uri": uri}}
    else:
        grpc = {"cluster_name": tracer.cluster}
        service = {"grpc_service": {"envoy_grpc": grpc, "timeout": duration(tracer.timeout)}}
    fields = {**service, "service_name": tracer.service_name}
    return {"name": TRACER_NAME, "typed_config": packed(TRACER, fields)}


def decode_tracing(hcm: Reader) -> Tracing | None:
    reader = hcm.optional_child("tracing")
    if reader is None:
        return None
    _tell_what_has_no_effect(reader)
    shares = {name: reader.percent(name, 100.0) for name in SAMPLINGS}
    return Tracing(
        **{name: 100.0 if share is None else share for name, share in shares.items()},
        verbose=reader.flag("verbose"),
        max_path_tag_length=reader.number("max_path_tag_length", 256),
        custom_tags=_decode_tags(reader),
        tracer=_decode_provider(reader),
        spawn_upstream_span=reader.flag("spawn_upstream_span"),
    )


def _tell_what_has_no_effect(reader: Reader) -> None:
    """Attempts are spans of their own in any case, and the program says where its spans go."""
    for field in ("verbose", "spawn_upstream_span", "provider"):
        if reader.has(field):
            reader.drop(field)


def encode_route_tracing(tracing: RouteTracing | None) -> Fields:
    """Of a route: ``decorator`` and ``tracing``."""
    if tracing is None:
        return {}
    tags = [_encode_tag(tag) for tag in tracing.custom_tags]
    return {
        "decorator": {"operation": tracing.operation} if tracing.operation else None,
        "tracing": {"custom_tags": tags} if tags else None,
    }


def decode_route_tracing(route: Reader) -> RouteTracing | None:
    """Who is sampled is decided before a route is known."""
    decorator, tracing = route.optional_child("decorator"), route.optional_child("tracing")
    if decorator is None and tracing is None:
        return None
    return RouteTracing(
        operation="" if decorator is None else decorator.text("operation", required=True),
        custom_tags=() if tracing is None else _decode_tags(tracing),
    )


def _decode_tags(reader: Reader) -> tuple[CustomTag, ...]:
    found = (_decode_tag(tag) for tag in reader.children("custom_tags", lambda tag: tag.tag))
    return tuple(tag for tag in found if tag is not None)


def _decode_tag(reader: Reader) -> CustomTag | None:
    """``None`` for one that is not supported: what is not understood is left out, and told."""
    name = reader.text("tag", required=True)
    kind = reader.which("literal", "environment", "request_header", "value")
    if not kind:
        if not any(reader.unread()):
            reader.problem("says nothing")
        return None
    return CustomTag(tag=name, source=_decode_source(reader, kind))


def _decode_source(
    reader: Reader, kind: str
) -> LiteralTag | EnvironmentTag | HeaderTag | FormatterTag:
    match kind:
        case "literal":
            return LiteralTag(value=reader.child(kind).text("value", required=True))
        case "environment":
            return EnvironmentTag(**_decode_named(reader.child(kind)))
        case "request_header":
            return HeaderTag(**_decode_named(reader.child(kind)))
        case _:
            return FormatterTag(value=checked_format(reader, kind, reader.text(kind)))


def _decode_named(reader: Reader) -> dict[str, Any]:
    name = reader.text("name", required=True)
    return {"name": name, "default_value": reader.text("default_value")}


def _decode_provider(reader: Reader) -> OpenTelemetryTracer | None:
    """Whom Envoy tells of spans. The program's own go where it sends them itself."""
    provider = reader.optional_child("provider")
    if provider is None:
        return None
    provider.skip("name")
    type_name, inside = provider.extension("typed_config")
    if inside is None or type_name != TRACER:
        return None
    name = inside.text("service_name")
    if inside.has("http_service"):
        uri = inside.child("http_service").child("http_uri")
        return OpenTelemetryTracer(
            cluster=uri.text("cluster", required=True),
            service_name=name,
            uri=uri.text("uri", required=True),
            timeout=uri.seconds("timeout", 10.0),
        )
    if not inside.has("grpc_service"):
        return None
    service = inside.child("grpc_service")
    if not service.has("envoy_grpc"):
        service.refuse("google_grpc", otherwise="no service is given")
    return OpenTelemetryTracer(
        cluster=service.child("envoy_grpc").text("cluster_name", required=True),
        service_name=name,
        timeout=service.seconds("timeout", 10.0),
    )
