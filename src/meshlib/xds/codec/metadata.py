"""``envoy.config.core.v3.Metadata`` ⇄ :class:`Metadata`."""

from typing import Any

from ...model import Metadata, Struct, Value
from ..protos import message_class
from .wire import Fields, Reader

EMPTY = Metadata()


def encode_metadata(metadata: Metadata) -> Fields | None:
    if not metadata.filter_metadata:
        return None
    # Older protobuf takes messages, not dicts, as values of a map.
    struct = message_class("google.protobuf.Struct")
    filters = {name: struct(**_struct(held)) for name, held in metadata.filter_metadata}
    return {"filter_metadata": filters}


def decode_metadata(reader: Reader, field: str = "metadata") -> Metadata:
    metadata = reader.optional_child(field)
    if metadata is None:
        return EMPTY
    filters = metadata.entries("filter_metadata")
    return Metadata(tuple((name, read_struct(filters[name])) for name in sorted(filters)))


def read_struct(message: Any) -> Struct:
    fields = message.fields
    return Struct(tuple((name, _read_value(fields[name])) for name in sorted(fields)))


def _read_value(message: Any) -> Value:
    match message.WhichOneof("kind"):
        case None | "null_value":
            return None
        case "struct_value":
            return read_struct(message.struct_value)
        case "list_value":
            return tuple(_read_value(value) for value in message.list_value.values)
        case kind:
            plain: bool | float | str = getattr(message, kind)
            return plain


def _struct(struct: Struct) -> Fields:
    value = message_class("google.protobuf.Value")
    return {"fields": {name: value(**_value(held)) for name, held in struct.fields}}


def _value(value: Value) -> Fields:
    match value:
        case None:
            return {"null_value": 0}
        case bool():
            return {"bool_value": value}
        case str():
            return {"string_value": value}
        case Struct():
            return {"struct_value": _struct(value)}
        case tuple():
            return {"list_value": {"values": [_value(item) for item in value]}}
        case number:
            return {"number_value": number}
