"""What the bodies of aiohttp's calls weigh, as the applications at both ends see them.

The frames of chunks do not count, and what travels compressed counts as it was before.
"""

from functools import partial
from typing import Any, TypeGuard

from aiohttp import ClientRequest, web
from aiohttp.payload import BytesPayload

from ..clock import Clock
from ..dataplane import Meter, Outcome, Steps
from ._aiohttp_socket import count_socket
from ._drive import Runtime

WITHOUT_BODY = frozenset({204, 304})


def count_request(req: ClientRequest, meter: Meter, clock: Clock) -> None:
    """Before an attempt: count what it sends; an attempt made anew counts anew."""
    body = req.body
    meter.response_bytes = 0
    meter.request_ended = clock()
    if type(body) is bytes:
        meter.request_bytes = len(body)
    elif isinstance(body, BytesPayload):
        meter.request_bytes = body.size or 0
    else:
        meter.request_bytes = 0
        req.__dict__["write_bytes"] = partial(_write_bytes, req, meter, clock)


async def _write_bytes(
    req: ClientRequest, meter: Meter, clock: Clock, writer: Any, *more: Any
) -> None:
    before = writer._on_chunk_sent  # noqa: SLF001 - aiohttp asks for it of its own traces only

    async def count(chunk: Any) -> None:
        meter.request_bytes += memoryview(chunk).nbytes
        meter.request_ended = clock()
        if before is not None:
            await before(chunk)

    writer._on_chunk_sent = count  # noqa: SLF001
    await type(req).write_bytes(req, writer, *more)


def uncounted(req: ClientRequest) -> None:
    """Whoever sends it after the mesh is not counted."""
    req.__dict__.pop("write_bytes", None)


def metered(native: web.Request, clock: Clock) -> Meter:
    """The meter of a call that comes in."""
    meter = Meter()
    native.content.on_eof(partial(_came, meter, clock))
    return meter


def _came(meter: Meter, clock: Clock) -> None:
    meter.request_ended = clock()


def is_plain(response: web.StreamResponse) -> TypeGuard[web.Response]:
    """Is its body in hand?"""
    return isinstance(response, web.Response) and isinstance(response.body, bytes | None)


def has_body(native: web.Request, response: web.StreamResponse) -> bool:
    return native.method != "HEAD" and response.status not in WITHOUT_BODY


def count_response(native: web.Request, response: web.Response, meter: Meter) -> None:
    """Of a plain one: its body goes out whole."""
    body = response.body if has_body(native, response) else None
    meter.response_bytes = len(body) if isinstance(body, bytes) else 0


def count_writing(native: web.Request, response: web.StreamResponse, meter: Meter) -> None:
    """Its headers are about to be sent: count what is written of its body."""
    if isinstance(response, web.WebSocketResponse):
        count_socket(response, meter)
        return
    if isinstance(response, web.FileResponse):
        # The system may send it without a word.
        length = response.content_length if has_body(native, response) else 0
        meter.response_bytes = length or 0
        return
    writer: Any = native._payload_writer  # noqa: SLF001 - nothing public counts without chunks

    async def count(chunk: Any) -> None:
        meter.response_bytes += memoryview(chunk).nbytes

    writer._on_chunk_sent = count  # noqa: SLF001


class Late:
    """The suspended steps of a call whose response is yet to be written; ended exactly once."""

    __slots__ = ("_runtime", "_steps")

    def __init__(self, runtime: Runtime, steps: Steps[Outcome]) -> None:
        self._runtime = runtime
        self._steps: Steps[Outcome] | None = steps

    def prepared(self, native: web.Request, response: web.StreamResponse, meter: Meter) -> None:
        if is_plain(response):
            count_response(native, response, meter)
            self.end()
        else:
            response.__dict__["write_eof"] = partial(self._write_eof, response)

    async def _write_eof(self, response: web.StreamResponse, *data: bytes) -> None:
        try:
            await type(response).write_eof(response, *data)
        finally:
            self.end()

    def end(self) -> None:
        steps, self._steps = self._steps, None
        if steps is not None:
            self._runtime.finish(steps)

    def __del__(self) -> None:
        # The connection was gone before anything was sent.
        if self._steps is not None:
            self._runtime.end(self._steps)
