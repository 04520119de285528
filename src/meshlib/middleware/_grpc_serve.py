"""What the server hooks share: a call on its way in, and how it ended."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc

from ..dataplane import (
    NOBODY,
    PLAINTEXT,
    Cause,
    Connection,
    Deliver,
    Failure,
    Headers,
    Meter,
    Outcome,
    Race,
    Request,
    Response,
    Send,
    Serve,
    Spawn,
)
from ..dataplane.inbound_hygiene import ENTRY
from ..dataplane.message import joined
from ..dataplane.routing.ip_ranges import place_of
from ..model import HttpFilter
from ._deadline import receive, release
from ._drive import Runtime
from ._grpc_introduction import introduction
from ._grpc_meter import Incoming, Unserialized, answered, passed
from ._grpc_place import ABSTRACT, HANDED_ON, Places
from ._grpc_status import CODES, grpc_status, report
from ._peer import NAMED_BY, SERVED, served
from ._tls_held import Cut
from ._tls_inbound import is_encrypted

Admission = Serve | Deliver
"""A call stands before its handler, or the mesh answers in the handler's place."""

HANDLERS_KEPT = 1024
"""Wrapped handlers remembered; a catch-all service may answer to any number of paths."""

UNKNOWN = 2
INTERNAL = 13
IP = ("ipv4", "ipv6")
OF_HTTP = frozenset({"content-length", "content-type"})
FindPlaces = Callable[[Any], Places | None]
"""By the context of a call: where the server listens that it came to."""
FOREVER = 1e9
"""Seconds that a synchronous server says when there is no deadline are more than these."""


def arriving(
    runtime: Runtime, path: str, handler: Any, places: FindPlaces
) -> Callable[[Any, Any, Incoming], Request]:
    """Makes a request of each call of a method."""
    several = bool(handler.request_streaming)
    streaming = several or bool(handler.response_streaming)

    def arrive(message: Any, context: Any, scale: Incoming) -> Request:
        body = None if several else message
        made = inbound_request(runtime, path, context, places, streaming=streaming, body=body)
        made.meter = scale.meter
        if not several:
            scale.came(message)
        return made

    return arrive


def inbound_request(
    runtime: Runtime,
    path: str,
    context: Any,
    places: FindPlaces,
    *,
    streaming: bool,
    body: bytes | None = None,
) -> Request:
    """A call as it came in. What host it was sent to, grpcio does not say."""
    metadata = context.invocation_metadata()
    headers = tuple(pair for pair in metadata if type(pair[1]) is str) if metadata else ()
    left = context.time_remaining()
    deadline = None if left is None or left > FOREVER else runtime.clock() + left
    peer = context.peer()
    source, connection = source_of(peer), PLAINTEXT
    is_judged = runtime.engine.is_guarded
    if runtime.guards or is_judged:
        found = places(context) if is_judged else None
        connection = _connection(runtime, context, headers, peer, found)
    return Request(
        "",
        "POST",
        path,
        "",
        "https" if connection.peer.secure else "http",
        headers,
        True,
        True,
        streaming,
        deadline,
        source,
        None,
        None,
        connection,
        body,
        0 if len(headers) == len(metadata or ()) else _binary_size(metadata),
    )


def _binary_size(metadata: Any) -> int:
    return sum(len(name) + len(value) + ENTRY for name, value in metadata if type(value) is bytes)


def _connection(
    runtime: Runtime, context: Any, headers: Headers, peer: str, places: Places | None
) -> Connection:
    auth, inbound = context.auth_context(), runtime.security.inbound
    local = "" if places is None else places.at(peer, secure=is_encrypted(auth))
    if not runtime.guards:
        return inbound.placed.at(PLAINTEXT, local)
    found = inbound.of_grpc(auth, place_of(local).port)
    if found is PLAINTEXT:
        inbound.count(joined(headers, NAMED_BY) or "", source_of(peer))
    return inbound.placed.at(found, local)


def source_of(peer: str) -> str:
    """``ipv6:%5B::1%5D:5`` is gRPC's word for ``[::1]:5``; sockets of files have no address."""
    if peer.startswith(ABSTRACT + HANDED_ON):
        return peer.split("/", 2)[1]
    kind, _, address = peer.partition(":")
    if kind not in IP:
        return ""
    return unquote(address) if "%" in address else address


def filters_of(behaviour: Any) -> Sequence[HttpFilter]:
    """What decorators put around a handler."""
    extra: Sequence[HttpFilter] = getattr(behaviour, "__meshlib_filters__", ())
    return extra


def outcome_of(code: Any, error: BaseException | None) -> Outcome:
    """How a handler ended, by the code it set and what it raised."""
    status = number(code)
    if error is not None and status == 0:
        status = UNKNOWN
    return Response(200, (), status)


def gone(words: str = "the caller went away") -> Failure:
    return Failure(Cause.CANCELLED, words, 1)


def number(code: Any) -> int:
    """A status code in any of the shapes that handlers set it in."""
    if code is None:
        return 0
    if isinstance(code, grpc.StatusCode):
        return int(code.value[0])
    return code if isinstance(code, int) else UNKNOWN


def finished(scale: Incoming, response: Any, context: Any) -> tuple[Any, Outcome]:
    """A call's one response as it goes out, and how the call ended."""
    outcome, made = outcome_of(context.code(), None), answered(scale, response)
    if outcome.grpc_status:
        # Beside a failure nobody reads it.
        scale.meter.response_bytes = scale.meter.response_messages = 0
    elif type(made) is Unserialized:
        outcome = unwritable(context)
    return made, outcome


def unwritable(context: Any) -> Outcome:
    """What a call ends with whose response cannot be written: each server of grpcio's has its own
    answer to that, but for a code that the handler has set."""
    status = INTERNAL if isinstance(context, grpc.ServicerContext) else UNKNOWN
    return Response(200, (), number(context.code()) or status)


class Enter:
    """What holds while a handler runs: the headers handed on, the deadline, and who calls.

    ``cut``: how to break off a call that lasts, should its caller be revoked meanwhile.
    """

    __slots__ = ("_held", "_receipt", "_runtime", "_served", "_token")

    def __init__(
        self, runtime: Runtime, inbound: Request, admitted: Request, cut: Cut | None = None
    ) -> None:
        self._runtime = runtime
        self._token = runtime.propagation.receive(admitted)
        self._receipt = receive(runtime, inbound.deadline)
        connection = served(admitted)
        self._served = None if connection.peer is NOBODY else SERVED.set(connection)
        self._held: object = None
        if cut is not None and inbound.streaming and inbound.connection.peer.secure:
            self._held = runtime.security.inbound.held.hold(inbound.connection, cut)

    def leave(self) -> None:
        if self._held is not None:
            self._runtime.security.inbound.held.let_go(self._held)
        if self._served is not None:
            with suppress(ValueError):  # a stream that was dropped ends in another context
                SERVED.reset(self._served)
        release(self._receipt)
        self._runtime.propagation.release(self._token)


def refusal(deliver: Deliver) -> tuple[grpc.StatusCode, str]:
    """What a caller is told whom the mesh does not let in."""
    outcome = deliver.outcome
    status = grpc_status(outcome)
    words = outcome.detail if isinstance(outcome, Failure) else report(deliver).detail
    return CODES.get(status, grpc.StatusCode.UNKNOWN), words


def refused_with(runtime: Runtime, deliver: Deliver) -> Headers:
    """The metadata of such an answer: it has no headers but its trailers."""
    outcome = deliver.outcome
    headers = outcome.headers if isinstance(outcome, Response) else ()
    said = (*(pair for pair in headers if pair[0] not in OF_HTTP), *outcome.trailers)
    respond = deliver.record.respond
    told = introduction(runtime, deliver.record.request.meter)
    return (*(said if respond is None else respond(said)), *told)


def added(effect: object) -> Headers:
    """The response headers that the mesh adds to those of the handler."""
    if type(effect) is Deliver and effect.record.respond is not None:
        return effect.record.respond(())
    return ()


class Handlers:
    """Each method's handler, wrapped once; anew for another server that has it, too."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Any, Any, Places | None]] = {}

    def get(self, path: str, handler: Any, places: Places | None = None) -> Any:
        known = self._wrapped.get(path)
        if known is None or known[0] is not handler or known[2] is not places:
            return None
        return known[1]

    def keep(self, path: str, handler: Any, wrapped: Any, places: Places | None = None) -> Any:
        if len(self._wrapped) >= HANDLERS_KEPT:
            self._wrapped.clear()
        self._wrapped[path] = (handler, wrapped, places)
        return wrapped


class PerCall:
    """A handler that streams: another one for each call, so that its messages are counted."""

    __slots__ = ("_behaviour", "_handler", "_make", "_scale")

    def __init__(self, runtime: Runtime, handler: Any, behaviour: Any) -> None:
        self._handler = handler
        self._behaviour = behaviour
        self._make = maker_of(handler)
        self._scale = scales(runtime, handler)

    def handler(self) -> Any:
        handler, scale = self._handler, self._scale()
        return self._make(
            partial(self._behaviour, scale=scale),
            scale.read if handler.request_streaming else None,
            scale.write if handler.response_streaming else passed,
        )


def scales(runtime: Runtime, handler: Any) -> Callable[[], Incoming]:
    codecs = handler.response_serializer, handler.request_deserializer
    return lambda: Incoming(Meter(), runtime.clock, *codecs)


def rewrapped(runtime: Runtime, handler: Any, behaviour: Any) -> Any:
    """A handler of the same kind around another behaviour, which is given one message as bytes.

    Of a stream grpcio deserializes what is read, so nothing before the call is let in.
    """
    if handler.request_streaming or handler.response_streaming:
        return PerCall(runtime, handler, behaviour)
    return grpc.unary_unary_rpc_method_handler(behaviour, None, passed)


def served_by(made: Any) -> Any:
    """What grpcio is given for one call."""
    return made.handler() if type(made) is PerCall else made


def maker_of(handler: Any) -> Any:
    """How handlers of its kind are made."""
    if handler.request_streaming:
        return (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
    return (
        grpc.unary_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.unary_unary_rpc_method_handler
    )


def behaviour_of(handler: Any) -> Any:
    if handler.request_streaming:
        return handler.stream_stream if handler.response_streaming else handler.stream_unary
    return handler.unary_stream if handler.response_streaming else handler.unary_unary


def only_outbound(effect: Send | Race | Spawn) -> NoReturn:
    raise AssertionError(f"an inbound call does not send: {effect}")
