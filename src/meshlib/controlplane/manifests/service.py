"""``v1`` Service of Kubernetes: what of it the mesh must know."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from .piece import Flaw, Piece, Port


class ServicePort(Piece, frozen=True):
    port: Port
    name: str = ""
    target_port: int | str | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    app_protocol: str = ""
    ELSEWHERE = frozenset({"nodePort"})

    def rules(self) -> Iterator[Flaw]:
        if isinstance(self.target_port, int) and not 1 <= self.target_port <= 65535:
            yield Flaw(("targetPort",), "a port lies between 1 and 65535")


class Service(Piece, frozen=True):
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    external_name: str = ""
    ELSEWHERE = frozenset(
        {"clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalIPs", "loadBalancerIP"}
        | {"sessionAffinity", "sessionAffinityConfig", "internalTrafficPolicy"}
        | {"externalTrafficPolicy", "allocateLoadBalancerNodePorts", "loadBalancerClass"}
        | {"loadBalancerSourceRanges", "publishNotReadyAddresses", "healthCheckNodePort"}
        | {"trafficDistribution"}
    )

    def rules(self) -> Iterator[Flaw]:
        if self.type == "ExternalName" and not self.external_name:
            yield Flaw((), "externalName is missing")
        numbers: set[tuple[int, str]] = set()
        for index, port in enumerate(self.ports):
            if (port.port, port.protocol) in numbers:
                yield Flaw(("ports", index, "port"), f"port {port.port} exists already")
            numbers.add((port.port, port.protocol))
            if len(self.ports) > 1 and not port.name:
                yield Flaw(("ports", index), "name is missing: with several ports each needs one")
