"""``transport_socket``: how the bytes of a connection travel.

Never less safely than was asked for: what is not understood is refused.
"""

from typing import Any

from ...model import Cluster
from ...model.security import DownstreamTls, TransportSocketMatch, UpstreamTls
from .metadata import encode_struct, read_struct
from .security import (
    DOWNSTREAM,
    UPSTREAM,
    decode_downstream,
    decode_upstream,
    encode_downstream,
    encode_upstream,
)
from .wire import Fields, Reader, packed

NAME = "envoy.transport_sockets.tls"
RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
RAW_BUFFER_NAME = "envoy.transport_sockets.raw_buffer"
FIELD = "transport_socket"


def encode_upstream_socket(tls: UpstreamTls | None) -> Fields | None:
    if tls is None:
        return None
    return {"name": NAME, "typed_config": packed(UPSTREAM, encode_upstream(tls))}


def encode_downstream_socket(tls: DownstreamTls) -> Fields:
    return {"name": NAME, "typed_config": packed(DOWNSTREAM, encode_downstream(tls))}


def encode_cluster_sockets(cluster: Cluster) -> Fields:
    return {
        FIELD: encode_upstream_socket(cluster.tls),
        "transport_socket_matches": [_match(one) for one in cluster.transport_socket_matches],
    }


def _match(one: TransportSocketMatch) -> Fields:
    plain = {"name": RAW_BUFFER_NAME, "typed_config": packed(RAW_BUFFER, {})}
    return {
        "name": one.name,
        "match": encode_struct(one.match),
        FIELD: encode_upstream_socket(one.tls) or plain,
    }


def decode_upstream_socket(reader: Reader) -> UpstreamTls | None:
    config = _decode(reader, UPSTREAM)
    return None if config is None else decode_upstream(config)


def decode_downstream_socket(reader: Reader) -> DownstreamTls | None:
    config = _decode(reader, DOWNSTREAM)
    return None if config is None else decode_downstream(config)


def decode_matches(reader: Reader) -> tuple[TransportSocketMatch, ...]:
    reader.refuse_set("transport_socket_matcher")
    matches = reader.children("transport_socket_matches", _name)
    return tuple(map(_decode_match, matches))


def _name(message: Any) -> str:
    name: str = message.name
    return name


def _decode_match(reader: Reader) -> TransportSocketMatch:
    criteria = read_struct(reader.taken("match"))
    if criteria is None:
        reader.problem("numbers must be finite", "match")
    if not reader.has(FIELD):
        reader.problem("must be set", FIELD)
    name = reader.text("name", required=True)
    tls = decode_upstream_socket(reader)
    if criteria is None:
        return TransportSocketMatch(name=name, tls=tls)
    return TransportSocketMatch(name=name, match=criteria, tls=tls)


def _decode(reader: Reader, wanted: str) -> Reader | None:
    """The TLS of a socket; ``None``: plain text, or a problem."""
    socket = reader.optional_child(FIELD)
    if socket is None:
        return None
    socket.skip("name")
    type_name, config = socket.extension("typed_config")
    if type_name == RAW_BUFFER:
        return None
    if type_name == wanted and config is not None:
        return config
    socket.problem(f"{type_name or 'without typed_config'} is not supported")
    return None
