"""``mesh.grpc``: gRPC clients and servers as members of the mesh."""

import weakref
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from . import grpc_aio, grpc_aio_interceptors, grpc_channel, grpc_interceptors
from ._binary import BinaryMetadata
from ._drive import Runtime
from ._grpc_admin import Admin, Health
from ._grpc_pool import Options
from ._grpc_ports import listen
from ._target import XDS, Target, grpc_target
from .grpc_aio_server import AioServerInterceptor
from .grpc_load import LoadReporter, Loads, OutOfBand
from .grpc_server import ServerInterceptor

SHORTEST_INTERVAL = 30.0
"""Seconds between two reports without calls, as all of gRPC's servers have it."""
MOST_NAMED = 1000
"""Targets whose scheme is remembered."""


class GrpcHooks:
    """The hooks of one mesh. Safe from any thread and any number of event loops."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._channels: weakref.WeakSet[grpc_channel.Channel] = weakref.WeakSet()
        self._aio_channels: weakref.WeakSet[grpc_aio.Channel] = weakref.WeakSet()
        self._inherited: list[object] = []
        self._loads: Loads = []
        runtime.resets.append(self._forget)

    def channel(
        self,
        target: str,
        *,
        options: Options | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.Channel:
        """A channel to a host of the mesh (``reviews:9080``, ``xds:///reviews:9080``).

        Targets of other schemes (``dns:``, ``unix:``, ``ipv4:`` …) get a plain channel.
        """
        named = self._named(target)
        if named.listener is None:
            return grpc.insecure_channel(named.native, options, compression)
        made = grpc_channel.Channel(self._runtime, named, options or (), compression)
        self._channels.add(made)
        return made

    def aio_channel(
        self,
        target: str,
        *,
        options: Options | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.aio.Channel:
        """Like :meth:`channel`, for asyncio; may be used from several event loops."""
        named = self._named(target)
        if named.listener is None:
            return grpc.aio.insecure_channel(named.native, options, compression)
        made = grpc_aio.Channel(self._runtime, named, options or (), compression)
        self._aio_channels.add(made)
        return made

    def client_interceptors(
        self, target: str | None = None, *, options: Options = ()
    ) -> list[grpc_interceptors.Interceptor]:
        """One object for ``grpc.intercept_channel``: the whole mesh on a channel of your own.

        ``target`` is the host of the mesh; without it, it is read off the intercepted channel.
        Calls go over the mesh's own channels to the endpoints, made with ``options``; the
        intercepted channel is used for hosts that the mesh does not know. So it must stand last,
        and the security of your channel is not that of the mesh's: the mesh's policies decide.
        """
        return [
            grpc_interceptors.Interceptor(self._runtime, target, self._sync_mesh_channel, options)
        ]

    def aio_client_interceptors(
        self, target: str | None = None, *, options: Options = ()
    ) -> Sequence[grpc.aio.ClientInterceptor]:
        """Four objects for ``grpc.aio.insecure_channel(…, interceptors=)``, one for each kind.

        See :meth:`client_interceptors`.
        """
        mesh = grpc_aio_interceptors.Meshed(self._runtime, target, self._aio_mesh_channel, options)
        return grpc_aio_interceptors.interceptors(mesh)

    def _named(self, target: str) -> Target:
        """Metrics name a target as the application does, with its scheme."""
        named, schemes = grpc_target(target), self._runtime.engine.around.schemes
        if named.listener is not None and target.startswith(XDS) and len(schemes) < MOST_NAMED:
            schemes[named.listener] = XDS
        return named

    def _sync_mesh_channel(self, target: str, options: Options) -> grpc.Channel:
        return self.channel(target, options=options)

    def _aio_mesh_channel(self, target: str, options: Options) -> grpc.aio.Channel:
        return self.aio_channel(target, options=options)

    def server_interceptors(self) -> list[grpc.ServerInterceptor]:
        """For ``grpc.server(…, interceptors=)``; put it first: others before it would see bytes.

        Messages of calls with a single one are read when the call was let in, and not before.
        """
        self._runtime.serve()
        return [ServerInterceptor(self._runtime, self._loads)]

    def aio_server_interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """For ``grpc.aio.server(interceptors=)``; put it first, as :meth:`server_interceptors`."""
        self._runtime.serve()
        return [AioServerInterceptor(self._runtime, self._loads)]

    def load_reporter(self) -> LoadReporter:
        """Have the servers with the mesh's interceptors say in each answer how loaded they are.

        Clients whose policy is ``client_side_weighted_round_robin`` weigh endpoints by it. What
        the reporter is not told it measures: processors, calls and errors a second.
        """
        if not self._loads:
            self._loads.append(LoadReporter(self._binary(), self._runtime.clock))
        return self._loads[0]

    def add_load_reporting(
        self, server: Any, *, shortest_interval: float = SHORTEST_INTERVAL
    ) -> LoadReporter:
        """:meth:`load_reporter`, and a service of ``server`` that streams reports without calls.

        ``server`` is synchronous or asyncio, and not yet started; its clients say how often they
        want a report, but get none more often than every ``shortest_interval`` seconds.
        """
        reporter = self.load_reporter()
        OutOfBand(reporter, self._binary(), shortest_interval).register(server)
        return reporter

    def add_admin(self, server: Any, *, token: str | None = None) -> Health:
        """Let a server (synchronous or asyncio, not yet started) tell of itself.

        ``grpc.health.v1.Health`` for everybody: the server as a whole is serving; say otherwise,
        and of single services, by what is returned. And CSDS, which shows the configuration: to
        those who send ``token`` as ``authorization: Bearer``, or, without one, to callers on this
        machine; ``grpcdebug`` asks it.
        """
        messages = self._runtime.admin
        assert messages is not None, "the composition root sets it"
        admin = Admin(messages, token)
        admin.register(server)
        return admin.health

    def _binary(self) -> BinaryMetadata:
        binary = self._runtime.binary_metadata
        assert binary is not None, "the composition root sets it"
        return binary

    def add_port(self, server: Any, address: str, *, plaintext: str | None = None) -> int:
        """Let a server (synchronous or asyncio) listen; the port, chosen where it was 0.

        Encrypted or not as the configuration says (PeerAuthentication). Where either is let in
        (PERMISSIVE), something stands before the server that tells them apart, at the cost of some
        50 to 200 microseconds a call: so name a second address, ``plaintext``, for callers without
        TLS, and ``address`` is for those with TLS alone. Either is closed to plain text as soon as
        the configuration says STRICT, of all ports or of this one.

        Policies go by the port where it is the server's only one, or there is one for each kind of
        callers, or something stands before it; else it is unknown, which speaks against callers.

        Raises :class:`meshlib.MeshError` when TLS is wanted and this member has no certificate.
        """
        return listen(self._runtime, server, address, plaintext)

    def close(self) -> None:
        """Close every synchronous channel, and the asyncio ones of other event loops."""
        for channel in list(self._channels):
            channel.close()
        self._channels.clear()

    async def aclose(self) -> None:
        """Close every asyncio channel."""
        for channel in list(self._aio_channels):
            await channel.close()
        self._aio_channels.clear()

    def _forget(self) -> None:
        """In a forked child: the connections are the parent's, neither used here nor freed."""
        for channel in self._channels:
            self._inherited += channel.forget()
        for aio_channel in self._aio_channels:
            self._inherited += aio_channel.forget()
