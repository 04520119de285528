"""The xDS messages, in a pool of our own that no other package can disturb.

``descriptors.bin`` is packed when meshlib is built (``tools/pack_descriptors.py``) and read at the
first use. Messages of this pool and of protobuf's default pool do not mix; their bytes do.
"""

import json
import threading
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ...errors import ConfigError, MeshError, Problem

__all__ = ["from_json", "message_class", "pool", "to_json"]

DESCRIPTORS = Path(__file__).with_name("descriptors.bin")

_loading = threading.Lock()


def pool() -> DescriptorPool:
    """The pool with every message that meshlib speaks; one per interpreter."""
    # Two pools would mean two classes of one name that refuse each other's messages.
    with _loading:
        return _pool()


@cache
def message_class(full_name: str) -> type[Message]:
    """The class of a message, as in ``message_class("envoy.config.cluster.v3.Cluster")``.

    Raises ``KeyError`` for a name that the pool does not have.
    """
    return GetMessageClass(pool().FindMessageTypeByName(full_name))


def to_json(message: Message) -> dict[str, Any]:
    """Proto-JSON with the names of the ``.proto`` files; an ``Any`` shows its ``@type``."""
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=True, descriptor_pool=pool()
    )
    plain: dict[str, Any] = json.loads(text)
    return plain


def from_json(resource: Mapping[str, Any], where: str = "") -> Any:
    """The ``google.protobuf.Any`` of a message in proto-JSON with its ``@type``.

    Raises :class:`ConfigError` at ``where`` for a field or type that does not exist.
    """
    empty = message_class("google.protobuf.Any")()
    try:
        return json_format.ParseDict(dict(resource), empty, descriptor_pool=pool())
    except (json_format.Error, TypeError, ValueError, AttributeError, KeyError) as wrong:
        raise ConfigError(Problem(where, f"not a proto-JSON message: {wrong}")) from wrong


@cache
def _pool() -> DescriptorPool:
    made = DescriptorPool()
    for file in _packed().file:
        made.AddSerializedFile(file.SerializeToString())
    return made


def _packed() -> FileDescriptorSet:
    try:
        compressed = DESCRIPTORS.read_bytes()
    except FileNotFoundError as missing:
        raise MeshError(
            f"{DESCRIPTORS.name} is missing from meshlib.xds.protos: install meshlib-proxyless "
            "again, or in a checkout run `python tools/pack_descriptors.py` with xds-protos "
            "importable"
        ) from missing
    return FileDescriptorSet.FromString(zlib.decompress(compressed))
