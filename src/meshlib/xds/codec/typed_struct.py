"""``TypedStruct``: an extension's configuration as JSON, which Istio writes for some filters."""

from typing import Any

from google.protobuf import json_format

from ...errors import ConfigError
from ..protos import from_json
from .wire import Reader

TYPED_STRUCTS = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")


def opened_filter(holder: Reader, packed: Any, label: str) -> tuple[str, Reader | None]:
    """As ``holder.opened``, with a ``TypedStruct`` read as the message that it stands for."""
    type_name, reader = holder.opened(packed, label)
    if type_name not in TYPED_STRUCTS or reader is None:
        return type_name, reader
    type_url = reader.text("type_url", required=True)
    value = reader.taken("value")
    try:
        fields = {} if value is None else json_format.MessageToDict(value)
        meant = from_json({**fields, "@type": type_url}, holder.path_of(label))
    except (ConfigError, json_format.Error, ValueError) as wrong:
        holder.problem(f"is not a valid {type_url}: {wrong}", label)
        return type_url.rpartition("/")[2], None
    return holder.opened(meant, label)
