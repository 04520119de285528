"""``networking.istio.io`` ServiceEntry."""

from collections.abc import Iterator
from typing import Literal

from .common import WorkloadEntry, WorkloadSelector, is_ip
from .piece import Flaw, Piece, Port, Text

Protocol = Literal[
    "", "HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS", "MYSQL", "REDIS"
]


class ServiceEntryPort(Piece, frozen=True):
    number: Port
    name: Text
    protocol: Protocol = ""
    target_port: Port | None = None


class ServiceEntry(Piece, frozen=True):
    hosts: tuple[Text, ...]
    addresses: tuple[Text, ...] = ()
    ports: tuple[ServiceEntryPort, ...] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] = "NONE"
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[Text, ...] = ()

    def rules(self) -> Iterator[Flaw]:
        yield from self._host_rules()
        yield from self._port_rules()
        yield from self._endpoint_rules()
        if self.resolution.startswith("DNS"):
            for index, address in enumerate(self.addresses):
                if "/" in address:
                    yield Flaw(("addresses", index), "a range needs resolution NONE or STATIC")

    def _host_rules(self) -> Iterator[Flaw]:
        if not self.hosts:
            yield Flaw(("hosts",), "at least one host is needed")
        for index, host in enumerate(self.hosts):
            if host == "*":
                yield Flaw(("hosts", index), "a ServiceEntry takes no host '*'")
            elif "*" in host[1:]:
                yield Flaw(("hosts", index), f"{host!r}: a wildcard may only stand first")

    def _port_rules(self) -> Iterator[Flaw]:
        names: set[str] = set()
        numbers: set[int] = set()
        for index, port in enumerate(self.ports):
            if port.name in names:
                yield Flaw(("ports", index, "name"), f"port {port.name!r} exists already")
            if port.number in numbers:
                yield Flaw(("ports", index, "number"), f"port {port.number} exists already")
            names.add(port.name)
            numbers.add(port.number)

    def _endpoint_rules(self) -> Iterator[Flaw]:
        if self.workload_selector is not None:
            if self.endpoints:
                yield Flaw(("endpoints",), "endpoints and workloadSelector exclude each other")
            for key, value in self.workload_selector.labels.items():
                if "*" in key or "*" in value:
                    at = ("workloadSelector", "labels", key)
                    yield Flaw(at, "a selector takes no wildcard")
        if self.resolution == "NONE" and self.endpoints:
            yield Flaw(("endpoints",), "endpoints have no meaning with resolution NONE")
        if self.resolution == "DNS_ROUND_ROBIN" and len(self.endpoints) > 1:
            yield Flaw(("endpoints",), "resolution DNS_ROUND_ROBIN takes one endpoint")
        known = {port.name for port in self.ports}
        for index, endpoint in enumerate(self.endpoints):
            if self.resolution == "STATIC" and endpoint.address and not is_ip(endpoint.address):
                where = ("endpoints", index, "address")
                yield Flaw(where, f"{endpoint.address!r} is no IP address", "use resolution: DNS")
            for name in endpoint.ports.keys() - known:
                yield Flaw(("endpoints", index, "ports", name), f"no port is named {name!r}")
