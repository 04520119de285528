"""The composition root: options become an engine, a source of configuration, and hooks."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from ..dataplane import Decision, decide
from ..dataplane.inbound import LISTENER as INBOUND
from ..middleware._deadline import INCOMING
from ..telemetry.metrics import Recorder
from ..telemetry.threads import install, uninstall
from . import options as _options
from .engine import engine_of
from .forking import begin_anew_after_fork
from .identity import identity_of
from .questions import request_for
from .readiness import is_reached, settled, unready
from .registered import Registered
from .runtime import runtime_of
from .services import Services
from .sources import Source, source_for
from .telemetry import Seen
from .upkeep import Upkeep

if TYPE_CHECKING:
    from ..dataplane.upstream.half_open import Breaker
    from ..middleware.aiohttp import AiohttpHooks
    from ..middleware.grpc import GrpcHooks
    from ..middleware.guard import Judge
    from ..xds.watches import Entry
    from .registration import Port, Registration

P = ParamSpec("P")
R = TypeVar("R")


class Mesh:
    """One member of the mesh: its gRPC and aiohttp, clients and servers, on one engine.

    Give at most one source of configuration, else the environment's is taken, else none (calls
    then go out as they would without meshlib): ``config`` a folder, file or list of manifests
    (else ``MESHLIB_CONFIG``); ``control_plane`` the ``host:port`` of an ADS server (else
    ``MESHLIB_CONTROL_PLANE``); ``bootstrap`` a gRPC xDS bootstrap, as path or dict (else
    ``GRPC_XDS_BOOTSTRAP`` or ``GRPC_XDS_BOOTSTRAP_CONFIG``).

    ``locality`` is where this member stands, as ``region/zone/sub_zone`` (else
    ``MESHLIB_LOCALITY``): calls stay near if the configuration says so. ``propagate_deadlines``:
    calls made while serving a call must end before it has to; ``propagate``: headers they take.

    ``on_no_config`` (else ``MESHLIB_ON_NO_CONFIG``) is what becomes of calls to hosts that nothing
    is known of while the control plane cannot be reached: they "wait" until their deadline, "fail"
    at once, or are made "direct", without the mesh. With "last_good" the configuration of an
    earlier life is taken from the folder ``last_known_good`` (else ``MESHLIB_LAST_KNOWN_GOOD``),
    where this member keeps it, unless it is older than ``last_known_good_max_age`` seconds (else
    ``MESHLIB_LAST_KNOWN_GOOD_MAX_AGE``, else a day), and calls to other hosts wait. That is what
    is done wherever the folder is given; without it, "wait" is. Until a member that has a control
    plane knows who may call it, it serves nobody, unless this is "direct".

    ``runtime_layers`` (else ``MESHLIB_RUNTIME_LAYERS``, with commas) are asked for by RTDS: what
    they say stands in for the fractions of routes, the later ones before the earlier ones.

    ``admin`` (else ``MESHLIB_ADMIN``) is a ``host:port`` to show ``/metrics``, ``/clusters`` and
    more on; elsewhere than on loopback, ``MESHLIB_ADMIN_TOKEN`` must be set. ``metrics``
    (else ``MESHLIB_METRICS``, "on" or "off"): peers tell each other who they are, which otherwise
    they do where somebody reads metrics: by an admin port, or :func:`meshlib.telemetry.setup`.
    ``trusted_gateways`` (else ``MESHLIB_TRUSTED_GATEWAYS``): whose ``x-forwarded-*`` is believed.

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
        propagate_deadlines: bool = True,
        locality: str | None = None,
        last_known_good: str | Path | None = None,
        last_known_good_max_age: float | None = None,
        on_no_config: str | None = None,
        runtime_layers: Sequence[str] = (),
        admin: str | None = None,
        metrics: bool | None = None,
        trusted_gateways: Sequence[str] = (),
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
            propagate_deadlines=propagate_deadlines,
            locality=locality,
            last_known_good=last_known_good,
            last_known_good_max_age=last_known_good_max_age,
            on_no_config=on_no_config,
            runtime_layers=runtime_layers,
            admin=admin,
            metrics=metrics,
            trusted_gateways=trusted_gateways,
        )
        self._assemble()
        begin_anew_after_fork(self)

    def _assemble(self) -> None:
        self._identity = identity_of(self.options)
        self._seen = Seen(self.options, self._identity.principal)
        self._engine = engine_of(self.options, self._seen.observer)
        parts = self.options, self._engine, self._identity, self._seen
        self._runtime = runtime_of(*parts, start=self.start, want=self._want)
        self._services = Services(self._runtime)
        self._upkeep = Upkeep(
            self._engine, self._runtime, fit=self._identity.fit, traffic=self._seen.has_called
        )
        self._source: Source | None = None
        self._started, self._starting, self._registered = False, threading.Lock(), Registered()
        self._grpc: GrpcHooks | None = None
        self._aiohttp: AiohttpHooks | None = None
        known = self._engine, self._runtime, self._identity
        self._seen.look(*known, self._source_status, self._watched)

    def _want(self, listener: str) -> None:
        if self._source is not None:
            self._source.want(listener)

    def _watched(self) -> "tuple[Entry, ...] | None":
        return None if self._source is None else self._source.watched()

    @property
    def recorder(self) -> Recorder:
        """What was counted of this member's calls."""
        return self._seen.recorder

    def metrics(self) -> str:
        """What is counted, as Prometheus reads it: for those who have an endpoint of their own."""
        return self._seen.text()

    @property
    def admin_address(self) -> str | None:
        """Where the admin port listens, as ``host:port``."""
        return self._seen.admin_address

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
            self._identity.start()
            source = source_for(self.options, self._engine, self._upkeep, self._identity)
            source.start()
            self._source = source
            if self._runtime.serves:
                source.want(INBOUND)
            install(INCOMING)
            self._seen.start(lambda: unready(self._identity, self._source))
            self._started = True

    def ready(self, *targets: str, timeout: float = 5.0) -> bool:
        """Block until the configuration of ``targets`` is settled; ``False`` after ``timeout``.

        Settled means that it is known of each ``host:port`` whether it is of the mesh. Without
        ``targets``, that the first configuration was accepted; a control plane is asked for none
        until something is called, so with one: that it can be reached.
        """
        self.start()
        until, source = time.monotonic() + timeout, self._source_now()
        if not is_reached(self._identity, source, targets, timeout):
            return False
        known = settled(self._engine, source, targets)
        return self._runtime.wait_for(known, until - time.monotonic())

    async def aready(self, *targets: str, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - mirrors ready()
        """:meth:`ready` for coroutines."""
        await asyncio.to_thread(self.start)
        until, source = time.monotonic() + timeout, self._source_now()
        if not await asyncio.to_thread(is_reached, self._identity, source, targets, timeout):
            return False
        known = settled(self._engine, source, targets)
        return await self._runtime.await_for(known, until - time.monotonic())

    def _source_now(self) -> Source:
        assert self._source is not None, "started"
        return self._source

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
        await self._services.aclose()
        if self._grpc is not None:
            await self._grpc.aclose()
            self._grpc.close()

    def _stop(self) -> None:
        self._registered.close()
        with self._starting:
            source, started = self._source, self._started
            self._source, self._started = None, False
        if started:
            uninstall()
        self._runtime.collect()
        self._seen.close()
        if source is not None:
            source.close()
        self._identity.close()
        self._upkeep.close()
        self._services.close()

    def begin_anew(self) -> None:
        """In a forked child: threads, connections, calls and counts are the parent's."""
        self._starting, self._source = threading.Lock(), None
        self._registered.clear()
        if self._started:
            self._started = False
            uninstall()
        self._runtime.reset()
        self._upkeep.reset()
        self._seen.begin_anew()
        self._engine.around.observe = self._seen.observer
        self._engine.renew()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- hooks ---

    @property
    def grpc(self) -> "GrpcHooks":
        """gRPC, sync and asyncio: channels, interceptors, server ports."""
        if self._grpc is None:
            from ..middleware.grpc import GrpcHooks
            from ..xds.orca import BinaryMetadata
            from .admin import AdminMessages

            self._runtime.binary_metadata = BinaryMetadata()
            self._runtime.admin = AdminMessages(self.options, self._engine, self._watched)
            self._grpc = GrpcHooks(self._runtime)
        return self._grpc

    @property
    def aiohttp(self) -> "AiohttpHooks":
        """aiohttp: sessions, client middleware, server set-up."""
        if self._aiohttp is None:
            from ..middleware.aiohttp import AiohttpHooks

            self._aiohttp = AiohttpHooks(self._runtime)
        return self._aiohttp

    def guard(
        self,
        host: str,
        *,
        method: str = "POST",
        path: str = "/",
        breaker: "Breaker | None" = None,
        judge: "Judge | None" = None,
    ) -> "Callable[[Callable[P, R]], Callable[P, R]]":
        """Put a ``def`` or ``async def`` under the rules of a host of the mesh.

        Time-out, retries, budget, circuit breaker, faults, outlier detection and metrics are those
        of ``host`` (with port, or its first one). ``method`` and ``path`` are what routes match;
        give an idempotent method ("GET") where the callable may be repeated after it may have done
        something. ``breaker`` opens on failures and probes before it closes. ``judge`` makes an
        HTTP status of what the callable returned or raised; without it, exceptions of gRPC,
        aiohttp, httpx, requests and urllib are understood, and others are not retried.

        What it raises: the callable's own exception with ``.mesh``; or a
        :class:`meshlib.CallError`, which for a time-out is a ``TimeoutError`` too. A blocking
        callable that is out of time runs on in a thread of its own, unheard.
        """
        from ..middleware.guard import guard

        return guard(self._runtime, host, method=method, path=path, breaker=breaker, judge=judge)

    def register(
        self,
        port: "Port",
        *,
        address: str | None = None,
        labels: Mapping[str, str] | None = None,
        weight: int = 1,
        token: str | None = None,
        timeout: float = 5.0,
        linger: float = 1.0,
    ) -> "Registration":
        """Add this process as an endpoint of its service, until the registration is closed.

        ``port`` is where it serves: one for all ports of the service, or one each by their names;
        ``address`` where it is called, else the one that the control plane sees. Services select
        it by the labels of this mesh and those in ``labels``. ``token`` (else
        ``MESHLIB_REGISTRATION_TOKEN``) is the control plane's. Waits ``timeout`` seconds for its
        word, and goes on asking. Close it before the server stops: it is gone for callers then,
        and ``linger`` seconds go by. Raises :class:`meshlib.MeshError` if it is refused.
        """
        from .registration import registration_of

        self.start()
        self._identity.is_ready(timeout)
        made = registration_of(
            self.options,
            self._source_now().server,
            port=port,
            address=address,
            labels={**self._identity.labels, **self._seen.workload.labels, **(labels or {})},
            weight=weight,
            token=token,
            linger=linger,
            inbound=self._identity.inbound_of(self._runtime),
        )
        made.start(timeout)
        self._source_now().on_return(made.hurry)
        self._registered.append(made)
        return made

    async def aregister(self, port: "Port", **options: Any) -> "Registration":
        """:meth:`register` for coroutines."""
        return await asyncio.to_thread(self.register, port, **options)

    # --- questions ---

    def _source_status(self) -> dict[str, Any]:
        return self._source.status() if self._source else {"kind": "not started"}

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
        return {
            "service": self.options.service,
            "namespace": self.options.namespace,
            "version": self._engine.snapshot.version,
            "listeners": sorted(self._engine.snapshot.listeners),
            "source": self._source_status(),
            "calls": self.recorder.snapshot(),
            "access": self._engine.access,
            "identity": self._identity.status(),
            "issuers": self._services.status(),
        }

    def ignored(self) -> tuple[str, ...]:
        """What was configured and is not acted on, each as ``place: what``."""
        source = () if self._source is None else (*self._source.ignored(), *self._upkeep.ignored())
        return (*self.options.without_effect, *source, *self._seen.ignored())
