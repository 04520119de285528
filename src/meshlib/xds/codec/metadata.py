"""``envoy.config.core.v3.Metadata`` ⇄ :class:`Metadata`."""

from math import isfinite
from typing import Any

from ...model import Metadata, Struct, Value
from ..protos import message_class
from .wire import Fields, Reader

EMPTY = Metadata()


class _NotFiniteError(Exception):
    pass


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
    metadata.skip("filter_metadata")
    read = read_metadata(metadata.message)
    if read is None:
        metadata.problem("numbers must be finite", "filter_metadata")
        return EMPTY
    return read


def read_metadata(message: Any) -> Metadata | None:
    """``None`` where a number is not finite: JSON has no such, and NaN never equals itself."""
    filters = message.filter_metadata
    try:
        return Metadata(tuple((name, _read_struct(filters[name])) for name in sorted(filters)))
    except _NotFiniteError:
        return None


def encode_struct(struct: Struct) -> Fields | None:
    return _struct(struct) if struct.fields else None


def read_struct(message: Any) -> Struct | None:
    """Nothing there is an empty one; ``None`` where a number is not finite."""
    try:
        return Struct() if message is None else _read_struct(message)
    except _NotFiniteError:
        return None


def _read_struct(message: Any) -> Struct:
    fields = message.fields
    return Struct(tuple((name, _read_value(fields[name])) for name in sorted(fields)))


def _read_value(message: Any) -> Value:
    match message.WhichOneof("kind"):
        case None | "null_value":
            return None
        case "struct_value":
            return _read_struct(message.struct_value)
        case "list_value":
            return tuple(_read_value(value) for value in message.list_value.values)
        case "number_value":
            return _finite(message.number_value)
        case kind:
            plain: bool | str = getattr(message, kind)
            return plain


def _finite(number: float) -> float:
    if isfinite(number):
        return number
    raise _NotFiniteError


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
            # A dict would be taken for the JSON object itself.
            return {"struct_value": message_class("google.protobuf.Struct")(**_struct(value))}
        case tuple():
            held = [_value(item) for item in value]
            return {"list_value": message_class("google.protobuf.ListValue")(values=held)}
        case number:
            return {"number_value": number}
