"""Pieces that several kinds share."""

import functools
import ipaddress
import re
from collections.abc import Iterator

import msgspec

from .piece import Count, Flaw, Piece, Port, Text, not_yet

_NAME = re.compile(r"[-._A-Za-z0-9]+")
_PORT_NAME = re.compile(r"[a-zA-Z0-9](?:[-.\w]*[a-zA-Z0-9])?")


class Metadata(Piece, frozen=True):
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

    def rules(self) -> Iterator[Flaw]:
        """Hosts, ids and references are made of both."""
        for field, name in (("name", self.name), ("namespace", self.namespace)):
            if not _NAME.fullmatch(name):
                yield Flaw((field,), f"{name!r} is no name", "letters, digits, '-', '.' and '_'")


class WorkloadSelector(Piece, frozen=True):
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class WorkloadEntry(Piece, frozen=True):
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


@functools.lru_cache(maxsize=32_768)
def is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
