"""Pieces that several kinds share."""

import ipaddress
import msgspec

from .piece import Count, Piece, Port, Text


class Metadata(Piece):
    """``metadata`` of a manifest; what the API server adds is accepted and not read."""

    name: Text
    namespace: Text = "default"
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    ELSEWHERE = frozenset(
        {"uid", "resourceVersion", "generation", "managedFields", "selfLink", "generateName"}
        | {"finalizers", "ownerReferences", "creationTimestamp", "deletionTimestamp"}
        | {"deletionGracePeriodSeconds"}
    )


class WorkloadSelector(Piece):
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class WorkloadEntry(Piece):
    """``networking.istio.io`` WorkloadEntry; also an inline endpoint of a ServiceEntry."""

    address: str = ""
    ports: dict[str, Port] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    network: str = ""
    locality: str = ""
    weight: Count = 1
    service_account: str = ""

    def rules(self) -> Iterator[Flaw]:
        if self.address.startswith("unix:"):
            yield not_yet("address", what="a unix socket as address")
        elif not self.address and not self.network:
            yield Flaw((), "address is missing")
        for name in self.ports:
            if not _PORT_NAME.fullmatch(name):
                yield Flaw(("ports", name), f"{name!r} is not a port name", at_key=True)


def is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
