"""The whole control plane: a source of manifests, a snapshot per scope, an ADS server."""

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from ..clock import Clock
from ..errors import ConfigError, MeshError, Problem
from ..model import Snapshot
from .admin import Admin
from .cache import SnapshotCache
from .compile.servers import served_address
from .discovery import Nack
from .findings import Finding, findings_of
from .limits import Limits
from .manifests import Memory, load_documents
from .node import ClientKind, Node
from .offers import Offers
from .profiles import Downgrade
from .registration import Registrations
from .registry import GRACE, Registry, hosts_of
from .scope import Scope, Sidecar
from .server import AdsServer
from .sources import Folder
from .status import Status
from .stream import Wire
from .type_names import short
from .world import World

if TYPE_CHECKING:  # cryptography is for those who have a CA
    from .ca import Ca

LOG = logging.getLogger("meshlib.controlplane")

Config = str | Path | Sequence[str | Path] | Sequence[Mapping[str, Any]]
Group = tuple[Scope, ClientKind]
Staged = dict[tuple[Hashable, frozenset[str] | None], Snapshot]
"""By group, and by the listeners of servers that it asked for."""
MAX_SERVER_LISTENERS = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """What was found sound, and is to be put in force."""

    world: World
    version: str
    findings: tuple[Finding, ...]
    staged: Staged


class ControlPlane:
    """Serves Istio's manifests as xDS: ``async with ControlPlane(config="mesh/") as plane``.

    ``config`` is a folder, a file, a list of them (all of these are watched), or a list of
    manifests as dicts. ``listen`` and ``admin`` are ``host:port``; port 0 takes a free one, and
    without ``admin`` there is no admin interface. Entering raises :class:`ConfigError` for a
    config that is bad from the start; later a bad edit is refused whole, and ``errors`` says why.

    ``admin_token`` (else ``MESHLIB_ADMIN_TOKEN``) must be given where ``admin`` is not on loopback.
    With ``rollback_on_nack`` an edit that brings something that a client refuses is taken back for
    all, once. ``wire`` is shown every message.

    Members register here as endpoints (``mesh.register``): those that have the
    ``registration_token`` (else ``MESHLIB_REGISTRATION_TOKEN``), or without one those on this
    machine. They are served until ``registration_grace`` seconds after their stream broke.
    With ``credentials`` it speaks TLS (see :func:`server_credentials`).

    ``ca`` is the folder of a CA (made there, if it is none yet): then the same port gives out
    certificates, and tells nothing to those who have none; who is of another namespace or account
    than it says is refused. ``ca_hosts`` are the names under which clients call this machine;
    ``ca_socket`` is a socket file at which this user may have the certificate of anybody.
    """

    def __init__(  # noqa: PLR0913 - the public face: one keyword an option
        self,
        config: Config,
        *,
        listen: str = "127.0.0.1:18000",
        admin: str | None = None,
        admin_token: str | None = None,
        rollback_on_nack: bool = False,
        limits: Limits | None = None,
        wire: Wire | None = None,
        clock: Clock = time.monotonic,
        credentials: grpc.ServerCredentials | None = None,
        registration_token: str | None = None,
        registration_grace: float = GRACE,
        ca: str | Path | None = None,
        ca_hosts: Sequence[str] = (),
        ca_socket: str | Path | None = None,
    ) -> None:
        self._folder, self._documents = _source(config)
        _check_addresses(listen=listen, admin=admin)
        self._cache = SnapshotCache(_group_of, missing=self._admit, check=False)
        self._status = Status(clock)
        self._registry = self._status.registry = Registry(clock, registration_grace)
        self.ca = _ca(ca, ca_hosts, ca_socket, credentials)
        self._registrations = self._made_registrations(registration_token)
        self._settled, self._is_refreshing, self._rollback_on_nack = 0.0, False, rollback_on_nack
        self._settling: asyncio.TimerHandle | None = None
        self._server = AdsServer(
            self._cache,
            self._status,
            listen,
            limits=limits,
            on_nack=self._nacked,
            on_listeners=self._listen,
            wire=wire,
            credentials=credentials,
            settling=lambda: clock() < self._settled,
            beside=(self._registrations.handler, *(self.ca.handlers if self.ca else ())),
            ca=self.ca,
        )
        self._admin = self._made_admin(admin, admin_token)
        self._world = World()
        self._memory, self._offers = Memory(), Offers(self._registry)
        self._world_before: World | None = None
        self._findings: frozenset[Finding] = frozenset()
        self._server_listeners: dict[Hashable, frozenset[str]] = {}
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()
        self.errors: tuple[Problem, ...] = ()
        self.address, self.admin_address = listen, admin

    def _made_admin(self, listen: str | None, token: str | None) -> Admin | None:
        token = token or os.environ.get("MESHLIB_ADMIN_TOKEN")
        return Admin(self._status, listen, token=token) if listen is not None else None

    def _made_registrations(self, token: str | None) -> Registrations:
        return Registrations(
            self._registry,
            self._status.metrics,
            self._registered,
            lambda workload: hosts_of(self._world, workload),
            token=token or os.environ.get("MESHLIB_REGISTRATION_TOKEN"),
            gate=self.ca,
        )

    @property
    def version(self) -> str:
        """The version of the manifests in force: a hash of their content."""
        return self._status.version

    @property
    def status(self) -> dict[str, Any]:
        """What the admin interface says under ``/api/v1/status``."""
        return self._status.to_dict()

    async def apply(self, config: Sequence[Mapping[str, Any]]) -> None:
        """Put other manifests in force; raises :class:`ConfigError` if they are refused."""
        try:
            world = load_documents(config, memory=self._memory)
        except ConfigError as refused:
            self._refuse(refused)
            raise
        await self._change(world)

    async def start(self) -> None:
        if self._folder is None:
            await self.apply(self._documents)
        else:
            await self._change(await asyncio.to_thread(self._folder.load))
        self._settled = self._status.clock() + self._registry.grace
        self.address = await self._server.start()
        if self.ca is not None:
            self.ca.service.start()
        later = asyncio.get_running_loop().call_later
        self._settling = later(self._registry.grace + 0.01, self._server.wake)
        if self._admin is not None:
            try:
                self.admin_address = await self._admin.start()
            except OSError as error:
                await self._server.stop()
                said = (
                    f"cannot listen on {self.admin_address}: is the port taken? ({error.strerror})"
                )
                raise MeshError(said) from error
        if self._folder is not None:
            self._watch(self._folder, asyncio.get_running_loop())

    async def stop(self) -> None:
        """Drain: no new streams, open ones end, and then the addresses are free again."""
        if self._folder is not None:
            await asyncio.to_thread(self._folder.close)
        if self._settling is not None:
            self._settling.cancel()
        await asyncio.gather(*self._changes, return_exceptions=True)
        self._registrations.close()
        if self.ca is not None:
            await self.ca.service.close()
        await self._server.stop()
        if self._admin is not None:
            await self._admin.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _watch(self, folder: Folder, loop: asyncio.AbstractEventLoop) -> None:
        def changed(world: World) -> None:
            loop.call_soon_threadsafe(begin, world)

        def begin(world: World) -> None:
            self._begin(self._change_or_log(world))

        def unreadable(error: ConfigError) -> None:
            loop.call_soon_threadsafe(self._refuse, error)

        folder.start(changed, unreadable)

    def _begin(self, change: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _change_or_log(self, world: World) -> None:
        try:
            await self._change(world)
        except ConfigError:
            pass  # said by _refuse already
        except Exception:
            LOG.exception("the last edit could not be applied; the last good config serves on")

    async def _change(self, world: World) -> None:
        async with self._changing:
            groups = [group for group in self._cache.groups if self._cache.is_watched(group)]
            try:
                change = await asyncio.to_thread(self._prepare, world, groups)
            except ConfigError as refused:
                self._refuse(refused)
                raise
            self._put_in_force(change)

    def _registered(self) -> None:
        """Other workloads are registered: only their endpoints change. Many at once are one."""
        if not self._is_refreshing:
            self._is_refreshing = True
            self._begin(self._refresh())

    async def _refresh(self) -> None:
        async with self._changing:
            self._is_refreshing = False
            groups = [group for group in self._cache.groups if self._cache.is_watched(group)]
            try:
                staged = await asyncio.to_thread(self._staged, self._world, groups)
            except Exception:
                LOG.exception("what registered could not be applied; others serve on")
                return
            for (group, asked), snapshot in staged.items():
                if self._server_listeners.get(group) == asked:
                    self._cache.follow(group, snapshot)

    def _staged(self, world: World, groups: Sequence[Hashable]) -> Staged:
        return {
            (group, self._server_listeners.get(group)): self._compiled(world, group)
            for group in groups
        }

    def _prepare(self, world: World, groups: Sequence[Hashable]) -> "Change":
        """Everything that can fail, before anything is changed. Runs beside the loop."""
        findings = (*findings_of(world), *(self.ca.findings(world) if self.ca else ()))
        errors = [finding.problem for finding in findings if finding.severity == "error"]
        if errors:
            raise ConfigError(*errors)
        staged = self._staged(world, groups)
        for kind in ClientKind:  # whoever comes first will be of one of these
            sidecar = Sidecar() if kind is ClientKind.ENVOY else None
            self._offers.check(world, Scope(sidecar=sidecar), kind)
        return Change(world, self._offers.version_of(world), findings, staged)

    def _put_in_force(self, change: "Change") -> None:
        before = self._world if self._status.version else None
        self._world, self._world_before = change.world, before
        self.errors = ()
        self._status.applied(change.version)
        for group in self._cache.groups:
            if not self._cache.is_watched(group):
                self._cache.clear(group)
                self._server_listeners.pop(group, None)
                continue
            # Who came, or asked for more, while the others were compiled is on the old world yet.
            asked = self._server_listeners.get(group)
            snapshot = change.staged.get((group, asked)) or self._compiled(change.world, group)
            self._cache.set_snapshot(group, snapshot)
        clients = len(self._status.clients)
        LOG.info("applied version %s, %d streams are told", self.version, clients)
        for finding in change.findings:
            if finding not in self._findings:
                level = logging.WARNING if finding.severity == "warning" else logging.INFO
                LOG.log(level, "%s %s", finding.code, finding.problem)
        self._findings = frozenset(change.findings)

    def _refuse(self, error: ConfigError) -> None:
        self.errors = error.problems
        self._status.refused(tuple(map(str, error.problems)))
        serving = f"version {self.version} serves on" if self.version else "nothing is served"
        LOG.error("refused an edit, %s:", serving)
        for problem in error.problems:
            LOG.error("  %s", problem)

    def _nacked(self, node: Node, nack: Nack) -> None:
        if not self._rollback_on_nack or not self._cache.came_with_last_change(node, nack):
            return
        before, self._world_before = self._world_before, None
        if before is not None:
            self._begin(self._roll_back(before, self._world, node, nack))

    async def _roll_back(self, before: World, bad: World, node: Node, nack: Nack) -> None:
        """Put back what was in force before; the folder keeps the edit, to be mended."""
        async with self._changing:
            if self._world is not bad:
                return
            groups = [group for group in self._cache.groups if self._cache.is_watched(group)]
            change = await asyncio.to_thread(self._prepare, before, groups)
            taken_back = self.version
            self._put_in_force(change)
            self._world_before = None
        self._status.metrics.rollbacks += 1
        what = f"{short(nack.type_url)} {', '.join(nack.resources)}"
        said = f"{node.id} refused {what}: {nack.text}"
        self.errors = (Problem(f"version {taken_back} is taken back", said),)
        self._status.errors = tuple(map(str, self.errors))
        LOG.error("rolled back to version %s: %s", self.version, self.errors[0])

    def _admit(self, node: Node) -> None:
        group = _group_of(node)
        self._cache.follow(group, self._compiled(self._world, group))

    def _listen(self, node: Node, names: AbstractSet[str]) -> None:
        """Have listeners for those gRPC servers that ask: only they know on which ports."""
        group = _group_of(node)
        known = self._server_listeners.get(group, frozenset())
        wanted = frozenset(filter(served_address, names)) - known
        if len(known) + len(wanted) > MAX_SERVER_LISTENERS:
            LOG.warning("%s asks for too many listeners of servers", node.id)
        elif wanted:
            self._server_listeners[group] = known | wanted
            self._admit(node)

    def _compiled(self, world: World, group: Hashable) -> Snapshot:
        assert isinstance(group, tuple)
        scope, kind = group
        names = tuple(sorted(self._server_listeners.get(group, ())))
        return self._offers.to(world, replace(scope, server_listeners=names), kind, self._report)

    def _report(self, downgrade: Downgrade) -> None:
        if self._status.is_new(downgrade):
            LOG.info("downgraded %s", downgrade)


def _ca(
    folder: str | Path | None,
    hosts: Sequence[str],
    socket_file: str | Path | None,
    credentials: grpc.ServerCredentials | None,
) -> "Ca | None":
    from .ca import Ca

    if folder is not None and credentials is not None:
        raise ConfigError(Problem("ControlPlane", "give ca or credentials, not both"))
    return None if folder is None else Ca(folder, hosts=hosts, socket_file=socket_file)


def _check_addresses(**named: str | None) -> None:
    for name, address in named.items():
        host, _, port = ("any:0" if address is None else address).rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigError(Problem(f"ControlPlane: {name}", f"{address!r} is not host:port"))


def _group_of(node: Node) -> Group:
    return node.scope, node.kind


def _source(config: Config) -> tuple[Folder | None, Sequence[Mapping[str, Any]]]:
    if isinstance(config, str | Path):
        return Folder(config), ()
    documents = [item for item in config if isinstance(item, Mapping)]
    paths = [item for item in config if isinstance(item, str | Path)]
    if documents and paths:
        raise ConfigError("config is either a list of paths or a list of manifests, not both")
    return (Folder(paths), ()) if paths else (None, documents)
