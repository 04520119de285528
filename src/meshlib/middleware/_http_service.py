"""Asks HTTP services, for threads and for every event loop alike: on a loop of its own."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

import aiohttp
from yarl import URL

from ..dataplane import Headers, UpstreamEndpoint
from ..identity.credentials import IdentityError
from ._services import UnansweredError

MAX_BODY = 1024 * 1024
LEAVING = 1.0
"""Seconds that the connections have to be closed in."""
ContextFor = Callable[[UpstreamEndpoint], tuple[SSLContext, str] | None]
"""And the name to ask for; ``None``: in plain text. Raises :class:`IdentityError`."""
SAID = frozenset({"user-agent", "accept", "accept-encoding", "content-type"})
"""Headers that would go without being asked for."""


@dataclass(frozen=True, slots=True)
class HttpQuestion:
    method: str
    path: str
    host: str
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    headers: Headers
    body: bytes


def in_plain_text(endpoint: UpstreamEndpoint) -> None:
    if endpoint.secured_by is not None:
        raise IdentityError("nothing is there to secure the connection with")


class HttpServiceClient:
    """Raises :class:`UnansweredError`. Forgotten in a forked child, where its thread is not."""

    def __init__(self, context: ContextFor = in_plain_text) -> None:
        self._context = context
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None

    def ask(self, endpoint: UpstreamEndpoint, question: HttpQuestion, timeout: float) -> HttpAnswer:
        return self._begun(endpoint, question, timeout).result()

    async def aask(
        self,
        endpoint: UpstreamEndpoint,
        question: HttpQuestion,
        timeout: float,  # noqa: ASYNC109 - as the service's configuration has it
    ) -> HttpAnswer:
        return await asyncio.wrap_future(self._begun(endpoint, question, timeout))

    def _begun(
        self, endpoint: UpstreamEndpoint, question: HttpQuestion, timeout: float
    ) -> Future[HttpAnswer]:
        asked = self._asked(endpoint, question, timeout)
        return asyncio.run_coroutine_threadsafe(asked, self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run, args=(self._loop,), name="meshlib-http-service", daemon=True
                ).start()
            return self._loop

    async def _asked(
        self,
        endpoint: UpstreamEndpoint,
        question: HttpQuestion,
        timeout: float,  # noqa: ASYNC109 - aiohttp's own
    ) -> HttpAnswer:
        try:
            return await self._answered(endpoint, question, timeout)
        except TimeoutError:
            raise UnansweredError(f"no answer of {endpoint.key} in {timeout:g} s") from None
        except (OSError, aiohttp.ClientError, ValueError, IdentityError) as error:
            raise UnansweredError(f"no answer of {endpoint.key}: {error}") from None

    async def _answered(
        self,
        endpoint: UpstreamEndpoint,
        question: HttpQuestion,
        timeout: float,  # noqa: ASYNC109 - aiohttp's own
    ) -> HttpAnswer:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        secured = self._context(endpoint)
        named: dict[str, Any] = {}
        if secured is not None:
            named = {"ssl": secured[0], "server_hostname": secured[1]}
        scheme = "http" if secured is None else "https"
        async with self._session.request(
            question.method,
            URL(f"{scheme}://{endpoint.key}{question.path}", encoded=True),
            headers=(("host", question.host), *question.headers),
            data=question.body or None,
            skip_auto_headers=SAID - {name for name, _ in question.headers},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout),
            **named,
        ) as answer:
            body = await _read(answer)
            headers = tuple((name.lower(), value) for name, value in answer.headers.items())
            return HttpAnswer(answer.status, headers, body)

    def close(self) -> None:
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._leave(), loop).result(LEAVING)
        loop.call_soon_threadsafe(loop.stop)

    async def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    async for piece in answer.content.iter_any():
        read += piece
        if len(read) > MAX_BODY:
            answer.close()
            raise UnansweredError(f"the answer is longer than {MAX_BODY} bytes")
    return bytes(read)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
