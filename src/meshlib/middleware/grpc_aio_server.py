"""The asyncio server hook: one interceptor, each method's handler wrapped once."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from ..dataplane import Deliver, Headers, Outcome, Race, Request, Send, Serve, Spawn, Steps
from . import grpc_server
from ._drive import Runtime
from ._grpc_message import reading, shown
from ._grpc_meter import Incoming
from ._grpc_place import Places, places_under
from ._grpc_serve import (
    Admission,
    Enter,
    Handlers,
    added,
    arriving,
    behaviour_of,
    filters_of,
    finished,
    gone,
    only_outbound,
    outcome_of,
    refusal,
    refused_with,
    rewrapped,
    scales,
    served_by,
    unwritable,
)
from ._grpc_status import started
from .grpc_load import Loads
from .grpc_server import put_last, put_trailers

REVOKED = "the certificate is not trusted any more"


class AioServerInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self, runtime: Runtime, loads: Loads) -> None:
        self._runtime = runtime
        self._loads = loads
        self._handlers = Handlers()

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        path: str = handler_call_details.method
        made = self._handlers.get(path, handler)
        if made is None:
            made = wrapped(self._runtime, path, handler, self._loads)
            self._handlers.keep(path, handler, made)
        return served_by(made)


def wrapped(runtime: Runtime, path: str, handler: Any, loads: Loads) -> Any:
    """grpcio tells handlers apart by what kind of function they are: each keeps its kind."""
    behaviour = behaviour_of(handler)
    if inspect.isasyncgenfunction(behaviour):
        return rewrapped(runtime, handler, generating(runtime, path, handler, loads))
    if inspect.iscoroutinefunction(behaviour):
        return rewrapped(runtime, handler, awaited(runtime, path, handler, loads))
    make = grpc_server.streaming if handler.response_streaming else grpc_server.unary
    served: Callable[..., Any] = make(runtime, path, handler, loads, _places)

    def in_thread(request: Any, context: Any, **scale: Incoming) -> Any:
        return served(request, ThreadContext(context), **scale)

    return rewrapped(runtime, handler, in_thread)


def _places(context: Any) -> Places | None:
    return places_under(context.native)


class ThreadContext:
    """What a synchronous handler on an asyncio server is given: it knows the status it set."""

    def __init__(self, context: Any) -> None:
        self._context = self.native = context
        self._code: Any = None
        self._ended = False
        context.add_callback(self._end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def _end(self) -> None:
        self._ended = True

    def is_active(self) -> bool:
        return not self._ended

    def code(self) -> Any:
        return self._code

    def set_code(self, code: Any) -> None:
        self._code = code
        self._context.set_code(code)

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        self._code = code
        self._context.abort(code, details, trailing_metadata)
        raise AssertionError("abort raises")


def awaited(
    runtime: Runtime, path: str, handler: Any, loads: Loads
) -> Callable[[Any, Any], Awaitable[Any]]:
    """Around a coroutine: it returns its response, or writes its responses to the context."""
    behaviour, read = behaviour_of(handler), reading(handler)
    arrive, new_scale = arriving(runtime, path, handler, places_under), scales(runtime, handler)
    extra, writes = filters_of(behaviour), bool(handler.response_streaming)

    async def serve(request: Any, context: Any, scale: Incoming | None = None) -> Any:
        scale = scale or new_scale()
        inbound = arrive(request, context, scale)
        steps = runtime.inbound(inbound, extra)
        served = await let_in(runtime, steps, context)
        cut = cutting(inbound)
        entered = Enter(runtime, inbound, served, cut)
        outcome: Outcome = gone()
        try:
            message = read(request)
            response = await behaviour(message, shown(context, inbound, served))
            if writes:
                outcome = outcome_of(context.code(), None)
            else:
                response, outcome = finished(scale, response, context)
            return response
        except asyncio.CancelledError:
            if cut is not None:
                await cut.tell(context)
            raise
        except Exception as error:
            outcome = outcome_of(context.code(), error)
            raise
        finally:
            entered.leave()
            if more := added(runtime.conclude(steps, outcome)):
                await put_headers(context, more)
            if loads or scale.meter.asks:
                put_last(context, outcome, runtime, loads, scale)

    return serve


def generating(
    runtime: Runtime, path: str, handler: Any, loads: Loads
) -> Callable[[Any, Any, Incoming], AsyncIterator[Any]]:
    """Around an asynchronous generator of responses."""
    behaviour, read = behaviour_of(handler), reading(handler)
    arrive = arriving(runtime, path, handler, places_under)
    extra = filters_of(behaviour)

    async def serve(request: Any, context: Any, scale: Incoming) -> AsyncIterator[Any]:
        inbound = arrive(request, context, scale)
        steps = runtime.inbound(inbound, extra)
        served = await let_in(runtime, steps, context)
        cut = cutting(inbound)
        entered = Enter(runtime, inbound, served, cut)
        outcome, more = begun(scale, lambda: runtime.end(steps, unwritable(context)))
        try:
            more = added(runtime.step(steps, started(None)))
            message = read(request)
            async for response in behaviour(message, shown(context, inbound, served)):
                if more:
                    await put_headers(context, more)
                    more = ()
                yield response
            outcome = outcome_of(context.code(), None)
        except asyncio.CancelledError:
            if cut is not None:
                await cut.tell(context)
            raise
        except Exception as error:
            outcome = outcome_of(context.code(), error)
            raise
        finally:
            entered.leave()
            runtime.end(steps, outcome)
            if more:
                put_trailers(context, more)
            if loads or scale.meter.asks:
                put_last(context, outcome, runtime, loads, scale)

    return serve


def begun(scale: Incoming, broken: Callable[[], None]) -> tuple[Outcome, Headers]:
    """How a stream ends unless it gets further, and the headers that it is led by."""
    scale.broken = broken
    return gone(), ()


class Cutting:
    """Breaks off the running handler, whose caller is believed no more."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task = task
        self._done = False

    def __call__(self) -> None:
        self._task.get_loop().call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self._done = True
        self._task.cancel()

    async def tell(self, context: Any) -> None:
        """A handler that is merely cancelled would leave its caller waiting."""
        if self._done:
            self._task.uncancel()
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, REVOKED)


def cutting(inbound: Request) -> Cutting | None:
    task = asyncio.current_task() if inbound.streaming and inbound.connection.peer.secure else None
    return None if task is None else Cutting(task)


async def put_headers(context: Any, headers: Headers) -> None:
    """As headers where the handler has sent none of its own yet, else as trailers."""
    try:
        await context.send_initial_metadata(headers)
    except grpc.aio.BaseError:
        put_trailers(context, headers)


async def let_in(runtime: Runtime, steps: Steps[Outcome], context: Any) -> Request:
    """The request as the filters have left it."""
    admitted = await admit(runtime, steps)
    if isinstance(admitted, Deliver):
        runtime.finish(steps)
        if more := refused_with(runtime, admitted):
            context.set_trailing_metadata(more)
        await context.abort(*refusal(admitted))
    assert isinstance(admitted, Serve), "abort raises"
    return admitted.request


async def admit(runtime: Runtime, steps: Steps[Outcome]) -> Admission:
    """Run a call up to its handler, or to the answer that the mesh gives instead."""
    answer: object = None
    try:
        while True:
            effect = runtime.step(steps, answer)
            if isinstance(effect, Serve | Deliver):
                return effect
            if isinstance(effect, Send | Race | Spawn):
                only_outbound(effect)
            answer = await runtime.wait(effect)
    except BaseException:
        runtime.close(steps)
        raise
