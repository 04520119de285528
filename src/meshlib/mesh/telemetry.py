"""Who sees the calls of a mesh: put together here, told of by the engine."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..dataplane import Engine
from ..exposition import TEXT, Metric, pieces
from ..middleware._drive import Runtime
from ..model.telemetry import Tracing
from ..telemetry.access_log import flush
from ..telemetry.access_log.open_telemetry import unheard
from ..telemetry.audience import default_audience
from ..telemetry.metrics import Recorder
from ..telemetry.metrics.eviction import Eviction
from ..telemetry.metrics.grpc import grpc_metrics
from ..telemetry.metrics.istio import istio_metrics
from ..telemetry.metrics.member import Facts, member_metrics, program_metrics
from ..telemetry.metrics.members import MEMBERS
from ..telemetry.metrics.pushes import PushToApply
from ..telemetry.metrics.xds import xds_metrics
from ..telemetry.observer import Telemetry
from ..telemetry.propagation import Propagation
from .identity import Identity
from .options import Options
from .workload import Workload

if TYPE_CHECKING:
    from ..xds.bootstrap import Node
    from ..xds.watches import Entry
    from .admin_ports import SharedPort
    from .pages import Member


class Seen:
    """All that telemetry keeps of one mesh. ``afterwards`` is emptied by the runtime.

    ``principal`` is this member's own SPIFFE id, as it is now.
    """

    def __init__(self, options: Options, principal: Callable[[], str] = str) -> None:
        self._options = options
        self._admin: SharedPort | None = None
        self.unready: Callable[[], str] = str
        self._started = 0.0
        self._node: Node | None = None
        self._facts: Facts
        self._pushed = PushToApply()
        self.workload = Workload(options)
        self.peers = self.workload.peers(principal)
        self.afterwards: deque[Callable[[], None]] = deque()
        self._own_host = _own_host(options)
        self.recorder = self._made_recorder()
        self.propagation = Propagation(extra=options.propagate)
        self._default = default_audience(os.environ)
        self.observer = self._made_observer()

    def look(
        self,
        engine: Engine,
        runtime: Runtime,
        identity: Identity,
        source: Callable[[], Mapping[str, Any]],
        watched: "Callable[[], tuple[Entry, ...] | None]",
    ) -> None:
        """Where to find what is told besides calls."""
        self._watched, self._runtime, self._identity = watched, runtime, identity
        self.propagation.configured = partial(_tracing_of, engine)
        self._evict = self._made_eviction()
        self._facts = Facts(
            engine=engine,
            lock=runtime.lock,
            clock=time.monotonic,
            source=source,
            identity=identity.status,
            plaintext=lambda: dict(runtime.security.inbound.callers),
            push_to_apply=self._pushed.now,
        )

    def start(self, unready: Callable[[], str]) -> None:
        """Metrics may be read from now on. ``unready``: why this member is not ready, if so."""
        options = self._options
        if options.metrics or (options.metrics is None and options.admin):
            self._introduce()
        MEMBERS.join(self)
        self.unready, self._started = unready, time.monotonic()
        if options.admin:
            from .admin_ports import PORTS

            self._admin = PORTS.join(self, options.admin, options.admin_token)

    def close(self) -> None:
        self._runtime.attendant.rest()
        flush()
        admin, self._admin = self._admin, None
        if admin is not None:
            from .admin_ports import PORTS

            PORTS.leave(self, admin)

    @property
    def admin_address(self) -> str | None:
        return None if self._admin is None else self._admin.address

    @property
    def name(self) -> str:
        return self._options.service

    def member(self) -> "Member":
        """What the admin port's pages are about.

        Raises :class:`ConfigError` where nothing says any more who this is.
        """
        from .pages import Member
        from .remote import node_of

        if self._node is None:
            self._node = node_of(self._options)
        return Member(
            node=self._node,
            engine=self._facts.engine,
            runtime=self._runtime,
            identity=self._identity,
            recorder=self.recorder,
            source=self._facts.source,
            watched=self._watched,
            unready=self.unready,
            clock=time.monotonic,
            wall=time.time,  # noqa: TID251 - for eyes outside of this process
            started=self._started,
        )

    def introduce(self) -> None:
        """Somebody reads the metrics of this process."""
        if self._options.metrics is not False:
            self._introduce()

    def _introduce(self) -> None:
        """From now on, this member tells those it calls who it is, and those who ask."""
        self.propagation.constant = self.workload.introduction
        self._facts.engine.introduce(self.workload.introduction)

    def collect(self) -> list[Metric]:
        return list(self._metrics())

    def _metrics(self) -> Iterator[Metric]:
        yield from self.own_metrics()
        yield from program_metrics()

    def own_metrics(self) -> Iterator[Metric]:
        """Without those of the whole program."""
        recorder, facts = self.recorder, self._facts
        facts.engine.ask()
        self._evict(facts.engine.clusters)
        yield from istio_metrics(recorder)
        yield from grpc_metrics(recorder, facts.engine.around.schemes, facts.lock)
        yield from xds_metrics(facts.source())
        yield from member_metrics(recorder, facts)

    def text(self, content_type: str = TEXT) -> str:
        return "".join(self.pieces(content_type))

    def pieces(self, content_type: str = TEXT) -> Iterator[str]:
        """Of the text, which is large where there are thousands of series."""
        return pieces(self._metrics(), content_type)

    def _made_recorder(self) -> Recorder:
        return Recorder(
            peers=self.peers,
            own_host=self._own_host,
            clock=time.monotonic,
            applied=lambda at: self.afterwards.append(partial(self._note_push, at)),
            later=self.afterwards.append,
        )

    def _made_eviction(self) -> Eviction:
        return Eviction(self.recorder, self.peers, self._runtime.lock, time.monotonic)

    def _note_push(self, at: float) -> None:
        entries = self._watched() or ()
        came = max((one.updated for one in entries if one.updated is not None), default=None)
        self._pushed.applied(at, came)

    def _made_observer(self) -> Telemetry:
        unmet = self.propagation.unmet
        return Telemetry(
            self.recorder, self.afterwards, self._default, unmet=unmet, peers=self.peers
        )

    def ignored(self) -> tuple[str, ...]:
        """Logs whose records nobody takes, at least for now."""
        return unheard(self._facts.engine.snapshot.listeners.values())

    def has_called(self, cluster: str) -> bool:
        return self.recorder.has_called(cluster)

    def begin_anew(self) -> None:
        """In a forked child: what was counted is the parent's."""
        self.afterwards.clear()
        self._admin = self._node = None
        self.recorder = self._made_recorder()
        self._facts = replace(self._facts, lock=self._runtime.lock)
        self._evict = self._made_eviction()
        self.observer = self._made_observer()


def _tracing_of(engine: Engine, listener: str) -> Tracing | None:
    found = engine.listeners.get(listener)
    audience = None if found is None else found.router.audience
    return None if audience is None else audience.tracing


def _own_host(options: Options) -> str:
    """As those who call by the service's name have it."""
    if not options.service:
        return ""
    return f"{options.service}.{options.namespace}.svc.cluster.local"
