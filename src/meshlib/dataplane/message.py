"""What goes in and what comes out: requests, responses and failures as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..model import Metadata, Struct

Headers = tuple[tuple[str, str], ...]
"""Names in lower case, in order, repeated where repeated; binary values are left out."""

FRAME = 5
"""Octets that gRPC puts ahead of each message: whether it is compressed, and how long it is."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})


def joined(headers: Headers, name: str) -> str | None:
    """The value of a header, several joined by commas; ``None`` where it is missing."""
    found = None
    for key, value in headers:
        if key == name:
            found = value if found is None else f"{found},{value}"
    return found


def first(headers: Headers, name: str) -> str | None:
    """The first value of a header as it stands; ``None`` where it is missing."""
    for key, value in headers:
        if key == name:
            return value
    return None


@dataclass(frozen=True, slots=True)
class Override:
    """What a block of the application's code asks for instead of the configuration's values.

    ``timeout`` in seconds, for the whole call, and never longer than the caller's own deadline; 0
    is no limit. ``retries`` the number of second tries. ``None`` is as configured.
    """

    timeout: float | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who calls, as far as the connection proves it; what is not proven is empty.

    ``secure``: the connection is mutual TLS and the peer's certificate was verified.
    ``spiffe_id`` is there only where its one URI SAN is a SPIFFE id that its trust domain vouches
    for. ``certificate`` is the leaf in PEM, ``claims`` those of a verified JWT.
    """

    secure: bool = False
    spiffe_id: str = ""
    uri_sans: tuple[str, ...] = ()
    dns_sans: tuple[str, ...] = ()
    subject: str = ""
    serial: str = ""
    certificate: bytes = field(default=b"", repr=False)
    claims: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def principal(self) -> str:
        """The SPIFFE id without its scheme, as Istio's policies write it."""
        return self.spiffe_id.removeprefix("spiffe://")


NOBODY = Peer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a request came by. ``local_address`` is ``ip:port`` where it is known, or ``:port``;
    ``tls_version`` such as ``TLSv1.3``, where the library tells it.

    ``refusal``: why nothing that comes by it is let in, "" where that is not so.
    """

    peer: Peer = NOBODY
    local_address: str = ""
    server_name: str = ""
    tls_version: str = ""
    refusal: str = ""


PLAINTEXT = Connection()


@dataclass(slots=True)
class Meter:
    """What the hook counts of one call while it goes on: octets of bodies, and messages.

    Of gRPC, octets are those of the messages with their frames; an attempt made anew
    counts anew. ``request_ended`` and ``response_began`` are moments on the mesh's clock, where
    the hook saw them. ``server_principal`` is who answered, as far as TLS proved it. ``trace`` is
    the hook's own, as ``Response.native`` is: the core hands it on and never looks at it. ``peer``
    is what a caller says of itself, and ``asks`` whether it wants to hear the like. ``http_route``
    is the pattern of the application's own route that took the call. ``request_id`` was made for a
    call that came without one. ``messages`` are those of a stream as they go by, where anybody
    wants to know: whether they are of the request, when, and their octets without frames.
    """

    request_bytes: int = 0
    response_bytes: int = 0
    request_messages: int = 0
    response_messages: int = 0
    request_ended: float | None = None
    response_began: float | None = None
    secured: bool = False
    server_principal: str = ""
    trace: Any = None
    peer: str = ""
    asks: bool = False
    http_route: str = ""
    request_id: str = ""
    messages: list[tuple[bool, float, int]] | None = None


@dataclass(slots=True)
class Request:
    """One call as the caller made it. Nobody changes one: :meth:`altered` makes another.

    ``target`` is what the caller named, as ``host:port`` in lower case; ``path`` includes the
    query; ``deadline`` is a moment on the mesh's clock. ``replayable`` says that the same body
    can be sent again; ``streaming`` that either side sends more than one message. ``source`` is
    the caller's address, "" where the caller is this very process. ``override`` is what the
    application said for this call alone. ``connection`` is how a call came in. ``body`` is the
    message of an inbound gRPC call with one, as it came in; ``None`` where nobody has it yet.
    ``binary_size`` are the octets of headers with binary values, which are not among ``headers``.
    ``remote`` is the address of whom a trusted gateway calls for, "" where there is none.
    ``meter``, shared by all forms of one request, is what is counted of the call; a hook that
    counts nothing has none.
    """

    target: str
    method: str
    path: str
    authority: str = ""
    scheme: str = "http"
    headers: Headers = ()
    is_grpc: bool = False
    replayable: bool = True
    streaming: bool = False
    deadline: float | None = None
    source: str = ""
    dynamic_metadata: Metadata | None = None
    override: "Override | None" = None
    connection: Connection = PLAINTEXT
    body: bytes | None = field(default=None, repr=False)
    binary_size: int = 0
    remote: str = ""
    meter: Meter | None = None

    def header(self, name: str) -> str | None:
        """The value of a header (lower-case name); several are joined by commas."""
        found = joined(self.headers, name)
        return self._pseudo(name) if found is None and name[:1] == ":" else found

    def first(self, name: str) -> str | None:
        """The first value of a header (lower-case name), of which a line of a log is made."""
        return first(self.headers, name)

    def values(self, name: str) -> tuple[str, ...]:
        """Each value of a header as it stands; of a gRPC call, or a pseudo-header, at most one."""
        if not self.is_grpc:
            found = tuple([value for key, value in self.headers if key == name])
            if found or name[:1] != ":":
                return found
        joined = self.header(name)
        return () if joined is None else (joined,)

    def _pseudo(self, name: str) -> str | None:
        return {
            ":method": self.method,
            ":path": self.path,
            ":authority": self.authority or self.target,
            ":scheme": self.scheme,
        }.get(name)

    def altered(self, *, path: str, authority: str, headers: Headers) -> "Request":
        return self._made(path, authority, headers, self.dynamic_metadata)

    def on_behalf_of(self, remote: str) -> "Request":
        """The same request, and whom the gateway that makes it calls for."""
        made = self.altered(path=self.path, authority=self.authority, headers=self.headers)
        made.remote = remote
        return made

    def noted(self, filter_name: str, found: Struct) -> "Request":
        """The same request, and what a filter found out about it as dynamic metadata."""
        known = () if self.dynamic_metadata is None else self.dynamic_metadata.filter_metadata
        others = [pair for pair in known if pair[0] != filter_name]
        metadata = Metadata(tuple(sorted([*others, (filter_name, found)], key=_first)))
        return self._made(self.path, self.authority, self.headers, metadata)

    def _made(
        self, path: str, authority: str, headers: Headers, metadata: Metadata | None
    ) -> "Request":
        return Request(
            self.target,
            self.method,
            path,
            authority,
            self.scheme,
            headers,
            self.is_grpc,
            self.replayable,
            self.streaming,
            self.deadline,
            self.source,
            metadata,
            self.override,
            self.connection,
            self.body,
            self.binary_size,
            self.remote,
            self.meter,
        )


def _first(pair: tuple[str, Struct]) -> str:
    return pair[0]


class Cause(Enum):
    """Why a call has no response of its own; the value is Envoy's response flag."""

    CONNECT = "UF"
    """No connection: not a byte was sent."""
    REFUSED = "UR"
    """The peer refused the stream before it processed anything."""
    RESET = "UC"
    """The connection or stream broke; the request may have been processed."""
    TIMEOUT = "UT"
    DEADLINE = "DT"
    """The caller's own time is over, which no second try can change."""
    CANCELLED = "DC"
    OVERFLOW = "UO"
    NO_ENDPOINT = "UH"
    NO_ROUTE = "NR"
    NO_CLUSTER = "NC"
    NO_CONFIG = "NR,NOCONFIG"
    NO_FILTER_CONFIG = "NFCF"
    """A filter's configuration was to come by itself (ECDS), and did not."""
    DROP_OVERLOAD = "DO"
    UNAUTHORIZED = "UAEX"
    """A policy, or a service that was asked, does not let the caller in."""
    UNCLEAN = "DPE"
    """A request that means nothing, or two things at once."""
    RATE_LIMITED = "RL"
    RATE_LIMIT_SERVICE = "RLSE"
    """The rate limit service could not be asked, and calls must not go without."""
    FAULT = "FI"
    """An abort that the configuration asked for."""
    OVERLOADED = "OM"
    """This server, or the client by what it saw of it, sheds load."""
    BLOCKED = "NR,BLOCKED"
    """The host is not of the mesh, and only the mesh may be called (REGISTRY_ONLY)."""
    LOCAL = "LR"
    """The caller's own code failed: a serializer, a body."""

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(self.value.split(","))


NOTHING_SENT = frozenset({Cause.CONNECT})


@dataclass(slots=True)
class Response:
    """An answer. ``native`` is the library's own object and none of the core's business.

    ``grpc_status`` is known at once when headers or trailers of a finished call carried it.
    ``trailers`` are there when the call has failed, or when its endpoint asks for them.
    """

    status: int = 200
    headers: Headers = ()
    grpc_status: int | None = None
    body: bytes = b""
    native: object = None
    trailers: Headers = ()

    def header(self, name: str) -> str | None:
        return joined(self.headers, name)

    def first(self, name: str) -> str | None:
        return first(self.headers, name)


@dataclass(slots=True)
class Failure:
    """No answer. ``grpc_status`` is what gRPC made of it, where it was gRPC that failed."""

    cause: Cause
    detail: str = ""
    grpc_status: int | None = None
    native: object = None
    trailers: Headers = ()


Outcome = Response | Failure
