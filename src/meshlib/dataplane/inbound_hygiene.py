"""What a call has to be like before policies judge it: nothing in it may mean two things.

Of HTTP: one host, one path that is escaped in one way, one set of credentials. Of gRPC: a path of a
service and a method, and metadata as its specification has it. What only a proxy may say of a
caller is taken from everybody who is not known as a gateway.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from string import ascii_letters, digits

from .message import Headers, Request

METADATA_SIZE = 16 << 10
"""Octets of all headers of a gRPC call at most, 32 for each besides, as HTTP/2 counts them."""
METADATA_COUNT = 128
ENTRY = 32

AUTHORIZATION = "authorization"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
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
    """Why a call is not even judged. ``details`` is Envoy's word for it."""

    status: int
    grpc_status: int
    words: str
    details: str


BAD_PATH = Unclean(400, UNIMPLEMENTED, "malformed path", "path_normalization_failed")
BAD_METHOD = Unclean(400, UNIMPLEMENTED, "malformed method", "http1.invalid_method")
BAD_HOST = Unclean(400, INVALID_ARGUMENT, "malformed host", "http.invalid_authority")
BAD_CODING = Unclean(
    400, INVALID_ARGUMENT, "malformed transfer-encoding", "http1.invalid_transfer_encoding"
)
BAD_NAME = Unclean(
    400,
    INVALID_ARGUMENT,
    "header names with an underscore are refused",
    "http1.unexpected_underscore",
)
BAD_VALUE = Unclean(
    400, INVALID_ARGUMENT, "metadata must be printable ASCII", "http2.invalid.header.field"
)
TOO_MUCH = Unclean(431, RESOURCE_EXHAUSTED, "too much metadata", "http2.too_large_headers")
SEVERAL = Unclean(
    400,
    UNAUTHENTICATED,
    "more than one authorization header",
    "jwt_authn_access_denied{more_than_one_authorization_header}",
)


def clean(request: Request, gateways: Container[str]) -> Request | Unclean:
    """The request as policies, routes and the handler are to see it, or why it is refused.

    ``gateways``: the SPIFFE ids that may say for whom they call.
    """
    peer = request.connection.peer
    vouched = peer.secure and peer.spiffe_id in gateways
    made = (_grpc if request.is_grpc else _http)(request, vouched)
    if vouched and isinstance(made, Request):
        called_for = (made.header("x-forwarded-for") or "").rpartition(",")[2].strip()
        return made.on_behalf_of(_with_port(called_for)) if called_for else made
    return made


def _grpc(request: Request, vouched: bool) -> Request | Unclean:
    if _GRPC_PATH.fullmatch(request.path) is None:
        return BAD_PATH
    headers = request.headers
    values = "".join([value for _, value in headers])
    if not (values.isascii() and values.isprintable()):
        return BAD_VALUE
    names = [name for name, _ in headers]
    size = request.binary_size + len(values) + sum(map(len, names)) + len(names) * ENTRY
    if size > METADATA_SIZE or len(names) > METADATA_COUNT:
        return TOO_MUCH
    kinds = {_kind(name) for name in names}
    if Kind.CREDENTIALS in kinds and names.count(AUTHORIZATION) > 1:
        return SEVERAL
    if Kind.HOP in kinds or Kind.CODING in kinds:
        headers = tuple([pair for pair in headers if pair[0] not in NOT_METADATA])
    if Kind.INTERNAL in kinds and not vouched:
        headers = without_internal(headers)
    return _with(request, request.path, request.authority, headers)


def _http(request: Request, vouched: bool) -> Request | Unclean:
    if request.method not in METHODS and _METHOD.fullmatch(request.method) is None:
        return BAD_METHOD
    path = segments_unescaped(request.path)
    if path is None:
        return BAD_PATH
    authority = canonical_host(request.authority)
    if authority is None:
        return BAD_HOST
    headers = request.headers
    kinds = {_kind(name) for name, _ in headers}
    if Kind.UNDERSCORE in kinds:
        return BAD_NAME
    if Kind.CODING in kinds and any(coding.lower() != "chunked" for coding in _codings(headers)):
        return BAD_CODING
    if Kind.CREDENTIALS in kinds and [name for name, _ in headers].count(AUTHORIZATION) > 1:
        return SEVERAL
    if Kind.INTERNAL in kinds and not vouched:
        headers = without_internal(headers)
    if authority != request.authority:
        headers = tuple([(n, authority if n == "host" else v) for n, v in headers])
    return _with(request, path, authority, headers)


def _codings(headers: Headers) -> list[str]:
    return [value for name, value in headers if name == "transfer-encoding"]


class Kind(IntEnum):
    """What there is to know of a header by its name."""

    PLAIN = 0
    CREDENTIALS = 1
    CODING = 2
    HOP = 3
    INTERNAL = 4
    UNDERSCORE = 5


@lru_cache(maxsize=4096)
def _kind(name: str) -> Kind:
    if name == AUTHORIZATION:
        return Kind.CREDENTIALS
    if is_internal(name):
        return Kind.INTERNAL
    if "_" in name:
        return Kind.UNDERSCORE
    if name == "transfer-encoding":
        return Kind.CODING
    return Kind.HOP if name in NOT_METADATA else Kind.PLAIN


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
    return tuple([pair for pair in headers if not is_internal(pair[0])])


@lru_cache(maxsize=1024)
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
