"""OpenTelemetry's ``AnyValue`` and ``KeyValueList`` ⇄ the model's values."""

from math import isfinite
from typing import Any

from ...model import Struct, Value
from .wire import Fields, Reader


def encode_attributes(struct: Struct) -> Fields:
    return {"values": [{"key": key, "value": _encode(value)} for key, value in struct.fields]}


def _encode(value: Value) -> Fields:
    match value:
        case None:
            return {}
        case bool():
            return {"bool_value": value}
        case str():
            return {"string_value": value}
        case Struct():
            return {"kvlist_value": encode_attributes(value)}
        case tuple():
            return {"array_value": {"values": [_encode(item) for item in value]}}
        case number:
            return {"double_value": number}


def decode_body(reader: Reader) -> str:
    """A text; what is no text has no effect, and is told."""
    body = reader.optional_child("body")
    return "" if body is None else body.text("string_value")


def decode_attributes(reader: Reader) -> Struct | None:
    """Of several values under one key the last counts."""
    found = reader.taken("attributes")
    if found is None:
        return None
    return _decode_list(found, reader)


def _decode_list(message: Any, reader: Reader) -> Struct:
    fields = {one.key: _decode(one.value, reader) for one in message.values}
    return Struct(tuple(sorted(fields.items(), key=lambda pair: pair[0])))


def _decode(message: Any, reader: Reader) -> Value:
    match message.WhichOneof("value"):
        case "string_value":
            return str(message.string_value)
        case "bool_value":
            return bool(message.bool_value)
        case "int_value":
            return float(message.int_value)
        case "double_value":
            return _finite(message.double_value, reader)
        case "array_value":
            return tuple(_decode(item, reader) for item in message.array_value.values)
        case "kvlist_value":
            return _decode_list(message.kvlist_value, reader)
        case None:
            return None
        case kind:
            reader.problem(f"{kind} is not supported", "attributes")
            return None


def _finite(number: float, reader: Reader) -> float:
    if not isfinite(number):
        reader.problem("numbers must be finite", "attributes")
        return 0.0
    return number
