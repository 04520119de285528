"""The body of a request, shown to whoever decides about it before the handler reads it."""

from aiohttp import web

from ..dataplane import BodyRead


async def peek(request: web.Request, limit: int) -> BodyRead:
    """Its first bytes; whoever reads the body after this finds all of it."""
    known: bytes | None = request._read_bytes  # noqa: SLF001 - what aiohttp has read at once
    if known is not None:
        return BodyRead(known[:limit], len(known) <= limit)
    stream, read = request.content, bytearray()
    try:
        while len(read) <= limit and (piece := await stream.readany()):
            read += piece
    finally:
        if read:
            # As its own ``unread_data`` does, which warns that it will go one day.
            stream._buffer.appendleft(bytes(read))  # noqa: SLF001
            stream._size += len(read)  # noqa: SLF001
            stream._cursor -= len(read)  # noqa: SLF001
            stream._eof_counter = 0  # noqa: SLF001
    return BodyRead(bytes(read[:limit]), len(read) <= limit)
