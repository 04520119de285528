"""What this member is called in metrics, and how it tells others so."""

import os
import socket
from collections.abc import Callable, Mapping
from functools import cached_property

from ..dataplane import Headers
from ..dataplane.introduction import PEER, PEER_METADATA, PEER_METADATA_ID
from ..model.workload import (
    CLUSTER,
    HERE,
    NOT_KNOWN,
    WORKLOAD_NAME,
    PeerFacts,
    facts_of,
    packed_whole,
)
from ..telemetry.peers import Peers
from .options import Options

NAMES = ("MESHLIB_WORKLOAD", "ISTIO_META_WORKLOAD_NAME")
CLUSTERS = ("MESHLIB_CLUSTER", "ISTIO_META_CLUSTER_ID")


class Workload:
    """Read off options and environment; without I/O until somebody is to be told."""

    def __init__(self, options: Options, environ: Mapping[str, str] = os.environ) -> None:
        self._name, self._cluster = _first(environ, NAMES), _first(environ, CLUSTERS)
        labels = options.all_labels | self.labels
        name = self._name or options.service or NOT_KNOWN
        namespace = options.namespace
        self.facts: PeerFacts = facts_of(labels, workload=name, namespace=namespace, cluster=HERE)

    @property
    def labels(self) -> dict[str, str]:
        """By which a control plane knows what the environment says."""
        said = {WORKLOAD_NAME: self._name, CLUSTER: self._cluster}
        return {name: value for name, value in said.items() if value}

    def peers(self, principal: Callable[[], str] = str) -> Peers:
        return Peers(self.facts, decode=_decode, principal=principal)

    @cached_property
    def introduction(self) -> Headers:
        """What goes out with calls to hosts of the mesh, and with answers to those who ask."""
        from ..xds.codec.peer_metadata import encode_peer

        facts = self.facts
        name = f"{facts.workload}-{facts.canonical_revision}-{socket.gethostname()}-{os.getpid()}"
        node = f"sidecar~127.0.0.1~{name}.{facts.namespace}~{facts.namespace}.svc.cluster.local"
        told = encode_peer(facts, name)
        return ((PEER_METADATA, told), (PEER_METADATA_ID, node), (PEER, packed_whole(facts)))


def _decode(text: str) -> PeerFacts | None:
    from ..xds.codec.peer_metadata import decode_peer

    return decode_peer(text)


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")
