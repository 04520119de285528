"""What is made for one service, and what of the world it was made of.

Most of a world outlives an edit, and with it most of what was made. Whether it did is known by
what was read for it: a piece sees the world through :class:`Watched`, which notes what it asks.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from ... import model
from ..manifests.manifest import Manifest
from ..manifests.peer_authentication import PeerAuthentication
from ..manifests.virtual_service import VirtualService
from .clusters import clusters_of
from .delegates import HttpRule
from .filters import filters_for
from .names import cluster_name, host_forms
from .services import MeshPort, MeshService
from .tables import service_table, virtual_host
from .view import Rule, View

R = TypeVar("R")
Answer = tuple[object, ...]
"""The manifests and services that an answer is made of. These are compared by identity."""


@dataclass(frozen=True, slots=True)
class Piece:
    """``hosts`` go with the numbers of their ports; ``read`` is what it hangs on."""

    service: MeshService
    hosts: tuple[tuple[int, model.VirtualHost], ...]
    tables: tuple[model.RouteConfiguration, ...]
    listeners: tuple[model.Listener, ...]
    clusters: tuple[model.Cluster, ...]
    endpoints: tuple[model.ClusterLoadAssignment, ...]
    asked: frozenset[str]
    read: tuple[tuple["Question", Answer], ...]

    def holds(self, view: View) -> bool:
        """Whether it would be made the same again, of a world of the same settings."""
        return all(same(answer, question.answer(view)) for question, answer in self.read)

    def keeping(self, old: "Piece") -> "Piece":
        """The same with the parts of an older one that are no different."""
        return replace(
            self,
            hosts=_kept(self.hosts, old.hosts),
            tables=_kept(self.tables, old.tables),
            listeners=_kept(self.listeners, old.listeners),
            clusters=_kept(self.clusters, old.clusters),
            endpoints=_kept(self.endpoints, old.endpoints),
        )


def piece_of(service: MeshService, view: View) -> Piece:
    watched = Watched(view)
    hosts = tuple((port.number, virtual_host(service, port, watched)) for port in service.ports)
    tables = tuple(service_table(service, host, number) for number, host in hosts)
    made = tuple(clusters_of(service, watched)) if service.is_known else ()
    named = tuple(
        _listener(name, service, port, host, view)
        for port, (_, host) in zip(service.ports, hosts, strict=True)
        for name in host_forms(service.host, view.scope.namespace)
    )
    return Piece(
        service,
        hosts,
        tables,
        named,
        tuple(cluster for cluster, _ in made),
        tuple(assignment for _, assignment in made if assignment is not None),
        frozenset(name for table in tables for _, name in model.referenced_clusters(table)),
        tuple(watched.read.items()),
    )


def _listener(
    name: str, service: MeshService, port: MeshPort, host: model.VirtualHost, view: View
) -> model.Listener:
    table = cluster_name(service.host, port.number)
    http = model.HttpConnectionManager(
        routes=model.Rds(table),
        http_filters=filters_for(host),
        stat_prefix=table,
        normalize_path=view.mesh.normalize_path,
        merge_slashes=view.mesh.merge_slashes,
        path_with_escaped_slashes_action=view.mesh.path_with_escaped_slashes_action,
    )
    metadata = model.sourced(service.manifest.place)
    return model.Listener(name=f"{name}:{port.number}", http=http, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ServiceOf:
    host: str

    def answer(self, view: View) -> Answer:
        return (view.service(self.host),)


@dataclass(frozen=True, slots=True)
class RuleFor:
    host: str
    namespace: str

    def answer(self, view: View) -> Answer:
        rule = view.rule_of(self.host, self.namespace)
        return rule.manifests if rule is not None else ()


@dataclass(frozen=True, slots=True)
class VirtualServiceFor:
    """With those that it delegates to."""

    host: str

    def answer(self, view: View) -> Answer:
        manifest = view.virtual_service_for(self.host)
        return () if manifest is None else (manifest, *view.delegates(manifest))


@dataclass(frozen=True, slots=True)
class PeerAuthenticationsIn:
    namespace: str

    def answer(self, view: View) -> Answer:
        return view.peer_authentications(self.namespace)


Question = ServiceOf | RuleFor | VirtualServiceFor | PeerAuthenticationsIn


class Watched(View):
    """A view that notes what is asked of it: all that a piece may ask."""

    def __init__(self, view: View) -> None:
        self.scope = view.scope
        self.mesh = view.mesh
        self.read: dict[Question, Answer] = {}
        self._view = view

    def service(self, host: str) -> MeshService | None:
        self._note(ServiceOf(host))
        return self._view.service(host)

    def rule_of(self, host: str, namespace: str) -> Rule | None:
        self._note(RuleFor(host, namespace))
        return self._view.rule_of(host, namespace)

    def virtual_service_for(self, host: str) -> Manifest[VirtualService] | None:
        self._note(VirtualServiceFor(host))
        return self._view.virtual_service_for(host)

    def peer_authentications(self, namespace: str) -> tuple[Manifest[PeerAuthentication], ...]:
        self._note(PeerAuthenticationsIn(namespace))
        return self._view.peer_authentications(namespace)

    def http_rules(self, manifest: Manifest[VirtualService]) -> Iterator[HttpRule]:
        """Of a manifest that it was told of, and with it of the delegates."""
        return self._view.http_rules(manifest)

    def _note(self, question: Question) -> None:
        if question not in self.read:
            self.read[question] = question.answer(self._view)


def _kept(made: tuple[R, ...], before: tuple[R, ...]) -> tuple[R, ...]:
    if len(made) != len(before):
        return made
    return tuple(old if old == new else new for new, old in zip(made, before, strict=True))


def same(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    """Whether these are the very same objects in the same order."""
    return len(some) == len(others) and all(map(operator.is_, some, others))
