"""The server hook: one aiohttp middleware around all handlers of an application."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..dataplane import (
    Cause,
    Deliver,
    Failure,
    Outcome,
    Race,
    Response,
    Send,
    Serve,
    Spawn,
    Steps,
)
from ._aiohttp_message import NativeRequest, NativeResponse
from ._drive import Runtime

STATUSES = {Cause.TIMEOUT: 504, Cause.BLOCKED: 502, Cause.LOCAL: 500}
UNAVAILABLE = 503


def server_middleware(runtime: Runtime) -> Middleware:
    @web.middleware
    async def mesh(request: web.Request, handler: Handler) -> web.StreamResponse:
        incoming = NativeRequest(
            request, request.host, request.rel_url.raw_path_qs, request.host, request.scheme
        )
        token = runtime.propagation.receive(incoming.headers)
        steps = runtime.inbound(incoming)
        try:
            effect = runtime.step(steps, None)
            while type(effect) is not Deliver:
                if type(effect) is Serve:
                    effect = runtime.conclude(steps, await _answer(request, handler))
                else:
                    assert not isinstance(effect, Deliver | Serve | Send | Race | Spawn), effect
                    effect = runtime.step(steps, await runtime.wait(effect))
        except BaseException:
            runtime.close(steps)
            raise
        finally:
            runtime.propagation.release(token)
        return _reply(runtime, steps, effect.outcome)

    return mesh


async def _answer(request: web.Request, handler: Handler) -> Outcome:
    try:
        return NativeResponse(await handler(request))
    except web.HTTPException as answer:
        return NativeResponse(answer)
    except TimeoutError as error:
        return Response(504, native=error)  # as aiohttp answers it
    except Exception as error:  # noqa: BLE001 - raised again, after it was seen
        return Response(500, native=error)


def _reply(runtime: Runtime, steps: Steps[Outcome], outcome: Outcome) -> web.StreamResponse:
    native = outcome.native
    if isinstance(native, Exception):  # HTTPException is both
        raise native
    if isinstance(native, web.StreamResponse):
        return native
    runtime.finish(steps)  # the mesh answers by itself
    match outcome:
        case Response(status=status, headers=headers, body=body):
            return web.Response(status=status, headers=list(headers), body=body)
        case Failure(cause=cause, detail=detail):
            status = STATUSES.get(cause, UNAVAILABLE)
            return web.Response(status=status, text=detail or cause.value)
