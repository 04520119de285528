"""``HashPolicy`` ⇄ :class:`HashPolicy`."""

from ...model import (
    HashCookie,
    HashFilterState,
    HashHeader,
    HashPolicy,
    HashQueryParameter,
    HashSourceIp,
)
from .rewrite import decode_rewrite, encode_rewrite
from .wire import Fields, Reader, duration

CHANNEL_ID = "io.grpc.channel_id"
KINDS = ("header", "cookie", "connection_properties", "query_parameter", "filter_state")


def encode_hash_policy(policy: HashPolicy) -> Fields:
    return {**_encode_kind(policy), "terminal": policy.terminal}


def _encode_kind(policy: HashPolicy) -> Fields:
    match policy:
        case HashHeader(header_name=name, regex_rewrite=rewrite):
            return {"header": {"header_name": name, "regex_rewrite": encode_rewrite(rewrite)}}
        case HashCookie(name=name, ttl=ttl, path=path, attributes=attributes):
            listed = [{"name": key, "value": value} for key, value in attributes]
            cookie = {"name": name, "ttl": duration(ttl), "path": path, "attributes": listed}
            return {"cookie": cookie}
        case HashSourceIp():
            return {"connection_properties": {"source_ip": True}}
        case HashQueryParameter(name=name):
            return {"query_parameter": {"name": name}}
        case HashFilterState(key=key):
            return {"filter_state": {"key": key}}


def decode_hash_policy(reader: Reader) -> HashPolicy | None:
    """``None`` for what adds nothing to a hash; it is told as ignored."""
    terminal = reader.flag("terminal")
    match reader.which(*KINDS):
        case "header":
            return _decode_header(reader.child("header"), terminal=terminal)
        case "cookie":
            return _decode_cookie(reader.child("cookie"), terminal=terminal)
        case "connection_properties":
            if reader.child("connection_properties").flag("source_ip"):
                return HashSourceIp(terminal=terminal)
        case "query_parameter":
            name = reader.child("query_parameter").text("name", required=True)
            return HashQueryParameter(name=name, terminal=terminal)
        case "filter_state":
            key = reader.child("filter_state").text("key", required=True)
            if key != CHANNEL_ID:
                reader.drop("filter_state")
            return HashFilterState(key=key, terminal=terminal)
        case _:
            pass
    reader.drop()
    return None


def _decode_header(header: Reader, *, terminal: bool) -> HashHeader:
    return HashHeader(
        header_name=header.text("header_name", required=True),
        regex_rewrite=decode_rewrite(header, "regex_rewrite"),
        terminal=terminal,
    )


def _decode_cookie(cookie: Reader, *, terminal: bool) -> HashCookie:
    attributes = (
        (one.text("name", required=True), one.text("value"))
        for one in cookie.children("attributes")
    )
    return HashCookie(
        name=cookie.text("name", required=True),
        ttl=cookie.optional_seconds("ttl"),
        path=cookie.text("path"),
        attributes=tuple(attributes),
        terminal=terminal,
    )
