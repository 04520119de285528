"""Envoy's external authorization on the wire (``envoy.service.auth.v3``)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from google.protobuf.message import DecodeError

from ..model import HeaderValueOption
from .codec.metadata import read_struct
from .protos import message_class

METHOD = "/envoy.service.auth.v3.Authorization/Check"
REQUEST = "envoy.service.auth.v3.CheckRequest"
RESPONSE = "envoy.service.auth.v3.CheckResponse"
OK = 0
FORBIDDEN = 403

T = TypeVar("T")
Headers = tuple[tuple[str, str], ...]
Options = tuple[HeaderValueOption, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a service is told of a request; what is not known is empty.

    ``source`` and ``destination`` are addresses with their ports; ``certificate`` is PEM.
    """

    method: str
    path: str
    host: str = ""
    scheme: str = ""
    protocol: str = ""
    request_id: str = ""
    headers: Headers = ()
    body: bytes | None = None
    pack_as_bytes: bool = False
    source: str = ""
    source_principal: str = ""
    certificate: bytes = b""
    destination: str = ""
    destination_principal: str = ""
    extensions: Headers = ()


def encode_request(asked: Asked) -> bytes:
    request: Any = message_class(REQUEST)()
    attributes = request.attributes
    _address(attributes.source, asked.source)
    attributes.source.principal = asked.source_principal
    attributes.source.certificate = quote(asked.certificate, safe="")
    _address(attributes.destination, asked.destination)
    attributes.destination.principal = asked.destination_principal
    for name, value in asked.extensions:
        attributes.context_extensions[name] = value
    _describe(attributes.request.http, asked)
    encoded: bytes = request.SerializeToString(deterministic=True)
    return encoded


def _describe(http: Any, asked: Asked) -> None:
    http.id, http.method, http.path = asked.request_id, asked.method, _text(asked.path)
    http.host, http.scheme, http.protocol = asked.host, asked.scheme, asked.protocol
    for name, value in asked.headers:
        known = http.headers.get(name)
        http.headers[name] = _text(value) if known is None else f"{known},{_text(value)}"
    http.size = -1 if asked.body is None else len(asked.body)
    if asked.body is None:
        return
    if asked.pack_as_bytes:
        http.raw_body = asked.body
    else:
        http.body = asked.body.decode("utf-8", "replace")


def _address(peer: Any, said: str) -> None:
    host, _, port = said.rpartition(":")
    if port.isdecimal():
        peer.address.socket_address.address = host.strip("[]")
        peer.address.socket_address.port_value = int(port)


def _text(value: str) -> str:
    """Bytes that are no text are told apart no further."""
    if value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def decode_response(message: bytes, make: Callable[..., T]) -> T:
    """What the service said, as ``make`` takes it: with the fields of a verdict by name."""
    response: Any = message_class(RESPONSE)()
    try:
        response.ParseFromString(message)
    except DecodeError as error:
        return make(ok=None, detail=f"the authorization service sent garbage: {error}")
    if response.HasField("error_response"):
        return make(ok=None, detail="the authorization service says that it has failed")
    noted = (
        read_struct(response.dynamic_metadata) if response.HasField("dynamic_metadata") else None
    )
    if response.status.code == OK:
        return make(ok=True, dynamic_metadata=noted, **_allowed(response.ok_response))
    denied = response.denied_response
    return make(
        ok=False,
        status=denied.status.code or FORBIDDEN,
        response_headers=tuple(map(_change, denied.headers)),
        body=denied.body.encode(),
        dynamic_metadata=noted,
    )


def _allowed(ok: Any) -> dict[str, Any]:
    return {
        "request_headers": tuple(map(_change, ok.headers)),
        "headers_to_remove": tuple(name.lower() for name in ok.headers_to_remove),
        "response_headers": tuple(map(_added, ok.response_headers_to_add)),
        "query_parameters_to_set": tuple(
            (one.key, one.value) for one in ok.query_parameters_to_set
        ),
        "query_parameters_to_remove": tuple(ok.query_parameters_to_remove),
    }


def _change(option: Any) -> HeaderValueOption:
    """Envoy looks at ``append`` alone, and appends only to what is there."""
    append = option.HasField("append") and option.append.value
    action = "append_if_exists" if append else "overwrite_if_exists_or_add"
    return _option(option, action)


def _added(option: Any) -> HeaderValueOption:
    if option.HasField("append"):
        action = "append_if_exists_or_add" if option.append.value else "overwrite_if_exists_or_add"
        return _option(option, action)
    values = option.DESCRIPTOR.fields_by_name["append_action"].enum_type.values_by_number
    said = values.get(option.append_action)
    return _option(option, "append_if_exists_or_add" if said is None else said.name.lower())


def _option(option: Any, action: str) -> HeaderValueOption:
    header = option.header
    value = header.value or header.raw_value.decode("latin-1")
    return HeaderValueOption(name=header.key.lower(), value=value, append_action=action)
