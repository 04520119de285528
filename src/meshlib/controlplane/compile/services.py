"""The service registry: Kubernetes' Services and ServiceEntries as one kind of thing."""

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ..manifests.common import WorkloadEntry
from ..manifests.manifest import Manifest
from ..manifests.service import Service, ServicePort
from ..manifests.service_entry import ServiceEntry
from ..world import World
from .names import SERVICE_DOMAIN
from .workloads import described

S = TypeVar("S", Service, ServiceEntry)

EXPORT_ANNOTATION = "networking.istio.io/exportTo"
ACCOUNTS_ANNOTATION = "alpha.istio.io/kubernetes-serviceaccounts"
"""The accounts whose workloads may be its endpoints, with commas. Labels prove nothing."""

Resolution = Literal["STATIC", "DNS", "DNS_ROUND_ROBIN", "NONE"]

_APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP"}
_PROTOCOLS = frozenset(
    {"HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS", "UDP"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshPort:
    """``protocol`` is "" when nobody said; ``target`` is where the workloads listen."""

    number: int
    name: str = ""
    protocol: str = ""
    target: int | str | None = None

    @property
    def is_http2(self) -> bool:
        return self.protocol in {"HTTP2", "GRPC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One place where a service runs; ``path`` is where ``manifest``'s spec says so.

    ``described``: what callers are told of it for their metrics.
    """

    entry: WorkloadEntry
    labels: dict[str, str]
    manifest: Manifest[Any]
    path: tuple[str | int, ...] = ()
    described: str = ""


Chosen = tuple[Workload, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshService:
    host: str
    namespace: str
    ports: tuple[MeshPort, ...]
    resolution: Resolution
    manifest: Manifest[Any]
    addresses: tuple[str, ...] = ()
    export_to: tuple[str, ...] = ()
    workloads: tuple[Workload, ...] = ()
    is_known: bool = True
    """False for a host that only a VirtualService speaks of."""

    def port(self, number: int) -> MeshPort | None:
        return next((port for port in self.ports if port.number == number), None)

    def destination_port(self, number: int | None, listener_port: int) -> MeshPort | None:
        """A destination without a port means the only one there is, else the caller's."""
        if number is not None:
            return self.port(number)
        return self.ports[0] if len(self.ports) == 1 else self.port(listener_port)

    @property
    def is_wildcard(self) -> bool:
        return self.host.startswith("*")


def registry(world: World) -> tuple[MeshService, ...]:
    """Every service there is; several may claim one host.

    Where worlds have manifests in common, services that stay as they are stay the same objects: a
    service follows from its manifest and from the workloads that were chosen for it.
    """
    lately = tuple(_lately)
    found = next((known for known in lately if known.world is world), None)
    if found is None:
        found = _registered(world, lately)
        _lately.appendleft(found)
    return found.services


@dataclass(frozen=True, slots=True)
class _Made:
    """The services of a manifest, and what they were made of."""

    manifest: Manifest[Any]
    chosen: Chosen
    services: tuple[MeshService, ...]


@dataclass(frozen=True, slots=True)
class _Registry:
    """A world's services, and what was made on the way, by the identities of manifests."""

    world: World
    workloads: dict[int, Workload]
    made: dict[int, _Made]

    @property
    def services(self) -> tuple[MeshService, ...]:
        return tuple(service for one in self.made.values() for service in one.services)


_lately: deque[_Registry] = deque(maxlen=4)
"""The last first: each is looked at from many sides, with and without what registered."""


def _registered(world: World, lately: tuple[_Registry, ...]) -> _Registry:
    entries = _Workloads(world, lately)

    def made(
        manifest: Manifest[S], make: Callable[[Manifest[S], Chosen], Iterable[MeshService]]
    ) -> _Made:
        chosen = _entitled(manifest, entries.selected(selector(manifest.spec), manifest.namespace))
        for known in (past.made.get(id(manifest)) for past in lately):
            if known and known.manifest is manifest and _are_same(known.chosen, chosen):
                return known
        return _Made(manifest, chosen, tuple(make(manifest, chosen)))

    found = {id(manifest): made(manifest, _of_service) for manifest in world.services}
    found |= {id(entry): made(entry, _of_service_entry) for entry in world.service_entries}
    return _Registry(world, entries.by_manifest, found)


def _entitled(manifest: Manifest[Any], chosen: Chosen) -> Chosen:
    """Of those whom its labels select the ones that it lets stand for it; unsaid, all."""
    said = manifest.annotations.get(ACCOUNTS_ANNOTATION)
    if said is None:
        return chosen
    names = {name.strip() for name in said.split(",")}
    return tuple(one for one in chosen if (one.entry.service_account or "default") in names)


def _are_same(some: Chosen, others: Chosen) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def selector(spec: Any) -> dict[str, str]:
    """The labels of its workloads; empty: it has none of its own."""
    if isinstance(spec, Service):
        return {} if spec.type == "ExternalName" else spec.selector
    return spec.workload_selector.labels if spec.workload_selector is not None else {}


class _Workloads:
    """The WorkloadEntries, to be selected by their labels (those of spec and metadata)."""

    def __init__(self, world: World, lately: Iterable[_Registry]) -> None:
        self.by_manifest: dict[int, Workload] = {}
        self._by_label: dict[tuple[str, str, str], list[Workload]] = {}
        for manifest in world.workload_entries:
            workload = _known(manifest, lately)
            if workload is None:
                labels = {**manifest.labels, **manifest.spec.labels}
                workload = Workload(
                    entry=manifest.spec,
                    labels=labels,
                    manifest=manifest,
                    described=described(manifest, labels),
                )
            self.by_manifest[id(manifest)] = workload
            for key, value in workload.labels.items():
                self._by_label.setdefault((manifest.namespace, key, value), []).append(workload)

    def selected(self, selector: dict[str, str], namespace: str) -> Chosen:
        """An empty selector selects nothing, as in Istio and Kubernetes."""
        first = next(iter(selector.items()), None)
        candidates = self._by_label.get((namespace, *first), ()) if first else ()
        return tuple(w for w in candidates if selector.items() <= w.labels.items())


def _known(manifest: Manifest[WorkloadEntry], lately: Iterable[_Registry]) -> Workload | None:
    for past in lately:
        found = past.workloads.get(id(manifest))
        if found is not None and found.manifest is manifest:
            return found
    return None


def _of_service(manifest: Manifest[Service], chosen: Chosen) -> Iterator[MeshService]:
    spec = manifest.spec
    exported = manifest.annotations.get(EXPORT_ANNOTATION, "")
    is_external = spec.type == "ExternalName"
    if is_external:
        entry = WorkloadEntry(address=spec.external_name)
        chosen = (Workload(entry=entry, labels={}, manifest=manifest, path=("externalName",)),)
    has_address = spec.cluster_ip not in {"", "None"}
    yield MeshService(
        host=f"{manifest.name}.{manifest.namespace}.{SERVICE_DOMAIN}",
        namespace=manifest.namespace,
        ports=tuple(_service_port(port) for port in spec.ports if port.protocol == "TCP"),
        resolution="DNS" if is_external else "STATIC",
        manifest=manifest,
        addresses=(spec.cluster_ip,) if has_address else (),
        export_to=tuple(name.strip() for name in exported.split(",") if name.strip()),
        workloads=chosen,
    )


def _service_port(port: ServicePort) -> MeshPort:
    said = _APP_PROTOCOLS.get(port.app_protocol, port.app_protocol.upper())
    protocol = said if said in _PROTOCOLS else _protocol_of_name(port.name)
    return MeshPort(number=port.port, name=port.name, protocol=protocol, target=port.target_port)


def _protocol_of_name(name: str) -> str:
    if name.startswith("grpc-web"):
        return "GRPC-WEB"
    said = name.partition("-")[0].upper()
    return said if said in _PROTOCOLS else ""


def _of_service_entry(manifest: Manifest[ServiceEntry], chosen: Chosen) -> Iterator[MeshService]:
    spec = manifest.spec
    if spec.workload_selector is None:
        chosen = tuple(
            Workload(
                entry=entry,
                labels=entry.labels,
                manifest=manifest,
                path=("endpoints", index),
                described=described(manifest, entry.labels),
            )
            for index, entry in enumerate(spec.endpoints)
        )
    ports = tuple(
        MeshPort(
            number=port.number,
            name=port.name,
            protocol=port.protocol or _protocol_of_name(port.name),
            target=port.target_port,
        )
        for port in spec.ports
    )
    for index, host in enumerate(spec.hosts):
        own = chosen
        if not own and spec.workload_selector is None and spec.resolution.startswith("DNS"):
            entry = WorkloadEntry(address=host)
            own = (Workload(entry=entry, labels={}, manifest=manifest, path=("hosts", index)),)
        yield MeshService(
            host=host.lower(),
            namespace=manifest.namespace,
            ports=ports,
            resolution=spec.resolution,
            manifest=manifest,
            addresses=tuple(address for address in spec.addresses if "/" not in address),
            export_to=spec.export_to,
            workloads=own,
        )
