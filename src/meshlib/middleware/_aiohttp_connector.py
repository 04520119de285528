"""The connections of a session: to whom, how long, and for how many calls."""

import socket
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import aiohttp
from aiohttp import ClientRequest
from aiohttp.client_proto import ResponseHandler

from ..dataplane import Meter, UpstreamEndpoint
from ..dataplane.upstream.cluster import UpstreamCluster
from ..identity.tls import CheckedContext, CheckedObject
from ..model import Cluster, TcpKeepalive
from ._aiohttp_cut import Cutter
from ._drive import Runtime
from ._terms import Term, cluster_of, term_of

ENDPOINT = "meshlib_endpoint"
"""Where a native request carries the endpoint that it is sent to."""
METER = "meshlib_meter"
"""Where it carries what is counted of its call."""
MADE, FAILED = "made", "failed"
"""What may come of a connection."""


class MeshConnector(aiohttp.TCPConnector):
    """Knows which requests went out on a new connection, and which on a kept one.

    A connection to an endpoint is given up after as many calls, or as long a time, as its cluster
    says; idle ones not later than by the session's own ``keepalive_timeout``.
    """

    def __init__(self, runtime: Runtime, **kw: Any) -> None:
        super().__init__(**kw)
        self._runtime = runtime
        self._fresh: WeakSet[ClientRequest] = WeakSet()
        self._terms: WeakKeyDictionary[ResponseHandler, Term] = WeakKeyDictionary()
        self._idle: WeakKeyDictionary[ResponseHandler, float] = WeakKeyDictionary()
        self._cutter = Cutter(self._loop)

    async def connect(
        self,
        req: ClientRequest,
        traces: Any,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as its base class has it
    ) -> Any:
        connection = await super().connect(req, traces, timeout)
        endpoint: UpstreamEndpoint | None = req.__dict__.get(ENDPOINT)
        if endpoint is not None and endpoint.secured_by is not None:
            _identify(connection.transport, req.__dict__[METER])
        return connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: Any,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as its base class has it
    ) -> Any:
        endpoint: UpstreamEndpoint | None = req.__dict__.get(ENDPOINT)
        if endpoint is not None:
            timeout = _hurried(timeout, endpoint.connect_timeout)
        self._close_outdated()
        try:
            protocol = await super()._create_connection(req, traces, timeout)
        except Exception:
            if endpoint is not None:
                self._count(endpoint, FAILED)
            raise
        self._fresh.add(req)
        if self._cutter.add(protocol):
            self._runtime.security.lines.add(self._cutter)
        if endpoint is not None and (cluster := self._count(endpoint, MADE)) is not None:
            self._begin(protocol, cluster.balance.config)
        return protocol

    def _count(self, endpoint: UpstreamEndpoint, result: str) -> UpstreamCluster | None:
        cluster = cluster_of(self._runtime.engine, endpoint)
        if cluster is not None:
            with self._runtime.lock:
                cluster.connections[result] += 1
        return cluster

    def _begin(self, protocol: ResponseHandler, config: Cluster) -> None:
        """Take in what the cluster says of its connections."""
        term = term_of(config, self._runtime.clock)
        if term is not None:
            self._terms[protocol] = term
        http = config.http_protocol_options
        if http is not None and http.idle_timeout:
            self._idle[protocol] = http.idle_timeout
        if config.tcp_keepalive is not None and protocol.transport is not None:
            _keep_alive(protocol.transport.get_extra_info("socket"), config.tcp_keepalive)

    def _close_outdated(self) -> None:
        """No request will use them again: those made with a certificate that was exchanged."""
        for key in [key for key in self._conns if _is_outdated(key)]:
            for protocol, _ in self._conns.pop(key):
                protocol.close()

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        should_close = should_close or _is_outdated(key)
        if not self._terms and not self._idle:
            super()._release(key, protocol, should_close=should_close)
            return
        term = self._terms.get(protocol)
        if term is not None and term.ends_with(self._runtime.clock):
            should_close = True
        super()._release(key, protocol, should_close=should_close)
        idle = self._idle.get(protocol)
        if idle is not None and not should_close:
            kept = next((since for one, since in self._conns[key] if one is protocol), None)
            self._loop.call_later(idle, self._give_up, key, protocol, kept)

    def _give_up(self, key: Any, protocol: ResponseHandler, kept: float | None) -> None:
        """Close a connection that nobody has used since."""
        connections = self._conns.get(key, ())
        if any(one is protocol and since == kept for one, since in connections):
            protocol.close()

    def used_kept(self, req: ClientRequest) -> bool:
        """Was the last attempt of this request made on a connection used before?"""
        fresh = req in self._fresh
        self._fresh.discard(req)
        return not fresh


def _identify(transport: Any, meter: Meter) -> None:
    """Who answers, as the handshake of the connection has proven it."""
    peer = None if transport is None else transport.get_extra_info("ssl_object")
    meter.secured = isinstance(peer, CheckedObject)
    meter.server_principal = peer.spiffe_id if isinstance(peer, CheckedObject) else ""


def _is_outdated(key: Any) -> bool:
    return isinstance(key.ssl, CheckedContext) and key.ssl.is_outdated


def _hurried(timeout: aiohttp.ClientTimeout, limit: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=timeout.total,
        connect=timeout.connect,
        sock_read=timeout.sock_read,
        sock_connect=min(timeout.sock_connect or limit, limit),
        ceil_threshold=timeout.ceil_threshold,
    )


def _keep_alive(raw: Any, config: TcpKeepalive) -> None:
    """Ask the operating system to probe; what it cannot be told stays as it does it."""
    if raw is None:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPCNT", config.keepalive_probes),
        ("TCP_KEEPIDLE", config.keepalive_time),
        ("TCP_KEEPINTVL", config.keepalive_interval),
    ):
        option = getattr(socket, name, None)
        if option is not None and value is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
