"""The server hook: one aiohttp middleware around all handlers of an application."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache, partial

from aiohttp import hdrs, http_parser, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

from ..dataplane import (
    NOBODY,
    PLAINTEXT,
    CallRecord,
    Cause,
    Connection,
    Deliver,
    Effect,
    Failure,
    Outcome,
    Race,
    ReadBody,
    Request,
    Response,
    Send,
    Serve,
    Spawn,
    Steps,
)
from ..dataplane.inbound import LISTENER
from ..model import HttpFilter
from . import _deadline
from ._aiohttp_deadline import expected
from ._aiohttp_message import (
    NativeRequest,
    NativeResponse,
    address_of,
    changed,
    lower_case,
    source_of,
)
from ._aiohttp_meter import Late, count_response, count_writing, is_plain, metered
from ._aiohttp_peek import peek
from ._aiohttp_shown import cloned, shown, target_of, url_of
from ._drive import Runtime
from ._peer import NAMED_BY, SERVED, served

STATUSES = {
    Cause.TIMEOUT: 504,
    Cause.DEADLINE: 504,
    Cause.BLOCKED: 502,
    Cause.LOCAL: 500,
    Cause.RATE_LIMITED: 429,
    Cause.RATE_LIMIT_SERVICE: 500,
}
UNAVAILABLE = 503
PARSES_IN_C = http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy
MISREAD = "aiohttp reads requests without its C extension, too leniently to judge them by policies"
RECORD = web.RequestKey("meshlib_record", object)
"""Where a request keeps what is known of its call, until its headers are sent."""
LATE = web.RequestKey("meshlib_late", Late)
"""Where a request keeps the end of its call, when that comes with the end of the response."""
ROUTED = web.RequestKey("meshlib_routed", bool)
"""This one was routed anew."""


def server_middleware(runtime: Runtime) -> Middleware:
    misread = not PARSES_IN_C

    @web.middleware
    async def mesh(request: web.Request, handler: Handler) -> web.StreamResponse:
        if misread and runtime.engine.is_guarded:
            raise web.HTTPServiceUnavailable(text=MISREAD)
        path = target_of(request)
        canonical = runtime.engine.canonical(path)
        if canonical != path:
            return await _routed_anew(request, canonical)
        host = request.headers.get(hdrs.HOST, "")
        incoming = NativeRequest(request, host, path, host, request.scheme)
        limit = expected(request.headers)
        if limit is not None:
            incoming.deadline = runtime.clock() + limit
        receipt = _deadline.receive(runtime, incoming.deadline)
        if LISTENER in runtime.engine.listeners or runtime.guards:
            incoming.connection = _connection(runtime, request)
        incoming.meter = metered(request, runtime.clock)
        steps = runtime.inbound(incoming, _marks(request))
        try:
            effect = runtime.step(steps, None)
            while type(effect) is not Deliver:
                if type(effect) is Serve:
                    request[RECORD] = effect.record
                    outcome = await _served(
                        runtime, shown(request, incoming, effect.request), handler, effect.request
                    )
                    effect = _ended(runtime, steps, request, effect.request, outcome)
                elif type(effect) is ReadBody:
                    effect = runtime.step(steps, await peek(request, effect.limit))
                else:
                    assert not isinstance(effect, Deliver | Serve | Send | Race | Spawn), effect
                    effect = runtime.step(steps, await runtime.wait(effect))
        except BaseException:
            runtime.close(steps)
            raise
        finally:
            _deadline.release(receipt)
        return _reply(runtime, steps, request, effect)

    return mesh


def _ended(
    runtime: Runtime, steps: Steps[Outcome], native: web.Request, served: Request, outcome: Outcome
) -> Effect:
    """The handler has returned: the call ends now, or when its response has been written."""
    meter, response = served.meter, outcome.native
    assert meter is not None
    if octets := native.content.total_bytes:  # what came over a WebSocket is no content
        meter.request_bytes = octets
    if isinstance(response, web.StreamResponse):
        if is_plain(response):
            count_response(native, response, meter)
        elif not response.prepared:
            return _late(runtime, steps, native, outcome)
    elif response is not None:
        return _late(runtime, steps, native, outcome)
    return runtime.conclude(steps, outcome)


def _late(runtime: Runtime, steps: Steps[Outcome], native: web.Request, outcome: Outcome) -> Effect:
    effect = runtime.step(steps, outcome)
    native[LATE] = Late(runtime, steps)
    return effect


async def _routed_anew(request: web.Request, path: str) -> web.StreamResponse:
    """By the path that policies see: which handler it is for was found by another one."""
    if ROUTED in request:
        raise web.HTTPBadRequest  # a path that is never what it is taken for
    again = cloned(request, rel_url=url_of(path))
    again[ROUTED] = True
    try:
        return await request.match_info.apps[0]._handle(again)  # noqa: SLF001 - nothing else routes
    finally:
        if RECORD in again:
            request[RECORD] = again[RECORD]  # the response is prepared for the one that came
        if LATE in again:
            request[LATE] = again[LATE]


def _marks(request: web.Request) -> Sequence[HttpFilter]:
    """Those of the handler; where it is a view, then those of the method that is to answer."""
    handler = request.match_info.handler
    marks: Sequence[HttpFilter] = getattr(handler, "__meshlib_filters__", ())
    if isinstance(handler, type):
        method = getattr(handler, request.method.lower(), None)
        return _both(marks, getattr(method, "__meshlib_filters__", ()))
    return marks


@lru_cache(maxsize=1024)
def _both(marks: Sequence[HttpFilter], more: Sequence[HttpFilter]) -> Sequence[HttpFilter]:
    """The engine knows decorations by their tuple: for each handler it is always the same."""
    return (*marks, *more)


async def respond(request: web.Request, response: web.StreamResponse) -> None:
    """Let the caller see the headers that the configuration wants it to see, and count."""
    record = request.get(RECORD)
    if not isinstance(record, CallRecord):
        return
    if record.respond is not None:
        before = lower_case(response)
        shown = changed(response.headers, before, record.respond(before))
        response.headers.clear()
        response.headers.extend(shown)
    meter, late = record.request.meter, request.get(LATE)
    assert meter is not None
    if not is_plain(response):
        count_writing(request, response, meter)
    if late is not None:
        late.prepared(request, response, meter)


def _connection(runtime: Runtime, request: web.Request) -> Connection:
    """What is known of it; the address only where there is a configuration that may ask for it."""
    transport, found, inbound = request.transport, PLAINTEXT, runtime.security.inbound
    version = ""
    name = None if transport is None else transport.get_extra_info("sockname")
    local, port = (address_of(name), name[1]) if isinstance(name, tuple) else ("", None)
    if runtime.guards:
        secured = None if transport is None else transport.get_extra_info("ssl_object")
        found = inbound.of_ssl(secured, port)
        version = "" if secured is None else secured.version() or ""
        if found is PLAINTEXT:
            inbound.count(request.headers.get(NAMED_BY, ""), source_of(request))
    return inbound.placed.at(found, local, version)


async def _served(
    runtime: Runtime, request: web.Request, handler: Handler, admitted: Request
) -> Outcome:
    """``request`` is ``admitted`` as aiohttp has it."""
    token = runtime.propagation.receive(admitted)
    meter = admitted.meter
    if meter is not None and meter.trace is not None:
        resource = request.match_info.route.resource
        meter.http_route = "" if resource is None else resource.canonical
    try:
        return await _known(runtime, request, handler, served(admitted))
    finally:
        runtime.propagation.release(token)


async def _known(
    runtime: Runtime, request: web.Request, handler: Handler, connection: Connection
) -> Outcome:
    if connection.peer is NOBODY:
        return await _answer(request, handler)
    token, held = SERVED.set(connection), runtime.security.inbound.held
    cut = partial(_cut, asyncio.get_running_loop(), request)
    call = held.hold(connection, cut) if connection.peer.secure else None
    try:
        return await _answer(request, handler)
    finally:
        if call is not None:
            held.let_go(call)
        SERVED.reset(token)


def _cut(loop: asyncio.AbstractEventLoop, request: web.Request) -> None:
    if request.transport is not None:
        loop.call_soon_threadsafe(request.transport.abort)


async def _answer(request: web.Request, handler: Handler) -> Outcome:
    try:
        return NativeResponse(await handler(request))
    except web.HTTPException as answer:
        return NativeResponse(answer)
    except TimeoutError as error:
        return Response(504, native=error)  # as aiohttp answers it
    except Exception as error:  # noqa: BLE001 - raised again, after it was seen
        return Response(500, native=error)


def _reply(
    runtime: Runtime, steps: Steps[Outcome], request: web.Request, deliver: Deliver
) -> web.StreamResponse:
    outcome = deliver.outcome
    native = outcome.native
    if isinstance(native, Exception):  # HTTPException is both
        raise native
    if isinstance(native, web.StreamResponse):
        return native
    made, meter = _made(outcome, deliver.record), deliver.record.request.meter
    assert meter is not None
    meter.request_bytes = request.content.total_bytes
    count_response(request, made, meter)
    runtime.finish(steps)
    return made


def _made(outcome: Outcome, record: CallRecord) -> web.Response:
    """What the mesh answers by itself."""
    change = record.respond
    match outcome:
        case Response(status=status, headers=headers, body=body):
            shown = CIMultiDict(headers if change is None else change(headers))
            return web.Response(status=status, headers=shown, body=body)
        case Failure(cause=cause, detail=detail):
            status = STATUSES.get(cause, UNAVAILABLE)
            return web.Response(status=status, text=detail or cause.value)
