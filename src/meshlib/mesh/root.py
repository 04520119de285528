"""The composition root: options become an engine, a source of configuration, and hooks."""

import asyncio
import os
import random  # noqa: TID251 - the one floor where luck comes in
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import SplitResult, urlsplit

from ..dataplane import Decision, Engine, Observer, Request, decide
from ..dataplane import Options as EngineOptions
from ..errors import CallReport
from ..middleware._drive import Runtime
from ..telemetry.propagation import Propagation
from ..telemetry.recorder import Recorder
from ..telemetry.threads import install, uninstall
from ..xds.regex import fullmatch
from . import options as _options
from .sources import Source, source_for
from .upkeep import Upkeep

if TYPE_CHECKING:
    from ..middleware.aiohttp import AiohttpHooks
    from ..middleware.grpc import GrpcHooks

PORTS = {"http": 80, "https": 443}


class Mesh:
    """One member of the mesh: its gRPC and aiohttp, clients and servers, on one engine.

    Give at most one source of configuration, else the environment's is taken, else none (calls
    then go out as they would without meshlib): ``config`` a folder, file or list of manifests
    (else ``MESHLIB_CONFIG``); ``control_plane`` the ``host:port`` of an ADS server (else
    ``MESHLIB_CONTROL_PLANE``); ``bootstrap`` a gRPC xDS bootstrap, as path or dict (else
    ``GRPC_XDS_BOOTSTRAP`` or ``GRPC_XDS_BOOTSTRAP_CONFIG``).

    The constructor does no I/O and starts no thread: ``with mesh``, ``async with mesh``,
    :meth:`start` or the first call do. Safe from any thread and any number of event loops; a
    forked child begins anew by itself (as far as gRPC core allows: fork while no gRPC call is in
    flight and no asyncio channel is open).

    Raises :class:`meshlib.ConfigError` for contradicting arguments.
    """

    def __init__(  # noqa: PLR0913 - the public face: one keyword an option
        self,
        service: str | None = None,
        *,
        namespace: str | None = None,
        version: str | None = None,
        labels: Mapping[str, str] | None = None,
        config: _options.Config | None = None,
        control_plane: str | None = None,
        bootstrap: _options.Bootstrap | None = None,
        mtls: str | None = None,
        outbound_traffic_policy: str | None = None,
        propagate: Sequence[str] = (),
    ) -> None:
        self.options = _options.options(
            service=service,
            namespace=namespace,
            version=version,
            labels=labels,
            config=config,
            control_plane=control_plane,
            bootstrap=bootstrap,
            mtls=mtls,
            outbound_traffic_policy=outbound_traffic_policy,
            propagate=propagate,
        )
        self.recorder = Recorder()
        self._engine = _engine(self.options, self.recorder)
        self._runtime = Runtime(
            self._engine,
            clock=time.monotonic,
            sleep=time.sleep,
            start=self.start,
            want=self._want,
            propagation=Propagation(extra=self.options.propagate),
        )
        self._upkeep = Upkeep(
            self._engine, self._runtime, dice=random.random, traffic=self._has_called
        )
        self._source: Source | None = None
        self._started = False
        self._starting = threading.Lock()
        self._grpc: GrpcHooks | None = None
        self._aiohttp: AiohttpHooks | None = None
        _begin_anew_after_fork(self)

    def _want(self, listener: str) -> None:
        if self._source is not None:
            self._source.want(listener)

    def _has_called(self, cluster: str) -> bool:
        return self.recorder.has_called(cluster)

    # --- life ---

    def start(self) -> None:
        """Load or subscribe to the configuration; every later call does nothing.

        Raises :class:`meshlib.ConfigError` when an embedded configuration is bad: then there is
        no last good one to serve on.
        """
        if self._started:
            return
        with self._starting:
            if self._started:
                return
            source = source_for(self.options, self._engine, self._upkeep)
            source.start()
            self._source = source
            install()
            self._started = True

    def ready(self, *targets: str, timeout: float = 5.0) -> bool:
        """Block until the configuration of ``targets`` is settled; ``False`` after ``timeout``.

        Settled means that it is known of each ``host:port`` whether it is of the mesh. Without
        ``targets``, that the first configuration was accepted; a control plane is asked for none
        until something is called, so with one: that it can be reached.
        """
        self.start()
        until = time.monotonic() + timeout
        if not targets and not self._source_now().reach(timeout):
            return False
        return self._runtime.wait_for(self._known(targets), until - time.monotonic())

    async def aready(self, *targets: str, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - mirrors ready()
        """:meth:`ready` for coroutines."""
        await asyncio.to_thread(self.start)
        until = time.monotonic() + timeout
        if not targets and not await asyncio.to_thread(self._source_now().reach, timeout):
            return False
        return await self._runtime.await_for(self._known(targets), until - time.monotonic())

    def _source_now(self) -> Source:
        assert self._source is not None, "started"
        return self._source

    def _known(self, targets: Sequence[str]) -> Callable[[], bool]:
        source = self._source_now()
        for target in targets:
            source.want(target)
        if targets:
            return lambda: all(self._engine.knows(target) for target in targets)
        return source.is_ready

    def close(self) -> None:
        """Stop watching and close all channels that no event loop owns.

        A later :meth:`start`, or a call by a new channel or session, begins anew.
        """
        self._stop()
        if self._grpc is not None:
            self._grpc.close()

    async def aclose(self) -> None:
        """:meth:`close`, and the channels of the running event loop too."""
        await asyncio.to_thread(self._stop)
        if self._grpc is not None:
            await self._grpc.aclose()
            self._grpc.close()

    def _stop(self) -> None:
        with self._starting:
            source, self._source = self._source, None
            started, self._started = self._started, False
        if started:
            uninstall()
        if source is not None:
            source.close()
        self._upkeep.close()

    def _begin_anew(self) -> None:
        """In a forked child: threads, connections, calls and counts are the parent's."""
        self._starting = threading.Lock()
        self._source = None
        if self._started:
            self._started = False
            uninstall()
        self._runtime.reset()
        self._upkeep.reset()
        self.recorder = self._engine.around.observe = Recorder()
        self._engine.renew()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- hooks ---

    @property
    def grpc(self) -> "GrpcHooks":
        """gRPC, sync and asyncio: channels, interceptors, server ports."""
        if self._grpc is None:
            from ..middleware.grpc import GrpcHooks

            self._grpc = GrpcHooks(self._runtime)
        return self._grpc

    @property
    def aiohttp(self) -> "AiohttpHooks":
        """aiohttp: sessions, client middleware, server set-up."""
        if self._aiohttp is None:
            from ..middleware.aiohttp import AiohttpHooks

            self._aiohttp = AiohttpHooks(self._runtime)
        return self._aiohttp

    # --- questions ---

    def route(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Decision:
        """What would happen to this request now, and why; nothing is sent.

        ``url`` is ``http://host[:port]/path``, or ``grpc://host:port/package.Service/Method``.
        """
        self.start()
        request = request_for(method, url, headers)
        if not self._engine.knows(request.target):
            self._want(request.target)
        return decide(self._engine, request)

    def status(self) -> dict[str, Any]:
        """Version, source, counters: what this member knows and did."""
        source = self._source
        return {
            "service": self.options.service,
            "namespace": self.options.namespace,
            "version": self._engine.snapshot.version,
            "listeners": sorted(self._engine.listeners),
            "source": source.status() if source is not None else {"kind": "not started"},
            "calls": self.recorder.snapshot(),
        }

    def ignored(self) -> tuple[str, ...]:
        """What the configuration in force says that this version does not act on."""
        if self._source is None:
            return ()
        return (*self._source.ignored(), *self._upkeep.ignored())


def request_for(method: str, url: str, headers: Mapping[str, str] | None = None) -> Request:
    """A request as the hooks would make it of such a call.

    Raises :class:`ValueError` for what is no URL with a host.
    """
    parts = _split(url)
    is_grpc = parts.scheme in ("grpc", "xds")
    scheme = "http" if is_grpc or not parts.scheme else parts.scheme
    host = parts.hostname or ""
    port = parts.port or (None if is_grpc else PORTS.get(scheme))
    pairs = tuple((name.lower(), value) for name, value in (headers or {}).items())
    authority = next((value for name, value in pairs if name == "host"), parts.netloc.lower())
    query = f"?{parts.query}" if parts.query else ""
    return Request(
        target=f"{host}:{port}" if port else host,
        method="POST" if is_grpc else method.upper(),
        path=(parts.path or "/") + query,
        authority=authority,
        scheme=scheme,
        headers=tuple(pair for pair in pairs if pair[0] != "host"),
        is_grpc=is_grpc,
    )


def _split(url: str) -> SplitResult:
    if url.startswith("xds:///"):  # as channels take it
        url = "grpc://" + url.removeprefix("xds:///")
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    known = "http://reviews:9080/path or grpc://reviews:9080/package.Service/Method"
    raise ValueError(f"{url!r} is not a URL like {known}")


def explain(error: BaseException) -> str:
    """Say in words what the mesh knows of a failed call; works for errors of any hook."""
    report = getattr(error, "mesh", None)
    if not isinstance(report, CallReport):
        return f"{type(error).__name__}: not an error of a call through the mesh"
    lines = [f"{report.detail or error} ({report.host})"]
    facts = {
        "rule": report.rule,
        "route": report.route,
        "cluster": report.cluster,
        "endpoint": report.endpoint,
        "attempts": str(report.attempts),
        "flags": ",".join(report.flags),
        "config": report.config_version,
        "node": report.node,
    }
    lines += [f"  {name:<9}{value}" for name, value in facts.items() if value]
    return "\n".join(lines)


def _engine(options: _options.Options, observe: Observer) -> Engine:
    return Engine(
        clock=time.monotonic,
        dice=random.random,
        observe=observe,
        options=EngineOptions(
            complete=options.control_plane is None and options.bootstrap is None,
            passthrough=options.outbound_traffic_policy != "REGISTRY_ONLY",
            regex=fullmatch,
        ),
    )


def _begin_anew_after_fork(mesh: Mesh) -> None:
    """Threads and connections stay behind in the parent: the child starts its own when it calls."""
    alive = weakref.ref(mesh)

    def reset() -> None:
        child = alive()
        if child is not None:
            child._begin_anew()  # noqa: SLF001 - its own module

    os.register_at_fork(after_in_child=reset)
