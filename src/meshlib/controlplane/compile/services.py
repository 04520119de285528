"""The service registry: Kubernetes' Services and ServiceEntries as one kind of thing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..manifests.common import WorkloadEntry
from ..manifests.manifest import Manifest
from ..manifests.service import Service, ServicePort
from ..manifests.service_entry import ServiceEntry
from ..world import World
from .names import SERVICE_DOMAIN

EXPORT_ANNOTATION = "networking.istio.io/exportTo"

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
    """One place where a service runs; ``path`` is where ``manifest``'s spec says so."""

    entry: WorkloadEntry
    labels: dict[str, str]
    manifest: Manifest[Any]
    path: tuple[str | int, ...] = ()


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
    """Every service there is; several may claim one host."""
    entries = _Workloads(world)
    services = [_of_service(manifest, entries) for manifest in world.services]
    for manifest in world.service_entries:
        services.extend(_of_service_entry(manifest, entries))
    return tuple(services)


class _Workloads:
    """The WorkloadEntries, to be selected by their labels (those of spec and metadata)."""

    def __init__(self, world: World) -> None:
        self._by_label: dict[tuple[str, str, str], list[Workload]] = {}
        for manifest in world.workload_entries:
            labels = {**manifest.labels, **manifest.spec.labels}
            workload = Workload(entry=manifest.spec, labels=labels, manifest=manifest)
            for key, value in labels.items():
                self._by_label.setdefault((manifest.namespace, key, value), []).append(workload)

    def selected(self, selector: dict[str, str], namespace: str) -> tuple[Workload, ...]:
        """An empty selector selects nothing, as in Istio and Kubernetes."""
        first = next(iter(selector.items()), None)
        candidates = self._by_label.get((namespace, *first), ()) if first else ()
        return tuple(w for w in candidates if selector.items() <= w.labels.items())


def _of_service(manifest: Manifest[Service], workloads: _Workloads) -> MeshService:
    spec = manifest.spec
    exported = manifest.annotations.get(EXPORT_ANNOTATION, "")
    is_external = spec.type == "ExternalName"
    chosen: tuple[Workload, ...]
    if is_external:
        entry = WorkloadEntry(address=spec.external_name)
        chosen = (Workload(entry=entry, labels={}, manifest=manifest, path=("externalName",)),)
    else:
        chosen = workloads.selected(spec.selector, manifest.namespace)
    has_address = spec.cluster_ip not in {"", "None"}
    return MeshService(
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


def _of_service_entry(
    manifest: Manifest[ServiceEntry], workloads: _Workloads
) -> Iterator[MeshService]:
    spec = manifest.spec
    chosen: tuple[Workload, ...] = tuple(
        Workload(entry=entry, labels=entry.labels, manifest=manifest, path=("endpoints", index))
        for index, entry in enumerate(spec.endpoints)
    )
    if spec.workload_selector is not None:
        chosen = workloads.selected(spec.workload_selector.labels, manifest.namespace)
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
