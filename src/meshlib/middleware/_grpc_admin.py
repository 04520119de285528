"""What a server tells of itself: its health to everybody, its configuration to its own people."""

import asyncio
import hmac
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio

from ._admin import AdminMessages
from ._news import News

HEALTH = "grpc.health.v1.Health"
CLIENT_STATUS = "envoy.service.status.v3.ClientStatusDiscoveryService"
LOOPBACK = ("ipv4:127.", "ipv6:[::1]:", "ipv6:%5B::1%5D:", "unix:")
SERVING, NOT_SERVING, SERVICE_UNKNOWN = "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"


class Health:
    """What health checks of a server are told. May be changed from any thread."""

    def __init__(self) -> None:
        self._statuses = {"": SERVING}
        self._drains = False
        self._news = News()

    def set(self, service: str, *, serving: bool) -> None:
        """Say whether a service is there; "" is the server as a whole."""
        self._statuses[service] = SERVING if serving else NOT_SERVING
        self._news.announce()

    def drain(self) -> None:
        """Nothing is served any more, whatever is said of it later."""
        self._drains = True
        self._news.announce()

    def status(self, service: str) -> str:
        if self._drains and service in self._statuses:
            return NOT_SERVING
        return self._statuses.get(service, SERVICE_UNKNOWN)

    def wait(self, service: str, told: str, is_over: Callable[[], bool]) -> None:
        """Block until something else is to be told, or nobody listens any more."""
        self._news.wait(lambda: is_over() or self.status(service) != told, None)

    async def await_(self, service: str, told: str) -> None:
        await self._news.await_(lambda: self.status(service) != told, None)

    def look_again(self) -> None:
        """Wake those who wait: one of them is over."""
        self._news.announce()


class Admin:
    """The services of one server, synchronous or asyncio.

    ``token``: CSDS is answered to whoever sends it as ``authorization: Bearer``; without one, to
    callers on this very machine only.
    """

    def __init__(self, messages: AdminMessages, token: str | None) -> None:
        self.health = Health()
        self._messages = messages
        self._token = token

    def register(self, server: Any) -> None:
        side = _Aio(self) if isinstance(server, grpc.aio.Server) else _Sync(self)
        health: dict[str, Any] = {
            "Check": grpc.unary_unary_rpc_method_handler(side.check),
            "Watch": grpc.unary_stream_rpc_method_handler(side.watch),
        }
        status: dict[str, Any] = {
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(side.fetch),
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(side.stream),
        }
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(HEALTH, health),
                grpc.method_handlers_generic_handler(CLIENT_STATUS, status),
            )
        )

    def why_not(self, call: Any) -> str:
        """Why this caller is not told of the configuration; "" where it is."""
        if self._token is None:
            if str(call.peer()).startswith(LOOPBACK):
                return ""
            return "without a token, only callers on this machine are answered"
        wanted = f"Bearer {self._token}".encode()
        given = [value for key, value in call.invocation_metadata() if key == "authorization"]
        if any(hmac.compare_digest(_octets(value), wanted) for value in given):
            return ""
        return "authorization: Bearer with the right token is needed"

    def client_status(self, request: bytes) -> bytes | ValueError:
        try:
            return self._messages.client_status(request)
        except ValueError as error:
            return error

    def asked(self, request: bytes) -> str | None:
        return self._messages.read_service(request)

    def told(self, status: str) -> bytes:
        return self._messages.write_status(status)


class _Sync:
    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def fetch(self, request: bytes, call: Any) -> bytes:
        if refused := self._admin.why_not(call):
            call.abort(grpc.StatusCode.PERMISSION_DENIED, refused)
        answer = self._admin.client_status(request)
        if isinstance(answer, ValueError):
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(answer))
            raise answer  # abort raises
        return answer

    def stream(self, requests: Iterator[bytes], call: Any) -> Iterator[bytes]:
        for request in requests:
            yield self.fetch(request, call)

    def check(self, request: bytes, call: Any) -> bytes:
        service = self._admin.asked(request)
        if service is None:
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, NO_REQUEST)
        status = self._admin.health.status(service or "")
        if status == SERVICE_UNKNOWN:
            call.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {service!r}")
        return self._admin.told(status)

    def watch(self, request: bytes, call: Any) -> Iterator[bytes]:
        service, health = self._admin.asked(request), self._admin.health
        if service is None:
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, NO_REQUEST)
            return
        over = threading.Event()

        def end() -> None:
            over.set()
            health.look_again()

        if not call.add_callback(end):
            return
        while not over.is_set():
            status = health.status(service)
            yield self._admin.told(status)
            health.wait(service, status, over.is_set)


class _Aio:
    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def fetch(self, request: bytes, call: Any) -> bytes:
        if refused := self._admin.why_not(call):
            await call.abort(grpc.StatusCode.PERMISSION_DENIED, refused)
        # Off the loop: a large configuration takes its time.
        answer = await asyncio.to_thread(self._admin.client_status, request)
        if isinstance(answer, ValueError):
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(answer))
            raise answer  # abort raises
        return answer

    async def stream(self, requests: AsyncIterator[bytes], call: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield await self.fetch(request, call)

    async def check(self, request: bytes, call: Any) -> bytes:
        service = self._admin.asked(request)
        if service is None:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, NO_REQUEST)
        status = self._admin.health.status(service or "")
        if status == SERVICE_UNKNOWN:
            await call.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {service!r}")
        return self._admin.told(status)

    async def watch(self, request: bytes, call: Any) -> AsyncIterator[bytes]:
        service, health = self._admin.asked(request), self._admin.health
        if service is None:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, NO_REQUEST)
            return
        while True:
            status = health.status(service)
            yield self._admin.told(status)
            await health.await_(service, status)


NO_REQUEST = "not a HealthCheckRequest"


def _octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
