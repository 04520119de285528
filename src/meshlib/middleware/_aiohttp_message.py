"""aiohttp's requests and responses as the core sees them; headers only when a rule asks."""

from typing import Any

from aiohttp import ClientRequest, ClientResponse, MultipartWriter, web
from aiohttp.payload import BytesPayload, Payload
from multidict import CIMultiDict

from ..dataplane import PLAINTEXT, Headers, Request, Response

Native = ClientRequest | web.Request


class NativeRequest(Request):
    """Headers and address are read when first asked for: most routes never ask."""

    __slots__ = ("_native",)

    def __init__(self, native: Native, target: str, path: str, authority: str, scheme: str) -> None:
        self._native = native
        self.target = target
        self.method = native.method
        self.path = path
        self.authority = authority
        self.scheme = scheme
        self.is_grpc = False
        self.replayable = True
        self.streaming = False
        self.deadline = None
        self.dynamic_metadata = None
        self.override = None
        self.connection = PLAINTEXT
        self.body = None
        self.binary_size = 0
        self.remote = ""
        self.meter = None

    def __getattr__(self, name: str) -> Headers | str:
        if name == "source":
            self.source = source_of(self._native)
            return self.source
        if name != "headers":
            raise AttributeError(name)
        self.headers = lower_case(self._native)
        return self.headers

    def header(self, name: str) -> str | None:
        if name[:1] == ":":
            return super().header(name)
        found = self._native.headers.getall(name, None)
        return None if found is None else found[0] if len(found) == 1 else ",".join(found)

    def first(self, name: str) -> str | None:
        return self._native.headers.get(name)

    def values(self, name: str) -> tuple[str, ...]:
        if name[:1] == ":":
            return super().values(name)
        return tuple(self._native.headers.getall(name, ()))


class NativeResponse(Response):
    __slots__ = ()

    def __init__(self, native: ClientResponse | web.StreamResponse) -> None:
        self.status = native.status
        self.grpc_status = None
        self.body = b""
        self.native = native
        self.trailers = ()

    def __getattr__(self, name: str) -> Headers:
        if name != "headers":
            raise AttributeError(name)
        assert isinstance(self.native, ClientResponse | web.StreamResponse)
        self.headers = lower_case(self.native)
        return self.headers

    def first(self, name: str) -> str | None:
        native: Any = self.native
        found: str | None = native.headers.get(name)
        return found


def lower_case(native: Native | ClientResponse | web.StreamResponse) -> Headers:
    return tuple((name.lower(), value) for name, value in native.headers.items())


def source_of(native: Native) -> str:
    """The caller's address; "" of a call that this process makes itself."""
    transport = native.transport if isinstance(native, web.Request) else None
    peer = transport.get_extra_info("peername") if transport is not None else None
    return address_of(peer) if isinstance(peer, tuple) else ""


def address_of(socket_name: tuple[Any, ...]) -> str:
    host, port = socket_name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_replayable(body: object) -> bool:
    """Can the same body be sent again? Bytes, text, JSON, forms of those: yes.

    Files, iterators and streams: no. aiohttp would send them again from where they stand, empty.
    """
    if isinstance(body, BytesPayload | bytes):
        return True
    if isinstance(body, MultipartWriter):
        parts: list[Payload] = [part for part, *_ in body]
        return all(is_replayable(part) for part in parts)
    return False


def changed(native: CIMultiDict[str], before: Headers, after: Headers) -> CIMultiDict[str]:
    """The native headers with what differs between two views of them; the rest untouched."""
    old, new = _grouped(before), _grouped(after)
    headers = native.copy()
    for name in {**old, **new}:
        if old.get(name) == new.get(name):
            continue
        headers.popall(name, None)
        for value in new.get(name, ()):
            headers.add(name, value)
    return headers


def _grouped(headers: Headers) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in headers:
        grouped.setdefault(name, []).append(value)
    return grouped
