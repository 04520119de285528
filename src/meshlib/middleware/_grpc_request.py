"""From the metadata of a call to the core's request, and back when the mesh changed it."""

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc.aio

from ..dataplane import Headers, Meter, Outcome, Request, Send, Steps
from ..dataplane.inbound_hygiene import ENTRY
from ..dataplane.introduction import INTRODUCTION, PEER_METADATA_ID, QUESTION
from ._deadline import INCOMING
from ._drive import Runtime
from ._override import OVERRIDE
from ._propagation import Propagation

Metadata = Iterable[tuple[str, str | bytes]]
ROOM = 6144
"""Octets that what is handed on may take; the rest is for the call's own metadata."""


class Draft:
    """One call as its caller made it, and the metadata to send if the route changes nothing."""

    __slots__ = ("_foreign", "_metadata", "request")

    def __init__(self, request: Request, metadata: Any, foreign: Any) -> None:
        self.request = request
        self._metadata = metadata
        self._foreign = foreign

    def metadata(self, send: Send, propagation: Propagation) -> Any:
        """What to send: the caller's very object unless the mesh adds or changes something."""
        request, original, endpoint = send.request, self.request, send.endpoint
        leaves = endpoint is None or endpoint.is_external
        if request is original or request.headers is original.headers:
            made = self._foreign if leaves else self._metadata
        else:
            made = self._routed(request, leaves=leaves)
        if endpoint is not None and endpoint.asks:
            made = (*(made or ()), *QUESTION)
        meter = request.meter
        if meter is None or meter.trace is None:
            return made
        return replaced(made, propagation.attempt(send))

    def _routed(self, request: Request, *, leaves: bool) -> Any:
        original = self.request
        if not leaves:
            return merged(carried(request.headers), self._metadata)
        hidden = set(original.headers).difference(headers_of(self._foreign or ()))
        shown = tuple(pair for pair in request.headers if pair not in hidden)
        return merged(carried(shown), self._metadata)


def pause(runtime: Runtime, steps: Steps[Outcome], draft: Draft) -> None:
    """End the steps of a call that is to begin anew: its trace goes on."""
    meter = draft.request.meter
    assert meter is not None
    trace, meter.trace = meter.trace, None
    runtime.finish(steps)
    meter.trace = trace


Spread = tuple[Headers, Any, Headers, Any]
"""What is handed on, with calls that have no metadata of their own: as the native call takes it, as
the core sees it, and what of it goes out of the mesh."""


class Sent(grpc.aio.Metadata):
    """Metadata that is known to be sound: grpcio would take each pair apart to group them.

    It is grouped all the same for whoever looks further than at all pairs in their order.
    """

    def __init__(self, *pairs: tuple[str, str | bytes]) -> None:
        self._pairs = pairs

    def __getattr__(self, name: str) -> Any:
        if name != "_metadata":
            raise AttributeError(name)
        super().__init__(*self._pairs)
        return self.__dict__[name]

    def __iter__(self) -> Iterator[Any]:
        return super().__iter__() if "_metadata" in self.__dict__ else iter(self._pairs)

    def __len__(self) -> int:
        return super().__len__() if "_metadata" in self.__dict__ else len(self._pairs)

    def __add__(self, other: Any) -> grpc.aio.Metadata:
        made: grpc.aio.Metadata = grpc.aio.Metadata(*self) + other
        return made


def ready_made(metadata: Any) -> Any:
    """Of a tuple, which the mesh has read through."""
    return Sent(*metadata) if type(metadata) is tuple else metadata


class Drafting:
    """Makes the requests of one mesh channel."""

    __slots__ = ("_authority", "_runtime", "_spread", "_target")

    def __init__(self, runtime: Runtime, target: str, authority: str) -> None:
        self._runtime = runtime
        self._spread: Spread = ((), (), (), ())
        self._target = target
        self._authority = authority

    def draft(
        self,
        path: str,
        metadata: Any,
        timeout: float | None,
        replayable: bool,
        streaming: bool,
    ) -> Draft:
        runtime = self._runtime
        runtime.start()  # what goes with the call is not known before
        outgoing = runtime.propagation.outgoing()
        if not outgoing:
            foreign, headers = metadata, headers_of(metadata) if metadata else ()
        elif not metadata and outgoing is self._spread[0]:
            _, metadata, headers, foreign = self._spread
        else:
            foreign = joined(metadata, runtime.propagation.outgoing(foreign=True))
            bare, metadata = not metadata, joined(metadata, outgoing)
            headers = headers_of(metadata)
            if bare:
                self._spread = outgoing, metadata, headers, foreign
        deadline = None if timeout is None else runtime.clock() + timeout
        incoming = INCOMING.get()
        if incoming is not None:
            deadline = incoming.bounded(deadline)
        request = Request(
            self._target,
            "POST",
            path,
            self._authority,
            "http",
            headers,
            True,
            replayable,
            streaming,
            deadline,
            "",
            None,
            OVERRIDE.get(),
            meter=Meter(),
        )
        engine, target = runtime.engine, self._target
        foreign_host = target not in engine.listeners and engine.is_foreign(target)
        runtime.propagation.begin(request, foreign=foreign_host)
        return Draft(request, metadata, foreign)


def headers_of(metadata: Metadata) -> Headers:
    """The text values, names in lower case; binary values (``-bin``) are none of the core's."""
    return tuple(
        (key.lower(), value if isinstance(value, str) else value.decode("latin-1"))
        for key, value in metadata
        if not key.endswith("-bin")
    )


def joined(metadata: Metadata | None, outgoing: Headers) -> Any:
    """The caller's metadata with what is propagated; a header the caller set himself wins."""
    given = tuple(metadata or ())
    own = {key.lower() for key, _ in given}
    if not own.isdisjoint(INTRODUCTION):
        given = tuple(pair for pair in given if pair[0].lower() not in INTRODUCTION)
        own -= INTRODUCTION
    own.add(PEER_METADATA_ID)  # asks who answers, which gRPC's core would keep from the caller
    return (*given, *carried(tuple([pair for pair in fitting(outgoing) if pair[0] not in own])))


def fitting(headers: Headers) -> Headers:
    """As many as there is room for: gRPC refuses calls with more than 8 KiB of metadata."""
    size = sum([len(name) + len(value) + ENTRY for name, value in headers])
    if size <= ROOM:
        return headers
    kept = sorted(headers, key=_length)
    while size > ROOM:
        name, value = kept.pop()
        size -= len(name) + len(value) + ENTRY
    return tuple(kept)


def _length(pair: tuple[str, str]) -> int:
    return len(pair[1])


def replaced(metadata: Metadata | None, headers: Headers) -> Any:
    """The metadata with these headers in the place of those of the same names."""
    if not metadata:
        return headers if len(headers) == 1 else carried(headers)
    if len(headers) == 1:  # a traceparent, as mostly
        own = headers[0][0]
        return (*[pair for pair in metadata if pair[0].lower() != own], headers[0])
    names = {name for name, _ in headers}
    return (*[pair for pair in metadata if pair[0].lower() not in names], *carried(headers))


def carried(headers: Headers) -> Metadata:
    """As far as metadata can hold them: one value that it cannot would fail the call."""
    return tuple(
        [
            (name, _binary(value)) if name.endswith("-bin") else (name, value)
            for name, value in headers
            if value.isascii() or name.endswith("-bin")
        ]
    )


def _binary(text: str) -> bytes:
    """What stands in a header of HTTP/2 is base64, padded or not."""
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return text.encode()


def merged(headers: Metadata, metadata: Metadata | None) -> Any:
    """The headers as the route changed them, with the caller's binary values."""
    return (*headers, *(pair for pair in metadata or () if pair[0].endswith("-bin")))


def responded(metadata: Any, respond: Callable[[Headers], Headers]) -> Any:
    """Response headers as the application is to see them, in the shape they came in."""
    seen = merged(respond(headers_of(metadata or ())), metadata)
    return grpc.aio.Metadata(*seen) if isinstance(metadata, grpc.aio.Metadata) else seen
