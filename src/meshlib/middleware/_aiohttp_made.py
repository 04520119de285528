"""Responses that nobody sent: direct responses and redirects, as aiohttp's own objects."""

import inspect
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from aiohttp import ClientRequest, ClientResponse, StreamReader
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import HttpVersion11, RawResponseMessage
from multidict import CIMultiDict, CIMultiDictProxy

from ..dataplane import Headers, Response
from ._aiohttp_message import changed, lower_case

READ_LIMIT = 2**16
_PARAMETERS = inspect.signature(ClientResponse.__init__).parameters


class _Nowhere:
    """Connection and protocol in one, with the whole response in hand.

    The response goes through aiohttp's own ``ClientResponse.start``, so everything about it is
    as if a server had sent it.
    """

    upgraded = False
    connected = True

    def __init__(self, response: Response, request: ClientRequest) -> None:
        body = b"" if request.method == "HEAD" else response.body
        headers = CIMultiDict(response.headers)
        headers.setdefault("content-length", str(len(response.body)))
        if response.body:
            headers.setdefault("content-type", "text/plain")
        self.message = RawResponseMessage(
            HttpVersion11,
            response.status,
            _phrase(response.status),
            CIMultiDictProxy(headers),
            tuple((name.encode(), value.encode()) for name, value in headers.items()),
            should_close=False,
            compression=None,
            upgrade=False,
            chunked=False,
        )
        self.payload = StreamReader(cast(Any, self), READ_LIMIT, loop=request.loop)
        self.payload.feed_data(body)
        self.payload.feed_eof()

    @property
    def protocol(self) -> "_Nowhere":
        return self

    async def read(self) -> tuple[RawResponseMessage, StreamReader]:
        return self.message, self.payload

    def release(self) -> None:
        """Nothing was borrowed."""

    def pause_reading(self) -> None:
        """Nothing more comes."""

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """Nothing more comes."""


class _Written:
    """Stands for the writer of a request of which nothing was written."""

    output_size = 0


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def respond(answer: ClientResponse, change: Callable[[Headers], Headers]) -> None:
    """Let a response that came have the headers that its route wants the application to see."""
    before = lower_case(answer)
    shown = changed(CIMultiDict(answer.headers), before, change(before))
    answer._headers = CIMultiDictProxy(shown)  # noqa: SLF001 - nothing public sets them
    answer._raw_headers = tuple(  # noqa: SLF001
        (name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in shown.items()
    )
    answer._raw_cookie_headers = tuple(shown.getall("set-cookie", ()))  # noqa: SLF001
    answer._cache.clear()  # noqa: SLF001 - what was read of the old ones is kept there


async def make_response(response: Response, request: ClientRequest) -> ClientResponse:
    """An answer of the mesh itself, as the application would get it from a server."""
    arguments: dict[str, Any] = {
        "writer": None,
        "continue100": None,
        "timer": TimerNoop(),
        "request_info": request.request_info,
        "traces": [],
        "loop": request.loop,
        "session": request.session,
        "stream_writer": _Written(),
    }
    # The class is constructed by aiohttp only; 3.14 added an argument on the way.
    known = {name: value for name, value in arguments.items() if name in _PARAMETERS}
    made = request.response_class(request.method, request.original_url, **known)
    return await made.start(cast(Connection, _Nowhere(response, request)))
