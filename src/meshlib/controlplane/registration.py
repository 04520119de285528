"""The service by which workloads register: who may, and how long they are heard."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from ..identity.authenticators import Caller
from ..xds.registration import (
    SERVICE,
    Acknowledged,
    Request,
    Workload,
    decode_request,
    encode_response,
)
from .gate import DeniedError, Gate
from .metrics import Metrics
from .registry import SILENCE, FullError, Lease, RegistrationError, Registry, is_loopback

LOG = logging.getLogger("meshlib.controlplane")

_Asked = tuple[grpc.StatusCode, str]


class Registrations:
    """``changed`` is called whenever the workloads are others; ``hosts`` says of which services
    one is an endpoint. With ``token`` everybody must have it, without one only members on this
    machine may register. Belongs to one event loop.
    """

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        changed: Callable[[], None],
        hosts: Callable[[Workload], tuple[str, ...]],
        *,
        token: str | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._changed = changed
        self._hosts = hosts
        self._token = token
        self._gate = gate
        self._told = registry.workloads
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Timeout] = set()
        self._closed = False

    @property
    def handler(self) -> grpc.GenericRpcHandler:
        method: Any = grpc.stream_stream_rpc_method_handler(self._serve)  # bytes both ways
        return grpc.method_handlers_generic_handler(SERVICE, {"Register": method})

    def close(self) -> None:
        """End every stream; the members go to another control plane, or come back to this one."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for timeout in self._waiting:
            timeout.reschedule(asyncio.get_running_loop().time())

    async def _serve(self, messages: AsyncIterator[bytes], grpc_call: Any) -> None:
        refusal: _Asked | None
        if self._gate is None:
            caller = Caller(peer_of(grpc_call.peer()))
        else:
            caller = self._gate.caller(grpc_call)
        peer = caller.address
        refusal = self._refusal(caller, grpc_call.invocation_metadata())
        if refusal is None:
            refusal = await self._converse(messages, grpc_call, caller)
        if refusal is not None:
            code, said = refusal
            self._metrics.refused_registrations[code.name] += 1
            LOG.warning("a registration from %s is refused: %s", peer, said)
            await grpc_call.abort(code, said)

    def _refusal(self, caller: Caller, metadata: Any) -> _Asked | None:
        if self._gate is not None and caller.leaf is None:
            said = caller.refusal or "members register with a certificate of this mesh"
            return grpc.StatusCode.UNAUTHENTICATED, said
        if self._token is None:
            if self._gate is not None or is_loopback(caller.address):
                return None
            said = "without a registration token only members on the same machine may register"
            return grpc.StatusCode.UNAUTHENTICATED, said
        given = dict(metadata or ()).get("authorization", "")
        text = given if isinstance(given, str) else ""
        if hmac.compare_digest(text.encode(), f"Bearer {self._token}".encode()):
            return None
        return grpc.StatusCode.UNAUTHENTICATED, "the registration token is wrong or missing"

    async def _converse(
        self, messages: AsyncIterator[bytes], grpc_call: Any, caller: Caller
    ) -> _Asked | None:
        lease: Lease | None = None
        try:
            while not self._closed and (request := await self._next(messages)) is not None:
                if lease is None and request.workload is None:
                    return grpc.StatusCode.INVALID_ARGUMENT, "the first request has no workload"
                if request.workload is not None:
                    lease = self._register(request.workload, caller)
                assert lease is not None
                self._registry.heard(lease, request)
                if request.deregister:
                    self._registry.deregister(lease)
                    LOG.info("%s deregistered", _shown(lease))
                self._look()
                await grpc_call.write(encode_response(self._answer(lease)))
                if request.deregister:
                    return None
        except DeniedError as denied:
            return denied.code, str(denied)
        except DecodeError:
            return grpc.StatusCode.INVALID_ARGUMENT, "not a RegisterRequest"
        except FullError as full:
            return grpc.StatusCode.RESOURCE_EXHAUSTED, str(full)
        except RegistrationError as wrong:
            return grpc.StatusCode.INVALID_ARGUMENT, str(wrong)
        finally:
            if lease is not None:
                self._registry.broke(lease)
                self._look()
        return None

    async def _next(self, messages: AsyncIterator[bytes]) -> Request | None:
        """``None``: the stream is at its end, or silent for too long."""
        try:
            async with asyncio.timeout(SILENCE * self._registry.grace) as timeout:
                self._waiting.add(timeout)
                try:
                    message = await anext(messages, None)
                finally:
                    self._waiting.discard(timeout)
        except TimeoutError:
            return None
        return None if message is None else decode_request(message)

    def _register(self, workload: Workload, caller: Caller) -> Lease:
        if self._gate is not None:
            self._gate.check_namespace(caller, workload.namespace)
            workload = replace(workload, service_account=self._gate.account(caller))
        lease = self._registry.register(workload, caller.address)
        LOG.info("%s registered", _shown(lease))
        return lease

    def _answer(self, lease: Lease) -> Acknowledged:
        address = lease.workload.address
        hosts = self._hosts(lease.workload)
        return Acknowledged(lease=self._registry.grace, address=address, hosts=hosts)

    def _look(self) -> None:
        """What is out of time, what changed, and when to look again."""
        for lease in self._registry.expire():
            LOG.warning("%s is gone: nothing was heard of it", _shown(lease))
        if self._registry.workloads is not self._told and not self._closed:
            self._told = self._registry.workloads
            self._changed()
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._registry.deadline()
        if deadline is not None and not self._closed:
            wait = max(0.0, deadline - self._registry.clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._look)


def peer_of(peer: str) -> str:
    """The IP address in gRPC's ``ipv4:127.0.0.1:5000`` or ``ipv6:%5B::1%5D:5000``; or "unix"."""
    scheme, _, rest = peer.partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return scheme
    return unquote(rest).rpartition(":")[0].strip("[]")


def _shown(lease: Lease) -> str:
    workload = lease.workload
    where = workload.port or ", ".join(f"{name}={port}" for name, port in workload.ports)
    name = dict(workload.labels).get("app", "a workload")
    return f"{name} of {workload.namespace} at {workload.address}:{where}"
