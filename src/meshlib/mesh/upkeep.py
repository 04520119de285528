"""What goes on beside calls: health checks, and names resolved anew. One thread, if any."""

import asyncio
import logging
import random  # noqa: TID251 - the one floor where luck comes in
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from ..clock import Dice
from ..dataplane import Engine
from ..dataplane.upstream.cluster import UpstreamCluster
from ..middleware._drive import Runtime
from ..model import Cluster, HealthCheck, HttpHealthCheck, Snapshot, StrictDns
from ..model.load_stats import ClusterStats
from ._checking import Checking
from ._resolving import Resolve, Resolving, addresses_of
from .securing import Fit

log = logging.getLogger("meshlib")

CLOSING = 5.0
"""Seconds that :meth:`Upkeep.close` waits for what is going on."""


class Job(Protocol):
    """Upkeep of one cluster; lives on the thread's event loop."""

    def follow(self, cluster: UpstreamCluster) -> None:
        """The configuration was applied, or names were resolved."""

    async def close(self) -> None: ...


Reason = StrictDns | tuple[HealthCheck, ...]
"""What of a cluster's configuration makes a job."""

Wanted = list[tuple[UpstreamCluster, Reason]]


class Upkeep:
    """Puts configurations in force, and begins and ends what they need to be looked after.

    ``traffic`` says whether a cluster has ever been called; ``fit`` is what the member itself
    makes of a configuration.
    """

    def __init__(
        self,
        engine: Engine,
        runtime: Runtime,
        *,
        dice: Dice = random.random,
        traffic: Callable[[str], bool],
        resolve: Resolve = addresses_of,
        fit: Fit = lambda snapshot: snapshot,
    ) -> None:
        self._engine = engine
        self._runtime = runtime
        self._dice = dice
        self._traffic = traffic
        self._resolve = resolve
        self._fit = fit
        self._told: frozenset[str] = frozenset()
        self._left_behind: list[Round] = []
        self._round: Round | None = None
        self._begin()

    def _begin(self) -> None:
        self._applying = threading.Lock()
        self._lock = threading.Lock()
        self._round = None

    def apply(self, snapshot: Snapshot, absent: Collection[str] = ()) -> None:
        """Put a snapshot in force; from any thread."""
        with self._applying:
            self._runtime.commit(self._engine.prepare(self._fit(snapshot), absent))
        self._runtime.collect()  # here, rather than on the thread of the next call
        self._tell()
        self._follow()

    def contact(self, outage: str) -> None:
        """Say whether somebody can be asked for configuration, and if not, why."""
        self._runtime.contact(outage)

    def loads(self, wanted: Callable[[str], bool]) -> list[ClusterStats]:
        """What the wanted clusters were called since the last time."""
        with self._runtime.lock:
            return [
                cluster.load.take()
                for name, cluster in self._engine.clusters.items()
                if cluster.load is not None and wanted(name)
            ]

    def resolved(self, cluster: str, addresses: Mapping[str, tuple[str, ...]]) -> None:
        """Put in force what the names of a cluster stand for."""
        with self._applying:
            if cluster in self._engine.clusters:
                self._runtime.commit(self._engine.resolved(cluster, addresses))
        with self._lock:
            if self._round is not None:  # else it was closed meanwhile
                self._round.again()

    def close(self) -> None:
        """End it all; the next configuration begins anew."""
        with self._lock:
            ending, self._round = self._round, None
            if ending is not None:
                ending.again()
        if ending is not None:
            ending.thread.join(CLOSING)

    def reset(self) -> None:
        """In a forked child: thread and connections are the parent's."""
        if self._round is not None:
            self._left_behind.append(self._round)  # its loop counts as running for ever
        self._begin()

    def ignored(self) -> tuple[str, ...]:
        """What is configured to be looked after and cannot be."""
        return tuple(
            f"clusters/{cluster.name}: health_checks[{number}].http_health_check: HTTP/2 is not"
            " spoken by health checks, so this one is not made"
            for cluster in self._engine.snapshot.clusters.values()
            for number, check in enumerate(cluster.health_checks)
            if not _can_be_made(check)
        )

    def _tell(self) -> None:
        ignored = frozenset(self.ignored())
        for problem in sorted(ignored - self._told):
            log.warning("%s", problem)
        self._told = ignored

    def _follow(self) -> None:
        with self._lock:
            if self._round is not None:
                self._round.again()
            elif self._wanted():
                self._round = Round(self)
                self._round.thread.start()

    def wanted_by(self, asking: "Round") -> Wanted | None:
        """What there is to do now; ``None``: nothing any more, and the round is over."""
        with self._lock:
            if self._round is not asking:
                return None
            wanted = self._wanted()
            if not wanted:
                self._round = None
            return wanted or None

    def _wanted(self) -> Wanted:
        with self._runtime.lock:
            known, live = self._engine.snapshot.clusters, self._engine.clusters
            return [
                (live[name], reason)
                for name, config in known.items()
                for reason in _reasons(config)
            ]

    def over(self, ended: "Round") -> None:
        """A round came to its end, if need be by an error."""
        with self._lock:
            if self._round is ended:
                self._round = None

    def begun(self, cluster: UpstreamCluster, reason: Reason) -> Job:
        if isinstance(reason, StrictDns):
            return Resolving(reason, self._resolve, self.resolved)
        return Checking(reason, cluster, self._runtime, dice=self._dice, traffic=self._traffic)


class Round:
    """One life of the thread: from the first job to the end of the last."""

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep
        self._jobs: dict[tuple[str, type], tuple[Reason, Job]] = {}
        self._news = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="meshlib-upkeep", daemon=True)

    def again(self) -> None:
        """Look what there is to do; from any thread, while the upkeep knows of this round."""
        self._loop.call_soon_threadsafe(self._news.set)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._go_round())
        finally:
            self._upkeep.over(self)
            self._loop.close()

    async def _go_round(self) -> None:
        while (wanted := self._upkeep.wanted_by(self)) is not None:
            await self._keep(wanted)
            await self._news.wait()
            self._news.clear()
        await self._keep([])

    async def _keep(self, wanted: Wanted) -> None:
        named = {(cluster.name, type(reason)): (cluster, reason) for cluster, reason in wanted}
        for key, (reason, job) in list(self._jobs.items()):
            if key not in named or named[key][1] != reason:
                del self._jobs[key]
                await job.close()
        for key, (cluster, reason) in named.items():
            if key not in self._jobs:
                self._jobs[key] = (reason, self._upkeep.begun(cluster, reason))
            self._jobs[key][1].follow(cluster)


def _reasons(config: Cluster) -> list[Reason]:
    found: list[Reason] = []
    if isinstance(config.discovery, StrictDns):
        found.append(config.discovery)
    if checks := tuple(filter(_can_be_made, config.health_checks)):
        found.append(checks)
    return found


def _can_be_made(check: HealthCheck) -> bool:
    return not (isinstance(check.checker, HttpHealthCheck) and check.checker.http2)
