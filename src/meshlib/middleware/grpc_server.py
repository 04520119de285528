"""The synchronous server hook: one interceptor, each method's handler wrapped once."""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc
import grpc.aio

from ..dataplane import Deliver, Headers, Outcome, Race, Send, Serve, Spawn, Steps
from ._drive import Runtime
from ._grpc_introduction import introduction
from ._grpc_load import trailers_of
from ._grpc_message import deserialized, reading, shown
from ._grpc_meter import Incoming
from ._grpc_place import places_behind
from ._grpc_serve import (
    Admission,
    Enter,
    FindPlaces,
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


class ServerInterceptor(grpc.ServerInterceptor):
    def __init__(self, runtime: Runtime, loads: Loads) -> None:
        self._runtime = runtime
        self._loads = loads
        self._handlers = Handlers()

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        path: str = handler_call_details.method
        places = places_behind(continuation)
        made = self._handlers.get(path, handler, places)
        if made is None:
            made = wrapped(self._runtime, path, handler, self._loads, lambda _context: places)
            self._handlers.keep(path, handler, made, places)
        return served_by(made)


def wrapped(runtime: Runtime, path: str, handler: Any, loads: Loads, places: FindPlaces) -> Any:
    make = streaming if handler.response_streaming else unary
    return rewrapped(runtime, handler, make(runtime, path, handler, loads, places))


def unary(
    runtime: Runtime, path: str, handler: Any, loads: Loads, places: FindPlaces
) -> Callable[..., Any]:
    """Around a handler with one response."""
    behaviour, read = behaviour_of(handler), reading(handler)
    arrive, new_scale = arriving(runtime, path, handler, places), scales(runtime, handler)
    extra = filters_of(behaviour)

    def serve(request: Any, context: Any, scale: Incoming | None = None) -> Any:
        scale = scale or new_scale()
        inbound = arrive(request, context, scale)
        steps = runtime.inbound(inbound, extra)
        admitted = admit(runtime, steps)
        if isinstance(admitted, Deliver):
            refuse(runtime, steps, admitted, context)
        served, cut = admitted.request, getattr(context, "cancel", None)
        entered = Enter(runtime, inbound, served, cut)
        outcome: Outcome = gone()
        try:
            message = deserialized(read, request, context)
            response = behaviour(message, shown(context, inbound, served))
            response, outcome = finished(scale, response, context)
            return response
        except Exception as error:
            outcome = outcome_of(context.code(), error)
            raise
        finally:
            entered.leave()
            effect = runtime.conclude(steps, outcome if is_there(context) else gone())
            if more := added(effect):
                put_headers(context, more)
            if loads or scale.meter.asks:
                put_last(context, outcome, runtime, loads, scale)

    return serve


def streaming(
    runtime: Runtime, path: str, handler: Any, loads: Loads, places: FindPlaces
) -> Callable[[Any, Any, Incoming], Iterator[Any]]:
    """Around a handler with a stream of responses."""
    behaviour, read = behaviour_of(handler), reading(handler)
    arrive = arriving(runtime, path, handler, places)
    extra = filters_of(behaviour)

    def serve(request: Any, context: Any, scale: Incoming) -> Iterator[Any]:
        inbound = arrive(request, context, scale)
        steps = runtime.inbound(inbound, extra)
        admitted = admit(runtime, steps)
        if isinstance(admitted, Deliver):
            refuse(runtime, steps, admitted, context)
        served, cut = admitted.request, getattr(context, "cancel", None)
        entered = Enter(runtime, inbound, served, cut)
        outcome: Outcome = gone()
        scale.broken = lambda: runtime.end(steps, unwritable(context))
        try:
            more = added(runtime.step(steps, started(None)))
            message = deserialized(read, request, context)
            responses = behaviour(message, shown(context, inbound, served))
            yield from led_by(more, context, iter(responses)) if more else responses
            outcome = outcome_of(context.code(), None)
        except Exception as error:
            outcome = outcome_of(context.code(), error)
            raise
        finally:
            entered.leave()
            runtime.end(steps, outcome if is_there(context) else gone())
            if loads or scale.meter.asks:
                put_last(context, outcome, runtime, loads, scale)

    return serve


def led_by(headers: Headers, context: Any, responses: Iterator[Any]) -> Iterator[Any]:
    """The responses of a stream, headers of the mesh's ahead of the first."""
    for first in responses:
        put_headers(context, headers)
        yield first
        yield from responses
        return
    put_headers(context, headers)


def put_headers(context: Any, headers: Headers) -> None:
    """As headers where the handler has sent none of its own yet, else as trailers."""
    try:
        context.send_initial_metadata(headers)
    except (ValueError, grpc.aio.BaseError):
        put_trailers(context, headers)
    except grpc.RpcError:
        return  # the caller has gone meanwhile


def put_trailers(context: Any, more: tuple[tuple[str, str | bytes], ...]) -> None:
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), *more))


def put_last(
    context: Any, outcome: Outcome, runtime: Runtime, loads: Loads, scale: Incoming
) -> None:
    """The load of this server goes with the answer, and who it is, for those who ask."""
    load = trailers_of(loads[0].served(outcome)) if loads else ()
    put_trailers(context, (*load, *introduction(runtime, scale.meter)))


def is_there(context: Any) -> bool:
    """Has the caller neither cancelled nor run out of time?"""
    return bool(context.is_active())


def admit(runtime: Runtime, steps: Steps[Outcome]) -> Admission:
    """Run a call up to its handler, or to the answer that the mesh gives instead."""
    answer: object = None
    try:
        while True:
            effect = runtime.step(steps, answer)
            match effect:
                case Serve() | Deliver():
                    return effect
                case Send() | Race() | Spawn():
                    only_outbound(effect)
                case _:
                    answer = runtime.block(effect)
    except BaseException:
        runtime.close(steps)
        raise


def refuse(runtime: Runtime, steps: Steps[Outcome], deliver: Deliver, context: Any) -> NoReturn:
    runtime.finish(steps)
    if more := refused_with(runtime, deliver):
        context.set_trailing_metadata(more)
    context.abort(*refusal(deliver))
    raise AssertionError("abort raises")
