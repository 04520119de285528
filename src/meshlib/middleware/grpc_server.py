"""The synchronous server hook: one interceptor, each method's handler wrapped once."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from ..dataplane import Deliver, Outcome, Race, Send, Serve, Spawn, Steps
from ._drive import Runtime
from ._grpc_serve import (
    Admission,
    Handlers,
    behaviour_of,
    gone,
    inbound_request,
    only_outbound,
    outcome_of,
    refusal,
    rewrapped,
)
from ._grpc_status import started


class ServerInterceptor(grpc.ServerInterceptor):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._handlers = Handlers()

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        path: str = handler_call_details.method
        return self._handlers.get(path, handler) or self._handlers.keep(
            path, handler, wrapped(self._runtime, path, handler)
        )


def wrapped(runtime: Runtime, path: str, handler: Any) -> Any:
    behaviour = behaviour_of(handler)
    if handler.response_streaming:
        return rewrapped(handler, streaming(runtime, path, behaviour))
    streams = bool(handler.request_streaming)
    return rewrapped(handler, unary(runtime, path, behaviour, streaming=streams))


def unary(
    runtime: Runtime, path: str, behaviour: Callable[[Any, Any], Any], *, streaming: bool
) -> Callable[[Any, Any], Any]:
    """Around a handler with one response."""

    def serve(request: Any, context: Any) -> Any:
        inbound = inbound_request(path, context.invocation_metadata(), streaming=streaming)
        steps = runtime.inbound(inbound)
        admitted = admit(runtime, steps)
        if isinstance(admitted, Deliver):
            refuse(runtime, steps, admitted, context)
        token = runtime.propagation.receive(inbound.headers)
        outcome: Outcome = gone()
        try:
            response = behaviour(request, context)
            outcome = outcome_of(context.code(), None)
            return response
        except Exception as error:
            outcome = outcome_of(context.code(), error)
            raise
        finally:
            runtime.propagation.release(token)
            runtime.conclude(steps, outcome if is_there(context) else gone())

    return serve


def streaming(
    runtime: Runtime, path: str, behaviour: Callable[[Any, Any], Iterator[Any]]
) -> Callable[[Any, Any], Iterator[Any]]:
    """Around a handler with a stream of responses."""

    def serve(request: Any, context: Any) -> Iterator[Any]:
        inbound = inbound_request(path, context.invocation_metadata(), streaming=True)
        steps = runtime.inbound(inbound)
        admitted = admit(runtime, steps)
        if isinstance(admitted, Deliver):
            refuse(runtime, steps, admitted, context)
        token = runtime.propagation.receive(inbound.headers)
        runtime.step(steps, started(None))
        outcome: Outcome = gone()
        try:
            yield from behaviour(request, context)
            outcome = outcome_of(context.code(), None)
        except Exception as error:
            outcome = outcome_of(context.code(), error)
            raise
        finally:
            runtime.propagation.release(token)
            runtime.end(steps, outcome if is_there(context) else gone())

    return serve


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


def refuse(runtime: Runtime, steps: Steps[Outcome], deliver: Deliver, context: Any) -> None:
    runtime.finish(steps)
    context.abort(*refusal(deliver))
