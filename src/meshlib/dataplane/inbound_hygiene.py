"""What a call has to be like before policies judge it: nothing in it may mean two things.

Of HTTP: one host, one path that is escaped in one way, one set of credentials. Of gRPC: a path of a
service and a method, and metadata as its specification has it. What only a proxy may say of a
caller is taken from everybody who is not known as a gateway.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from string import ascii_letters, digits

from .message import Headers, Request

METADATA_SIZE = 16 << 10
"""Octets of all headers of a gRPC call at most, 32 for each besides, as HTTP/2 counts them."""
METADATA_COUNT = 128
ENTRY = 32

INTERNAL = ("x-envoy-", "x-forwarded-", "x-meshlib-")
HARMLESS = frozenset(
    {
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-attempt-count",
        "x-envoy-downstream-service-cluster",
    }
)
"""What members say of their own calls: it makes no promise that anybody relies on."""

NOT_METADATA = frozenset(
    {"host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
"""What HTTP/2 has no use for (RFC 9113, 8.2.2); of ``host`` gRFC A41 says that it is discarded."""

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAUTHENTICATED = 3, 8, 12, 16

_METHOD = re.compile("[A-Z]+(?:-[A-Z]+)*")
_GRPC_PATH = re.compile("/[^/?#]+/[^/?#]+")
_HOST = re.compile(
    r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*)"
    r"\.?(?::([0-9]{1,5}))?"
)
_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")
_BROKEN = re.compile("%(?![0-9A-Fa-f]{2})|%00|[\0#]")
_PLAIN = frozenset(f"{ascii_letters}{digits}-._~!$&'()*+,;=:@")
"""What stands for itself in a segment of a path; servers route by it however it is escaped."""


@dataclass(frozen=True, slots=True)
class Unclean:
    """Why a call is not even judged."""

    status: int
    grpc_status: int
    words: str


BAD_PATH = Unclean(400, UNIMPLEMENTED, "malformed path")
BAD_METHOD = Unclean(400, UNIMPLEMENTED, "malformed method")
BAD_HOST = Unclean(400, INVALID_ARGUMENT, "malformed host")
BAD_CODING = Unclean(400, INVALID_ARGUMENT, "malformed transfer-encoding")
BAD_NAME = Unclean(400, INVALID_ARGUMENT, "header names with an underscore are refused")
BAD_VALUE = Unclean(400, INVALID_ARGUMENT, "metadata must be printable ASCII")
TOO_MUCH = Unclean(431, RESOURCE_EXHAUSTED, "too much metadata")
SEVERAL = Unclean(400, UNAUTHENTICATED, "more than one authorization header")


def clean(request: Request, gateways: Container[str]) -> Request | Unclean:
    """The request as policies, routes and the handler are to see it, or why it is refused.

    ``gateways``: the SPIFFE ids that may say for whom they call.
    """
    peer = request.connection.peer
    vouched = peer.secure and peer.spiffe_id in gateways
    headers = request.headers if vouched else without_internal(request.headers)
    made = (_grpc if request.is_grpc else _http)(request, headers)
    if vouched and isinstance(made, Request):
        called_for = (made.header("x-forwarded-for") or "").rpartition(",")[2].strip()
        return made.on_behalf_of(_with_port(called_for)) if called_for else made
    return made


def _grpc(request: Request, headers: Headers) -> Request | Unclean:
    if _GRPC_PATH.fullmatch(request.path) is None:
        return BAD_PATH
    size, credentials, untidy = request.binary_size, 0, False
    for name, value in request.headers:
        size += len(name) + len(value) + ENTRY
        if not (value.isascii() and value.isprintable()):
            return BAD_VALUE
        if name == "authorization":
            credentials += 1
        elif name in NOT_METADATA:
            untidy = True
    if size > METADATA_SIZE or len(request.headers) > METADATA_COUNT:
        return TOO_MUCH
    if credentials > 1:
        return SEVERAL
    if untidy:
        headers = tuple([pair for pair in headers if pair[0] not in NOT_METADATA])
    return _with(request, request.path, request.authority, headers)


def _http(request: Request, headers: Headers) -> Request | Unclean:
    if _METHOD.fullmatch(request.method) is None:
        return BAD_METHOD
    path = segments_unescaped(request.path)
    if path is None:
        return BAD_PATH
    authority = canonical_host(request.authority)
    if authority is None:
        return BAD_HOST
    credentials = 0
    for name, value in request.headers:
        if "_" in name:
            return BAD_NAME
        if name == "authorization":
            credentials += 1
        elif name == "transfer-encoding" and value.lower() != "chunked":
            return BAD_CODING
    if credentials > 1:
        return SEVERAL
    if authority != request.authority:
        headers = tuple([(n, authority if n == "host" else v) for n, v in headers])
    return _with(request, path, authority, headers)


def _with(request: Request, path: str, authority: str, headers: Headers) -> Request:
    """The very request where nothing changed."""
    if path == request.path and authority == request.authority and headers is request.headers:
        return request
    return request.altered(path=path, authority=authority, headers=headers)


def _with_port(address: str) -> str:
    """As addresses of callers stand elsewhere; gateways mostly tell no port."""
    if "[" not in address and address.count(":") > 1:
        return f"[{address}]:0"
    return address if ":" in address.rpartition("]")[2] else f"{address}:0"


def is_internal(name: str) -> bool:
    """Is this a header that only what stands before a server may set?"""
    return name.startswith(INTERNAL) and name not in HARMLESS


def without_internal(headers: Headers) -> Headers:
    """The very headers where there is nothing to take away."""
    for name, _ in headers:
        if name[:2] == "x-" and is_internal(name):
            return tuple([pair for pair in headers if not is_internal(pair[0])])
    return headers


def canonical_host(authority: str) -> str | None:
    """In lower case and without a dot at the end; ``None`` where it is no host. "" is no host."""
    if not authority:
        return authority
    found = _HOST.fullmatch(authority.lower())
    if found is None:
        return None
    host, port = found[1], found[2]
    if port is None:
        return host
    return f"{host}:{port}" if int(port) <= 65535 else None


def segments_unescaped(path: str) -> str | None:
    """With what need not be escaped in a segment as it is, and nothing that ends one.

    ``None`` where there is a NUL, a fragment, or half an escape.
    """
    plain, mark, query = path.partition("?")
    if plain[:1] != "/" and plain != "*":
        return None
    if "#" in query or _BROKEN.search(plain) is not None:
        return None
    return _ESCAPED.sub(_unescaped, plain) + mark + query if "%" in plain else path


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _PLAIN else match[0].upper()
