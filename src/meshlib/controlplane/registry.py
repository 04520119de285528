"""Workloads that register themselves: leases, and the world with them in it. No I/O, no clock."""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from ..clock import Clock
from ..errors import MeshError
from ..model.workload import NAMES, WORKLOAD_NAME
from ..xds.registration import Request, Workload
from .compile.services import MeshService, registry
from .compile.workloads import GROUP
from .manifests.common import WorkloadEntry
from .manifests.manifest import Manifest
from .manifests.marks import PlainMarks
from .world import World

GRACE = 10.0
SILENCE = 3.0
"""A stream that is silent for so many times the grace counts as broken."""
LEASES = 10_000
LEASES_PER_PEER = 1_000
LABELS = 100
MAX_LENGTH = 512
CALLERS = 1100
MODES = ("auto", "strict", "off")
NOTHING_NEW = Request()

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PORT_NAME = re.compile(r"[a-zA-Z0-9](?:[-.\w]*[a-zA-Z0-9])?")


class RegistrationError(MeshError):
    """A workload that is not let in."""


class FullError(RegistrationError):
    """There are too many; later there may be room."""


@dataclass(slots=True, eq=False)
class Lease:
    workload: Workload
    peer: str
    ends: float
    since: float = 0.0
    connected: bool = True
    mtls: str = ""
    plaintext_callers: tuple[tuple[str, int], ...] = ()

    @property
    def state(self) -> str:
        if not self.connected:
            return "DISCONNECTED"
        return "SERVING" if self.workload.serving else "NOT_SERVING"


class Registry:
    """A lease lives as long as its stream, and ``grace`` seconds more."""

    def __init__(self, clock: Clock, grace: float = GRACE) -> None:
        self.clock = clock
        self.grace = grace
        self.leases: dict[str, Lease] = {}
        self.workloads: tuple[Workload, ...] = ()
        """Those that serve; another tuple whenever they change."""

    def register(self, workload: Workload, peer: str) -> Lease:
        """Let it in, or take it back, or take in what changed; ``peer`` is its IP address.

        Raises :class:`RegistrationError` with what is wrong.
        """
        workload = replace(workload, address=workload.address or peer)
        _check(workload, peer)
        for id_, other in tuple(self.leases.items()):  # its life before, on the same port
            if not other.connected and _place(other.workload) == _place(workload):
                del self.leases[id_]
        if workload.id not in self.leases:
            self._check_room(peer)
        now, known = self.clock(), self.leases.get(workload.id)
        since = known.since if known is not None else now
        lease = Lease(workload, peer, now + SILENCE * self.grace, since)
        self.leases[workload.id] = lease
        self._list()
        return lease

    def heard(self, lease: Lease, request: Request = NOTHING_NEW) -> None:
        """``request`` tells of itself what is for people alone."""
        lease.ends = self.clock() + SILENCE * self.grace
        lease.mtls = request.mtls if request.mtls in MODES else ""
        named = ((name[:MAX_LENGTH], count) for name, count in request.plaintext_callers)
        shown = ((name, count) for name, count in named if name.isprintable())
        lease.plaintext_callers = tuple(shown)[:CALLERS]

    def broke(self, lease: Lease) -> None:
        """Its stream is gone; it may come back."""
        lease.connected, lease.ends = False, self.clock() + self.grace

    def deregister(self, lease: Lease) -> None:
        if self.leases.get(lease.workload.id) is lease:
            del self.leases[lease.workload.id]
            self._list()

    def expire(self) -> tuple[Lease, ...]:
        """Drop what is out of time."""
        now = self.clock()
        gone = tuple(lease for lease in self.leases.values() if lease.ends <= now)
        for lease in gone:
            del self.leases[lease.workload.id]
        self._list()
        return gone

    def deadline(self) -> float | None:
        return min((lease.ends for lease in self.leases.values()), default=None)

    def to_dicts(self) -> list[dict[str, Any]]:
        """For people; the id, by which a lease is taken back, is not theirs."""
        now = self.clock()
        return [
            {
                "namespace": lease.workload.namespace,
                "labels": dict(lease.workload.labels),
                "address": lease.workload.address,
                "port": lease.workload.port,
                "ports": dict(lease.workload.ports),
                "peer": lease.peer,
                "state": lease.state,
                "age_seconds": round(now - lease.since, 3),
                "ends_in_seconds": round(lease.ends - now, 3),
                "mtls": lease.mtls,
                "plaintext_callers": dict(lease.plaintext_callers),
            }
            for lease in self.leases.values()
        ]

    def _check_room(self, peer: str) -> None:
        if len(self.leases) >= LEASES:
            raise FullError(f"{LEASES} workloads are registered, which is the most")
        if Counter(lease.peer for lease in self.leases.values())[peer] >= LEASES_PER_PEER:
            raise FullError(f"{peer} has registered {LEASES_PER_PEER} workloads, the most")

    def _list(self) -> None:
        serving = (lease.workload for lease in self.leases.values() if lease.workload.serving)
        listed = tuple(sorted(serving, key=lambda workload: workload.id))
        if listed != self.workloads:
            self.workloads = listed


def joined(world: World, workloads: tuple[Workload, ...]) -> World:
    """As if each were a WorkloadEntry, after those of the manifests: of two at one address the
    first counts, so that none stands in for what was configured."""
    if not workloads:
        return world
    services = registry(world)
    entries = tuple(_manifest(workload, services) for workload in workloads)
    return replace(world, workload_entries=(*world.workload_entries, *entries))


def hosts_of(world: World, workload: Workload) -> tuple[str, ...]:
    """Of which services it is an endpoint."""
    alone = replace(world, workload_entries=(_manifest(workload, registry(world)),))
    kinds = {"Service", "ServiceEntry"}
    found = {
        service.host
        for service in registry(alone)
        if service.manifest.kind in kinds
        and any(each.manifest is alone.workload_entries[0] for each in service.workloads)
    }
    return tuple(sorted(found))


def _manifest(workload: Workload, services: tuple[MeshService, ...]) -> Manifest[WorkloadEntry]:
    name = f"registered {workload.address}:{workload.port or dict(workload.ports)}"
    labels = dict(workload.labels)
    of = next((labels[key] for key in (WORKLOAD_NAME, *NAMES) if key in labels), "")
    return Manifest(
        kind="WorkloadEntry",
        name=name,
        namespace=workload.namespace,
        annotations={GROUP: of},
        spec=WorkloadEntry(
            address=workload.address,
            ports=_ports(workload, services),
            labels=labels,
            locality=workload.locality,
            weight=workload.weight,
            service_account=workload.service_account,
        ),
        marks=PlainMarks(name),
    )


def _ports(workload: Workload, services: tuple[MeshService, ...]) -> dict[str, int]:
    """An entry says it of ports by their names, so all names that there are get the one port."""
    if not workload.port:
        return dict(workload.ports)
    there = [port for s in services if s.namespace == workload.namespace for port in s.ports]
    names = {name for port in there for name in (port.target, port.name) if isinstance(name, str)}
    return dict.fromkeys(names, workload.port) | dict(workload.ports)


def _place(workload: Workload) -> tuple[object, ...]:
    return workload.namespace, workload.address, workload.port, workload.ports


def _check(workload: Workload, peer: str) -> None:
    for said in _wrong(workload, peer):
        raise RegistrationError(said)


def _wrong(workload: Workload, peer: str) -> Iterator[str]:
    if not workload.id or not workload.labels:
        yield "a workload has an id and labels, by which services select it"
    if not workload.port and not workload.ports:
        yield "port is missing"
    for port in (*dict(workload.ports).values(), *([workload.port] if workload.port else ())):
        if not 1 <= port <= 65535:
            yield f"{port} is not a port"
    if not 1 <= workload.weight <= 1_000_000:
        yield f"weight {workload.weight} is not of 1 to 1000000"
    if len(workload.labels) > LABELS or len(workload.ports) > LABELS:
        yield f"more than {LABELS} labels or ports"
    texts = (workload.id, workload.namespace, workload.locality, *chain(*workload.labels))
    if any(len(text) > MAX_LENGTH or not text.isprintable() for text in texts):
        yield f"a text is longer than {MAX_LENGTH} characters, or not printable"
    if not all(map(_PORT_NAME.fullmatch, dict(workload.ports))):
        yield "the name of a port is none"
    yield from _wrong_address(workload.address, peer)


def _wrong_address(address: str, peer: str) -> Iterator[str]:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        if not _NAME.fullmatch(address):
            yield f"address {address[:MAX_LENGTH]!r} is neither an IP address nor a name"
        return
    if ip.is_unspecified or ip.is_multicast:
        yield f"{address} is not an address that can be called"
    if ip.is_loopback and not is_loopback(peer):
        yield f"{address} is each caller's own; {peer} may not register it"


def is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return peer == "unix"
