"""The data plane as one object: a snapshot applied, calls decided."""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..clock import Clock, Dice
from ..model import (
    Cluster,
    HttpFilter,
    RouteConfiguration,
    Snapshot,
    discovered,
)
from ..model.snapshot import asked_by, referenced_clusters
from .deadline import asked_for
from .events import CallEnded, CallRecord, ConfigApplied, Event, Observer, StreamBegan
from .filters.access_counts import ACCESS, FAULTS, RATE_LIMITS, counts
from .filters.adaptive_concurrency import limits
from .filters.chain import Kept, Site
from .filters.fault import active_faults
from .filters.router import Router, Surroundings, too_late
from .inbound import LISTENER, Inbound, inbound, unwelcome
from .introduction import heard
from .message import Cause, Failure, Headers, Outcome, Request
from .options import Options
from .outbound import LiveListener
from .routing.destination import leads_anywhere
from .routing.table import Parts, RouteTable
from .snapshots import TableKey, assignment_of, routes_of, table_key, wildcards
from .steps import AwaitConfig, Effect, Send, Steps, deliver
from .unjudged import is_judged, unjudged
from .upstream.cluster import UpstreamCluster
from .upstream.dns import Addresses
from .upstream.upstreams import Balances, prepare_clusters

ADOPTED = 4096
"""Names at most that stand beside the listeners because a wildcard covers them."""


def _deaf(event: Event) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The next state, built beside the one in use; :meth:`Engine.commit` swaps it in."""

    snapshot: Snapshot
    absent: frozenset[str]
    clusters: dict[str, UpstreamCluster]
    balances: Balances
    listeners: dict[str, LiveListener]
    tables: dict[TableKey, RouteTable] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)
    fresh: bool = True
    """Not the configuration in force once more, with other addresses."""


class Engine:
    """Decides calls by the snapshot in force.

    No locks inside: steps of calls and :meth:`commit` exclude each other by the driver's lock;
    :meth:`prepare` may run beside calls, but only on one thread at a time.
    """

    def __init__(
        self, *, clock: Clock, dice: Dice, observe: Observer = _deaf, options: Options | None = None
    ) -> None:
        self.options = options or Options()
        self.around = Surroundings(clock, dice, observe, self.options.wall)
        self.snapshot = Snapshot()
        self.absent: frozenset[str] = frozenset()
        self.clusters: dict[str, UpstreamCluster] = {}
        self.listeners: dict[str, LiveListener] = {}
        self._wildcards: tuple[tuple[str, LiveListener], ...] = ()
        self._tables: dict[TableKey, RouteTable] = {}
        self._kept = Kept()
        self._runtime = _shares(self.options.runtime)
        self._addresses: dict[str, Addresses] = {}
        self.awaits_policies = False  # to be known before anybody is served
        self._inbound = self._doorway()

    def apply(self, snapshot: Snapshot, absent: Collection[str] = ()) -> None:
        """Make a consistent snapshot the one in force; ``absent`` listeners do not exist."""
        self.commit(self.prepare(snapshot, absent))

    def prepare(self, snapshot: Snapshot, absent: Collection[str] = ()) -> Prepared:
        """Compile what changed; what is equal is kept, live state and all."""
        clusters, balances = prepare_clusters(
            snapshot.clusters,
            self.clusters,
            lambda config: assignment_of(config, snapshot.endpoints, self._addresses),
            self._cluster,
        )
        tables: dict[TableKey, RouteTable] = {}
        kept = Kept(self._kept)
        listeners = {}
        for named in snapshot.listeners.values():
            listener = discovered(named, snapshot.extensions)
            key = table_key(listener)
            if key not in tables:
                parts = self._parts(key, clusters, kept)
                tables[key] = self._table(key, routes_of(listener, snapshot), parts)
            old = self.listeners.get(listener.name)
            if old is not None and old.config == listener and old.router.table is tables[key]:
                listeners[listener.name] = old
                continue
            audience = self.options.audience(listener)
            router = Router(tables[key], self.around, audience)
            listeners[listener.name] = LiveListener(listener, router, self.around)
        return Prepared(snapshot, frozenset(absent), clusters, balances, listeners, tables, kept)

    def _cluster(self, kind: type[UpstreamCluster], config: Cluster) -> UpstreamCluster:
        around = self.around
        return kind(
            config,
            around.clock,
            around.dice,
            locality=self.options.locality,
            observe=around.observe,
            asks=lambda: bool(around.introduction),
        )

    def introduce(self, own: Headers) -> None:
        """Whoever calls or is called is to know who this is; and who answers, is to be known."""
        self.around.introduction = own
        self.ask()

    def ask(self) -> None:
        """Who answered by a name of his own may have gone, and another may answer in his place."""
        if self.around.introduction:
            for cluster in self.clusters.values():
                cluster.ask()

    def _parts(self, key: TableKey, clusters: dict[str, UpstreamCluster], kept: Kept) -> Parts:
        return Parts(
            clusters,
            self.options.regex,
            self.around.dice,
            key[1],
            clock=self.around.clock,
            http_filters=key[2],
            kept=kept,
            service=self.options.service,
            loop_lag=self.options.loop_lag,
            finditer=self.options.finditer,
            runtime=self._runtime,
            whereabouts=replace(
                self.options.whereabouts,
                clock=self.around.clock,
                wall_clock=self.options.wall,
            ),
            tokens=self.options.tokens,
        )

    def _table(self, key: TableKey, config: RouteConfiguration, parts: Parts) -> RouteTable:
        old = self._tables.get(key)
        if old is not None and old.config == config:
            named = {name for _, name in referenced_clusters(config)} | _asked(key[2])
            if leads_anywhere(config):
                named |= self.clusters.keys() | parts.clusters.keys()
            if all(self.clusters.get(name) is parts.clusters.get(name) for name in named):
                parts.kept.carry(config.name)
                return old
        return RouteTable(config, parts)

    def commit(self, prepared: Prepared) -> None:
        for cluster, balance in prepared.balances:
            cluster.commit(balance)
        self.clusters = prepared.clusters
        self.listeners = prepared.listeners
        self._wildcards = wildcards(prepared.listeners)
        self.absent = prepared.absent
        self.snapshot = prepared.snapshot
        self._runtime.clear()  # tables hold it
        self._runtime.update({**_shares(self.options.runtime), **prepared.snapshot.runtime})
        self._tables = prepared.tables
        self._kept = prepared.kept
        self._kept.settle()
        self._inbound.listen(self.listeners.get(LISTENER))
        version = self.around.version = prepared.snapshot.version
        if prepared.fresh:
            self.around.observe(ConfigApplied(version, len(self.listeners), len(self.clusters)))

    def resolved(self, cluster: str, addresses: Addresses) -> Prepared:
        """What names of a STRICT_DNS cluster stand for now: the next state, as of :meth:`prepare`.

        The snapshot is another object, for those who look through it when it changes.
        """
        known = {**self._addresses.get(cluster, {}), **addresses}
        self._addresses = {
            name: found
            for name, found in {**self._addresses, cluster: known}.items()
            if name in self.clusters
        }
        return replace(self.prepare(replace(self.snapshot), self.absent), fresh=False)

    def renew(self) -> None:
        """Keep the configuration and no state: calls begun so far will never end here."""
        self.clusters, self.listeners, self._tables = {}, {}, {}
        self._kept, self._inbound = Kept(), self._doorway()
        self.around.mirrored = 0
        self.apply(self.snapshot, self.absent)

    def outbound(self, request: Request) -> Steps[Outcome]:
        """The steps of a call to ``request.target``."""
        listener = self.listeners.get(request.target)
        return self._unknown(request) if listener is None else listener.service(request)

    def inbound(self, request: Request, extra: Sequence[HttpFilter] = ()) -> Steps[Outcome]:
        """The steps of a call to this service.

        ``extra`` is what its handler is decorated with: for each call to it the very same tuple.

        At ``Serve``, and for an answer of the mesh's own at ``Deliver``, the hook applies
        ``record.respond`` where it is set: to HTTP's response headers when they are sent; to gRPC
        ``record.respond(())`` are trailers, beside those that a :class:`Failure` has itself.
        """
        if self.around.introduction:
            heard(request)
        if request.connection.refusal:
            return unwelcome(request, self.around)
        if self.awaits_policies and not self.knows(LISTENER):
            return unjudged(request, self.around, self._may_judge, self._inbound_of, extra)
        return self._inbound_of(request, extra)

    def _inbound_of(self, request: Request, extra: Sequence[HttpFilter]) -> Steps[Outcome]:
        doorway = self._inbound
        if doorway.table is None and not extra:
            return inbound(request, self.around)
        return doorway(request, extra)

    def _may_judge(self, record: CallRecord) -> Generator[Effect, Any, bool]:
        settled = (yield from self._wait(record, LISTENER)) or self.goes_direct
        found = self.listeners.get(LISTENER)
        return settled and is_judged(record.request, found.config if found else None)

    def _doorway(self) -> Inbound:
        around, options = self.around, self.options
        site = Site(
            place=(),
            clock=around.clock,
            dice=around.dice,
            regex=options.regex,
            kept=Kept(),
            clusters={},
            service=options.service,
            loop_lag=options.loop_lag,
            tokens=options.tokens,
        )
        return Inbound(around, site, options.gateways)

    @property
    def is_guarded(self) -> bool:
        """Does a configured policy stand before the handlers?"""
        return self._inbound.guards

    def canonical(self, path: str) -> str:
        """The path by which an inbound request with this one is judged, routed and served."""
        return path if self._inbound.table is None else self._inbound.canonical(path)

    @property
    def runtime(self) -> Mapping[str, float]:
        """The shares (0 to 1) that runtime keys stand for: always those in force."""
        return self._runtime

    @property
    def access(self) -> dict[str, dict[str, int]]:
        """What became of calls where access is controlled, by place."""
        return counts(self._kept, ACCESS)

    @property
    def rate_limits(self) -> dict[str, dict[str, int]]:
        """What became of calls whose rate is limited, by place."""
        return counts(self._kept, RATE_LIMITS)

    @property
    def faults(self) -> dict[str, dict[str, int]]:
        """What calls suffered on purpose, by place."""
        return counts(self._kept, FAULTS)

    @property
    def active_faults(self) -> dict[str, int]:
        """How many calls suffer now, by table of routes."""
        return active_faults(self._kept)

    @property
    def adaptive_limits(self) -> dict[str, tuple[int, int]]:
        """By place: as many calls at once as adaptive concurrency allows, and those there are."""
        return limits(self._kept)

    def knows(self, target: str) -> bool:
        """Is it settled whether this target is of the mesh?"""
        return self._lists(target) or self.is_foreign(target)

    def _lists(self, target: str) -> bool:
        """Is there a listener of this name, or of a wildcard that covers it?

        The latter is found once, and stands beside the others from then on.
        """
        if target in self.listeners:
            return True
        found = self.listener(target)
        if found is not None and len(self.listeners) < len(self.snapshot.listeners) + ADOPTED:
            self.listeners[target] = found
        return found is not None

    def listener(self, target: str) -> LiveListener | None:
        """The listener of this name, or of the longest wildcard that covers it."""
        found = self.listeners.get(target)
        if found is not None:
            return found
        covering = (
            listener
            for suffix, listener in self._wildcards
            if target.endswith(suffix) and len(target) > len(suffix)
        )
        return next(covering, None)

    @property
    def is_cut_off(self) -> bool:
        """Is it no use to wait for configuration?"""
        return bool(self.around.outage) and self.options.on_no_config != "wait"

    @property
    def goes_direct(self) -> bool:
        """Are hosts that nothing is known of called as they would be without the mesh, for now?"""
        return self.is_cut_off and self.options.on_no_config == "direct"

    def is_foreign(self, target: str) -> bool:
        """Is it certain that this host is not of the mesh?"""
        if self._lists(target):
            return False
        return self.options.complete or target in self.absent

    def _unknown(self, request: Request) -> Steps[Outcome]:
        """A target that no listener is there for, at least not yet."""
        around = self.around
        record = CallRecord(request, around.clock(), config_version=around.version)
        outcome: Outcome = Failure(Cause.CANCELLED, "the caller went away")
        listener = None
        try:
            settled = self.knows(request.target) or (yield from self._wait(record, request.target))
            listener = self.listener(request.target)
            if listener is None:
                outcome = yield from self._unlisted(record, settled=settled)
                return outcome
        finally:
            if listener is None:
                around.observe(CallEnded(record, outcome, around.clock() - record.started))
        return (yield from listener.service(request))

    def _wait(self, record: CallRecord, listener: str) -> Generator[Effect, Any, bool]:
        """Until it is settled whether there is this listener, or for too long."""
        request, clock = record.request, self.around.clock
        limit = record.started + self.options.config_timeout
        deadline = asked_for(request, record.started)
        if deadline is not None:
            limit = min(limit, deadline)
        while not self.knows(listener):
            left = limit - clock()
            if left <= 0 or self.is_cut_off or not (yield AwaitConfig(listener, left)):
                return self.knows(listener)
        return True

    def _unlisted(self, record: CallRecord, *, settled: bool) -> Steps[Outcome]:
        request = record.request
        if not settled and not self.goes_direct:
            missing = Failure(Cause.NO_CONFIG, self._missing(request.target))
            return (yield from deliver(record, missing))
        if not self.options.passthrough:
            blocked = f"{request.target} is not of the mesh, and REGISTRY_ONLY is in force"
            return (yield from deliver(record, Failure(Cause.BLOCKED, blocked)))
        deadline = asked_for(request, record.started)
        left = None if deadline is None else deadline - self.around.clock()
        if left is not None and left <= 0:
            return (yield from deliver(record, too_late(request)))
        record.attempts, record.attempt_began = 1, self.around.clock()
        if request.streaming:
            self.around.observe(StreamBegan(record))
        answer = yield Send(request, None, left)
        return (yield from deliver(record, answer))

    def _missing(self, target: str) -> str:
        reason = self.around.blame()
        why = f": {reason}" if reason else ""
        in_time = "" if self.is_cut_off else " in time"
        return f"no configuration for listener {target!r}{in_time}{why}"


def _shares(per_cent: Mapping[str, int]) -> dict[str, float]:
    return {key: value / 100 for key, value in per_cent.items()}


def _asked(filters: tuple[HttpFilter, ...]) -> set[str]:
    """The clusters that filters of the listener itself send to."""
    return {name for one in filters for name in asked_by(one.config)}
