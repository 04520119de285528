"""Probes of active health checks: one question over the network, one answer."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ..dataplane import UpstreamEndpoint
from ..dataplane.upstream.health import Result, judged
from ..identity.credentials import IdentityError
from ..model import Address, GrpcHealthCheck, HealthCheck, HttpHealthCheck, TcpHealthCheck
from ._target import host_of

if TYPE_CHECKING:
    from ..dataplane.upstream.transport import Transport
    from ._tls_upstream import Dial, UpstreamSecurity

USER_AGENT = "meshlib/HC"
CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
"""``HealthCheckResponse{status: SERVING}``; the message has no other field."""

_UNANSWERED = (4, 14)
"""gRPC statuses that need not be the server's own word: DEADLINE_EXCEEDED, UNAVAILABLE."""


Security = Callable[[], "UpstreamSecurity"]


def unsecured() -> NoReturn:
    raise IdentityError("nothing is there to secure the connection with")


class Probe(Protocol):
    """Asks one endpoint; raises nothing. A connection may be kept for the next time."""

    async def ask(self, endpoint: UpstreamEndpoint) -> Result: ...

    async def close(self) -> None: ...


def probe_for(check: HealthCheck, cluster: str, security: Security = unsecured) -> Probe:
    """What asks an endpoint of ``cluster`` as the check says, as safely as calls are made."""
    match check.checker:
        case HttpHealthCheck() as checker:
            return HttpProbe(checker, check, cluster, security)
        case GrpcHealthCheck() as checker:
            return GrpcProbe(checker, check, cluster, security)
        case TcpHealthCheck() as checker:
            return TcpProbe(checker, check)


def place(endpoint: UpstreamEndpoint) -> Address:
    """Where an endpoint answers health checks."""
    port = endpoint.config.health_check_port
    return Address(endpoint.address.host, port) if port else endpoint.address


def wanted_for(security: Security, endpoint: UpstreamEndpoint) -> "Transport | None":
    """``None``: plain text."""
    return None if endpoint.secured_by is None else security().wanted_for(endpoint)


class HttpProbe:
    def __init__(
        self,
        checker: HttpHealthCheck,
        check: HealthCheck,
        cluster: str,
        security: Security = unsecured,
    ) -> None:
        self._security = security
        self._checker = checker
        self._check = check
        self._cluster = cluster
        self._session: Any = None

    async def ask(self, endpoint: UpstreamEndpoint) -> Result:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=not self._check.reuse_connection),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            scheme, secured = self._secured(endpoint)
            async with self._session.request(
                self._checker.method,
                f"{scheme}://{place(endpoint)}{self._checker.path}",
                headers=self._headers(endpoint),
                **secured,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._check.timeout),
            ) as response:
                await response.read()
                return judged(self._checker, response.status)
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError, IdentityError):
            return Result.UNREACHED

    def _secured(self, endpoint: UpstreamEndpoint) -> tuple[str, dict[str, Any]]:
        transport = wanted_for(self._security, endpoint)
        if transport is None:
            return "http", {}
        host = host_of(self._checker.host) or endpoint.config.hostname or self._cluster
        context, name = self._security().context(transport, host)
        return "https", {"ssl": context, "server_hostname": name}

    def _headers(self, endpoint: UpstreamEndpoint) -> Sequence[tuple[str, str]]:
        host = self._checker.host or endpoint.config.hostname or self._cluster
        return (
            ("Host", host),
            ("User-Agent", USER_AGENT),
            *self._checker.request_headers_to_add,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class GrpcProbe:
    """Over blocking channels, which a fork leaves intact, unlike those of asyncio."""

    def __init__(
        self,
        checker: GrpcHealthCheck,
        check: HealthCheck,
        cluster: str,
        security: Security = unsecured,
    ) -> None:
        self._security = security
        self._dialled: Dial | None = None
        self._checker = checker
        self._check = check
        self._cluster = cluster
        self._channel: Any = None
        name = checker.service_name.encode()
        self._question = b"\x0a" + _varint(len(name)) + name if name else b""

    async def ask(self, endpoint: UpstreamEndpoint) -> Result:
        import grpc

        try:
            dial = self._secured(endpoint)
        except IdentityError:
            return Result.UNREACHED
        if self._channel is None or dial is not self._dialled:
            await self.close()
            self._channel, self._dialled = self._dial(endpoint, dial), dial
        try:
            answer = await _answered(
                self._channel.unary_unary(CHECK).future(
                    self._question, timeout=self._check.timeout, wait_for_ready=False
                )
            )
        except grpc.RpcError as error:
            code = error.code()
            await self.close()
            return Result.UNREACHED if code.value[0] in _UNANSWERED else Result.FAILED
        if not self._check.reuse_connection:
            await self.close()
        return Result.PASSED if answer == SERVING else Result.FAILED

    def _secured(self, endpoint: UpstreamEndpoint) -> "Dial | None":
        transport = wanted_for(self._security, endpoint)
        if transport is None:
            return None
        return self._security().dial(transport, host_of(self._authority(endpoint)))

    def _authority(self, endpoint: UpstreamEndpoint) -> str:
        return self._checker.authority or endpoint.config.hostname or self._cluster

    def _dial(self, endpoint: UpstreamEndpoint, dial: "Dial | None") -> Any:
        import grpc

        from ._grpc_pool import AUTHORITY, DIRECT, native_target, own

        authority, target = self._authority(endpoint), native_target(place(endpoint))
        options = (("grpc.primary_user_agent", USER_AGENT), *DIRECT, *own())
        if dial is None:
            return grpc.insecure_channel(target, ((AUTHORITY, authority), *options))
        named = ((AUTHORITY, dial.authority(authority)), *dial.options)
        target = dial.target(place(endpoint)) or target
        return grpc.secure_channel(target, dial.credentials, (*named, *options))

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


async def _answered(call: Any) -> Any:
    """The result of gRPC's own kind of future; giving it up cancels the call."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def settle() -> None:
        if not done.done():
            done.set_result(None)

    def wake(_call: Any) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle)

    call.add_done_callback(wake)
    try:
        await done
    except asyncio.CancelledError:
        call.cancel()
        raise
    return call.result()


class TcpProbe:
    """A connection of its own each time: what is left unread of one must not answer the next."""

    def __init__(self, checker: TcpHealthCheck, check: HealthCheck) -> None:
        self._checker = checker
        self._timeout = check.timeout

    async def ask(self, endpoint: UpstreamEndpoint) -> Result:
        address = place(endpoint)
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(address.host, address.port)
                try:
                    writer.write(self._checker.send)
                    await writer.drain()
                    for block in filter(None, self._checker.receive):
                        await reader.readuntil(block)
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            return Result.UNREACHED
        return Result.PASSED

    async def close(self) -> None:
        pass


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))
