"""A control plane, ours or another's, as the source of configuration."""

import logging
import os
import random  # noqa: TID251 - the one floor where luck comes in
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..dataplane import Engine
from ..dataplane.inbound import LISTENER as INBOUND
from ..errors import ConfigError
from ..model import Snapshot
from ..xds.bootstrap import Bootstrap, Node, Server
from ..xds.client import NOT_ACTED_ON, XdsClient
from ..xds.last_known_good import Saved, Store
from ..xds.types import CLUSTER, ROUTE
from ..xds.watches import Entry
from .last_good import Earlier, Keeper, read
from .load_reports import LoadReports
from .options import Options
from .upkeep import Upkeep

TYPES = {"routes": ROUTE, "clusters": CLUSTER}

if TYPE_CHECKING:
    from .identity import Identity

Shown = Callable[[], tuple[bytes, bytes, bytes]]

log = logging.getLogger("meshlib")


class Remote:
    """Asks over ADS, and hands on what it is told.

    While nobody can be asked, calls to unknown hosts are what the start policy makes of them.
    """

    def __init__(
        self,
        options: Options,
        engine: Engine,
        upkeep: Upkeep,
        identity: "Identity | None" = None,
    ) -> None:
        shown = None if identity is None else identity.shown_to_plane
        bootstrap = secured(bootstrap_of(options), options, shown)
        self._identity = identity
        self._options = options
        self._engine = engine
        self._upkeep = upkeep
        self._bootstrap_ignored = bootstrap.ignored
        self._asks_inbound = bool(bootstrap.inbound)
        self._last_problem = ""
        self._outage = ""
        self._has_heard = False
        self._returns: list[Callable[[], None]] = []
        self._earlier = Earlier(time.monotonic)
        self._store: Store | None = None
        self._keeper: Keeper | None = None
        if options.last_known_good is not None:
            told = _identity(options, bootstrap)
            self._store = Store(options.last_known_good, told, wall=_wall)
            self._keeper = Keeper(self._store)
        engine.awaits_policies = self._asks_inbound
        engine.around.blame = self._blame
        engine.around.why = self._why
        self._client = XdsClient(
            bootstrap,
            on_update=self._update,
            on_problem=self._problem,
            on_contact=self._contact,
            on_connection=self._connected,
            on_note=lambda text: log.info("control plane: %s", text),
            clock=time.monotonic,
            dice=random.random,
            runtime_layers=options.runtime_layers,
            is_called=self._is_called,
            keeper=None if identity is None else identity.secrets,
        )
        self._load_reports = LoadReports(
            lambda: self._client.server,
            bootstrap.node,
            upkeep,
            clock=time.monotonic,
            dice=random.random,
        )

    def start(self) -> None:
        for place in self._bootstrap_ignored:
            log.warning("%s: %s", place, NOT_ACTED_ON)
        if self._identity is None:
            self._client.start()
        else:
            self._identity.when_ready(self._client.start)
        snapshot, absent = self._engine.snapshot, self._engine.absent
        if snapshot.listeners or absent:
            self._has_heard = True
            self._go_on(Saved(snapshot, absent, 0.0))

    def _update(self, snapshot: Snapshot, absent: frozenset[str]) -> None:
        self._has_heard = True
        if self._keeper is not None:
            self._keeper.remember(snapshot, absent)
        self._upkeep.apply(*self._earlier.beside(snapshot, absent))
        self._load_reports.follow(snapshot)

    def _problem(self, text: str) -> None:
        self._last_problem = text
        log.warning("control plane: %s", text)

    def _contact(self, outage: str) -> None:
        if self._keeper is not None:
            self._keeper.contact(outage)
        if outage and not self._outage:
            self._without(outage)
        self._outage = outage
        self._upkeep.contact(outage)

    def _connected(self) -> None:
        """A control plane that begins anew may wait for its members before it answers them."""
        if self._outage:
            for tell in tuple(self._returns):
                tell()

    def _is_called(self, cluster: str) -> bool:
        live = self._engine.clusters.get(cluster)
        return live is not None and live.is_called

    def _without(self, outage: str) -> None:
        """The control plane cannot be asked, and did not say so before: what is done then."""
        options = self._options
        if options.on_no_config == "direct":
            log.warning("hosts that nothing is known of are called without the mesh: %s", outage)
        elif options.on_no_config == "last_good" and not self._has_heard:
            self._has_heard = True  # by the disk, and once
            assert self._store is not None, "the options say so"
            saved = read(self._store, options.last_known_good_max_age, outage)
            if saved is not None:
                self._upkeep.apply(saved.snapshot, saved.absent)
                self._go_on(saved, is_of_disk=True)

    def _go_on(self, saved: Saved, *, is_of_disk: bool = False) -> None:
        """Ask for all that is in force without being asked for in this life."""
        self._earlier.take(saved, is_of_disk=is_of_disk)
        for target in (*saved.snapshot.listeners, *saved.absent):
            with suppress(ConfigError):  # of an authority that the bootstrap has no more
                self.want(target)

    def _blame(self) -> str:
        """Why a listener may be missing: no connection, or what was wrong with an answer."""
        status = self._client.status()
        server, node = f"control plane {status['server']}", f"(node {status['node']})"
        if not status["connected"]:
            return f"{server} is not connected: {status['error'] or self._hindrance()} {node}"
        if self._last_problem:
            return f"{server}: {self._last_problem}"
        return f"{server} sent none {node}"

    def _hindrance(self) -> str:
        """Who has no certificate yet has not even asked."""
        said = "" if self._identity is None else self._identity.status().get("error")
        return f"this member has no certificate: {said}" if said else "no answer yet"

    def _why(self, room: str, name: str) -> str:
        return self._client.trouble(TYPES[room], name)

    def close(self) -> None:
        self._client.close()
        self._load_reports.close()
        if self._keeper is not None:
            self._keeper.close()
        self._upkeep.contact("")

    def want(self, listener: str) -> None:
        if listener != INBOUND or self._asks_inbound:
            self._client.watch(listener)

    @property
    def server(self) -> Callable[[], Server]:
        return lambda: self._client.server

    def on_return(self, tell: Callable[[], None]) -> None:
        self._returns.append(tell)

    def reach(self, timeout: float) -> bool:
        return self._client.reach(timeout)

    def is_ready(self) -> bool:
        return self._client.is_ready()

    def status(self) -> dict[str, Any]:
        said = {**self._client.status(), **self._earlier.status()}
        return {"kind": "xds", **said, "ignored": len(self.ignored())}

    def watched(self) -> tuple[Entry, ...]:
        return self._client.entries()

    def ignored(self) -> tuple[str, ...]:
        bootstrap = (f"{place}: {NOT_ACTED_ON}" for place in self._bootstrap_ignored)
        return (*bootstrap, *self._client.ignored())


def _wall() -> float:
    return time.time()  # noqa: TID251 - the one floor where clocks come in


def node_of(options: Options) -> Node:
    """What this member says that it is, if it were asked."""
    return bootstrap_of(options).node


def secured(bootstrap: Bootstrap, options: Options, shown: Shown | None) -> Bootstrap:
    """A bootstrap says itself how its servers are reached."""
    if shown is None or options.control_plane is None:
        return bootstrap
    servers = tuple(replace(server, shown=shown) for server in bootstrap.xds_servers)
    return replace(bootstrap, xds_servers=servers)


def bootstrap_of(options: Options) -> Bootstrap:
    if options.bootstrap is not None:
        return Bootstrap.load(options.bootstrap)
    return Bootstrap.for_server(
        options.control_plane or "",
        node_id=f"{options.service or 'meshlib'}-{os.getpid()}.{options.namespace}",
        namespace=options.namespace,
        labels=options.all_labels,
        service=options.service,
        locality={name: place for name, place in asdict(options.locality).items() if place},
        delta=True,  # of a server that does not speak it, the state of the world is asked
    )


def _identity(options: Options, bootstrap: Bootstrap) -> dict[str, Any]:
    """Who is told the same in another life: all that a control plane can tell apart.

    An id of our own making names the process, so that it tells nothing.
    """
    said = asdict(bootstrap.node)
    if options.control_plane is not None:
        del said["id"]
    return {"node": said, "servers": [server.server_uri for server in bootstrap.xds_servers]}
