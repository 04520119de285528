"""How a service is called safely: who answers for it, and who of those takes mutual TLS."""

from collections import deque
from collections.abc import Iterable

from ... import model
from ...model.security import TransportSocketMatch, UpstreamTls
from ..manifests.client_tls import ClientTLSSettings
from ..manifests.service import Service
from ..manifests.service_entry import ServiceEntry
from ..world import World
from .peer_modes import peer_modes
from .services import MeshPort, MeshService, Workload
from .transport import ISTIO, TLS_MODE, Called, automatic, written
from .view import View

TLS_MODE_LABEL = "security.istio.io/tlsMode"
DISABLED = "disabled"
MATCH_FILTER = "envoy.transport_socket_match"
DEFAULT_ACCOUNT = "default"


def spiffe_id(trust_domain: str, namespace: str, account: str = "") -> str:
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account or DEFAULT_ACCOUNT}"


class Securing:
    """The calls to one service, by what a rule says of them (``tls``), else by themselves."""

    def __init__(self, service: MeshService, tls: ClientTLSSettings | None, view: View) -> None:
        self._service = service
        self._tls = tls
        self._view = view
        self._is_mutual = tls is not None and tls.mode == "ISTIO_MUTUAL"
        self._is_named = self._is_mutual and not (tls and tls.subject_alt_names)

    def sockets(
        self, port: MeshPort, subset: str, assignment: model.ClusterLoadAssignment
    ) -> tuple[UpstreamTls | None, tuple[TransportSocketMatch, ...]]:
        """``tls`` and ``transport_socket_matches`` of a cluster."""
        called = Called(
            host=self._service.host,
            sni=f"outbound_.{port.number}_.{subset}_.{self._service.host}",
            names=self._names(),
            is_http2=port.is_http2,
        )
        if self._tls is not None:
            return written(self._tls, called), ()
        is_taken = self._view.mesh.enable_auto_mtls and any(map(_takes_it, _each(assignment)))
        return None, automatic(called) if is_taken else ()

    def told(self, workload: Workload, port: int) -> model.Metadata:
        """What callers are told of an endpoint: where it is said, what it takes, who it is."""
        place = ("source", str(workload.manifest.place_of(*workload.path)))
        takes = _takes_mutual_tls(workload, port, self._service, self._view)
        account = workload.entry.service_account
        is_told = account or ((takes or self._is_named) and not self._said())
        facts = (place, ("spiffe_id", self._id(workload))) if is_told else (place,)
        own = "meshlib", model.Struct(facts)
        criteria = MATCH_FILTER, model.Struct(((TLS_MODE, ISTIO),))
        named = "istio", model.Struct((("workload", workload.described),))
        known = (named, own) if workload.described else (own,)
        return model.Metadata((criteria, *known) if takes else known)

    def _id(self, workload: Workload) -> str:
        domain, home = self._view.mesh.trust_domain, workload.manifest.namespace
        return spiffe_id(domain, home, workload.entry.service_account)

    def _names(self) -> tuple[str, ...]:
        """Who may answer: what the ServiceEntry says, and the ids of all members who serve it.

        Where it says something, who names no account of his own is no member of the mesh.
        """
        said = self._said()
        if self._tls is not None and not self._is_mutual:
            return said
        known = [w for w in self._service.workloads if w.entry.service_account or not said]
        return tuple(sorted({*said, *map(self._id, known)}))

    def _said(self) -> tuple[str, ...]:
        spec = self._service.manifest.spec
        return spec.subject_alt_names if isinstance(spec, ServiceEntry) else ()


def _takes_mutual_tls(workload: Workload, port: int, service: MeshService, view: View) -> bool:
    """It says so itself, or lets nobody in without."""
    label = workload.labels.get(TLS_MODE_LABEL, "")
    if label == DISABLED:
        return False
    home = workload.manifest.namespace
    said = view.peer_authentications(home)
    modes = peer_modes(said, view.mesh.root_namespace, home, workload.labels)
    if label == ISTIO:
        return modes.at(port) != "DISABLE"
    return modes.at(port) == "STRICT" and not is_external(service)


def has_identities(world: World) -> bool:
    """Whether anybody speaks of mutual TLS."""
    for known, found in tuple(_lately):
        if known is world:
            return found
    found = bool(world.peer_authentications) or any(
        one.spec.labels.get(TLS_MODE_LABEL, one.labels.get(TLS_MODE_LABEL)) == ISTIO
        for one in world.workload_entries
    )
    _lately.appendleft((world, found))
    return found


_lately: deque[tuple[World, bool]] = deque(maxlen=4)
"""The last first: each world is looked at for many members."""


def is_external(service: MeshService) -> bool:
    """Somewhere outside of the mesh, by what its manifest says."""
    spec = service.manifest.spec
    if isinstance(spec, Service):
        return spec.type == "ExternalName"
    return isinstance(spec, ServiceEntry) and spec.location == "MESH_EXTERNAL"


def _each(assignment: model.ClusterLoadAssignment) -> Iterable[model.Endpoint]:
    return (one for group in assignment.endpoints for one in group.lb_endpoints)


def _takes_it(endpoint: model.Endpoint) -> bool:
    return endpoint.metadata.get(MATCH_FILTER, TLS_MODE) == ISTIO
