"""PeerAuthentications → whether a workload's ports want mutual TLS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..manifests.manifest import Manifest
from ..manifests.peer_authentication import Mode, PeerAuthentication

DEFAULT: Mode = "PERMISSIVE"


@dataclass(frozen=True, slots=True)
class PeerModes:
    """``ports`` by number of the workload's own port, where they are other than the rest."""

    mode: Mode = DEFAULT
    ports: Mapping[int, Mode] = field(default_factory=dict)

    @property
    def all(self) -> set[Mode]:
        return {self.mode, *self.ports.values()}

    def at(self, port: int) -> Mode:
        return self.ports.get(port, self.mode)


def peer_modes(
    manifests: Sequence[Manifest[PeerAuthentication]],
    root_namespace: str,
    namespace: str,
    labels: Mapping[str, str],
) -> PeerModes:
    """The workload's own policy speaks first, then its namespace's, then the mesh's.

    Of several at one level the first counts. A port that says nothing does as its workload.
    """
    mesh = namespaced = workload = None
    for manifest in manifests:
        selector, home = manifest.spec.labels, manifest.namespace
        if selector:
            if workload is None and home == namespace and selector.items() <= labels.items():
                workload = manifest
        elif home == namespace and namespaced is None:
            namespaced = manifest
        if not selector and home == root_namespace and mesh is None:
            mesh = manifest
    mode: Mode = DEFAULT
    for level in (mesh, namespaced, workload):
        if level is not None and level.spec.mode != "UNSET":
            mode = level.spec.mode
    said = workload.spec.port_modes if workload is not None else {}
    return PeerModes(mode, {number: one for number, one in said.items() if one != "UNSET"})
