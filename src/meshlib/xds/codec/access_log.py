"""``envoy.config.accesslog.v3.AccessLog`` ⇄ :class:`AccessLog`.

A log of a kind that is not written here, or with a filter that is not understood, is left out
and told: it would say less, or more, than was asked for.
"""

from collections.abc import Callable, Iterable

from ...model import Struct
from ...model.log_format import texts_of, unfilled_in
from ...model.telemetry import AccessLog, AccessLogSink, FileAccessLog, OpenTelemetryAccessLog
from ..expressions import operators_in, why_not_log_format
from .access_log_filter import decode_filter, encode_filter
from .any_value import decode_attributes, decode_body, encode_attributes
from .metadata import encode_struct, read_struct
from .wire import Fields, Reader, packed

LOGGERS = "envoy.extensions.access_loggers"
FILE = f"{LOGGERS}.file.v3.FileAccessLog"
STREAMS = {
    f"{LOGGERS}.stream.v3.StdoutAccessLog": "/dev/stdout",
    f"{LOGGERS}.stream.v3.StderrAccessLog": "/dev/stderr",
}
OPEN_TELEMETRY = f"{LOGGERS}.open_telemetry.v3.OpenTelemetryAccessLogConfig"
FORMATTERS = {
    "CEL": "envoy.extensions.formatter.cel.v3.Cel",
    "METADATA": "envoy.extensions.formatter.metadata.v3.Metadata",
    "REQ_WITHOUT_QUERY": "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
}
"""Operators that Envoy knows only where it is told so; here they are known in any case."""


def encode_access_log(log: AccessLog) -> Fields:
    return {
        "name": log.name,
        "filter": None if log.filter is None else encode_filter(log.filter),
        "typed_config": _encode_sink(log.config),
    }


def _encode_sink(sink: AccessLogSink) -> object:
    match sink:
        case FileAccessLog():
            return packed(FILE, {"path": sink.path, "log_format": _encode_format(sink)})
        case OpenTelemetryAccessLog():
            return packed(OPEN_TELEMETRY, _encode_open_telemetry(sink))


def _encode_format(log: FileAccessLog) -> Fields | None:
    if log.json is not None:
        said: Fields = {"json_format": encode_struct(log.json) or {}}
    elif log.text:
        said = {"text_format_source": {"inline_string": log.text}}
    else:
        return None
    texts = (log.text, *(text for _, text in texts_of(log.json)))
    formatters = _encode_formatters(texts)
    return {**said, "omit_empty_values": log.omit_empty_values, "formatters": formatters}


def _encode_formatters(texts: Iterable[str]) -> list[Fields]:
    """What an Envoy has to be told of, so that it understands these texts."""
    operators = {name for text in texts for name in operators_in(text)}
    return [
        {"name": f"envoy.formatter.{name.lower()}", "typed_config": packed(FORMATTERS[name], {})}
        for name in sorted(operators & FORMATTERS.keys())
    ]


def _encode_open_telemetry(log: OpenTelemetryAccessLog) -> Fields:
    return {
        "common_config": {
            "log_name": log.log_name,
            "grpc_service": {"envoy_grpc": {"cluster_name": log.cluster}},
            "transport_api_version": "V3",
        },
        "body": {"string_value": log.body} if log.body else None,
        "attributes": None if log.attributes is None else encode_attributes(log.attributes),
        "formatters": _encode_formatters(
            (log.body, *(text for _, text in texts_of(log.attributes)))
        ),
    }


def decode_access_logs(hcm: Reader) -> tuple[AccessLog, ...]:
    found = (_decode_log(one) for one in hcm.children("access_log"))
    return tuple(log for log in found if log is not None)


def _decode_log(reader: Reader) -> AccessLog | None:
    name = reader.text("name")
    type_name, inside = reader.extension("typed_config")
    decode = DECODERS.get(type_name)
    if inside is None or decode is None:
        reader.drop()
        return None
    sink = decode(inside, type_name)
    asked = reader.optional_child("filter")
    if asked is None:
        return AccessLog(name=name, config=sink)
    condition = decode_filter(asked)
    if condition is None:
        reader.drop()
        return None
    return AccessLog(name=name, config=sink, filter=condition)


def _decode_file(reader: Reader, _: str) -> FileAccessLog:
    return _decode_lines(reader, reader.text("path", required=True))


def _decode_stream(reader: Reader, type_name: str) -> FileAccessLog:
    return _decode_lines(reader, STREAMS[type_name])


def _decode_lines(reader: Reader, path: str) -> FileAccessLog:
    """The older words for a format are still spoken."""
    if reader.has("log_format"):
        return _decode_format(reader.child("log_format"), path)
    for field in ("json_format", "typed_json_format"):
        if reader.has(field):
            return FileAccessLog(path=path, json=_decode_json(reader, field))
    return FileAccessLog(path=path, text=checked_format(reader, "format", reader.text("format")))


def _decode_format(reader: Reader, path: str) -> FileAccessLog:
    omit = reader.flag("omit_empty_values")
    reader.skip("json_format_options")  # keys are written in order in any case
    _decode_formatters(reader)
    if reader.has("json_format"):
        made = _decode_json(reader, "json_format")
        return FileAccessLog(path=path, json=made, omit_empty_values=omit)
    text = _decode_text(reader)
    return FileAccessLog(path=path, text=text, omit_empty_values=omit and bool(text))


def _decode_formatters(reader: Reader) -> None:
    for one in reader.children("formatters", lambda message: message.name):
        type_name, _ = one.extension("typed_config")
        if type_name in FORMATTERS.values():
            one.skip("name")
        else:
            one.drop()


def _decode_text(reader: Reader) -> str:
    if reader.has("text_format"):
        return checked_format(reader, "text_format", reader.text("text_format"))
    source = reader.child("text_format_source")
    if not source.has("inline_string"):
        source.refuse(
            "filename", "inline_bytes", "environment_variable", otherwise="no format is given"
        )
    return checked_format(source, "inline_string", source.text("inline_string"))


def _decode_json(reader: Reader, field: str) -> Struct:
    made = read_struct(reader.taken(field))
    if made is None:
        reader.problem("numbers must be finite", field)
        return Struct()
    for path, text in texts_of(made):
        checked_format(reader, f"{field}.{path}", text)
    return made


def checked_format(reader: Reader, field: str, text: str) -> str:
    """The text of a field; what is wrong with it is a problem, and what is never filled in told."""
    refusal = why_not_log_format(text)
    if refusal:
        reader.problem(refusal, field)
        return text
    for name in unfilled_in(text):
        reader.drop(f"{field}[{name}]")  # it is "-" always
    return text


def _decode_open_telemetry(reader: Reader, _: str) -> OpenTelemetryAccessLog:
    common = reader.child("common_config")
    common.skip("transport_api_version")
    service = common.child("grpc_service")
    if service.has("envoy_grpc"):
        common.drop("grpc_service")  # the program says where its log records go
    if not service.has("envoy_grpc"):
        service.refuse("google_grpc", otherwise="no service is given")
    _decode_formatters(reader)
    body, attributes = decode_body(reader), decode_attributes(reader)
    checked_format(reader, "body", body)
    for path, text in texts_of(attributes):
        checked_format(reader, f"attributes.{path}", text)
    return OpenTelemetryAccessLog(
        cluster=service.child("envoy_grpc").text("cluster_name", required=True),
        log_name=common.text("log_name"),
        body=body,
        attributes=attributes,
    )


DECODERS: dict[str, Callable[[Reader, str], AccessLogSink]] = {
    FILE: _decode_file,
    **dict.fromkeys(STREAMS, _decode_stream),
    OPEN_TELEMETRY: _decode_open_telemetry,
}
