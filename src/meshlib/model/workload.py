"""What a workload is called: Istio's names of it, as metrics and dashboards have them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

WORKLOAD_NAME = "service.istio.io/workload-name"
CANONICAL_NAME = "service.istio.io/canonical-name"
CANONICAL_REVISION = "service.istio.io/canonical-revision"
CLUSTER = "topology.istio.io/cluster"
APP, VERSION = "app", "version"
NAMES = (CANONICAL_NAME, "app.kubernetes.io/name", APP)
REVISIONS = (CANONICAL_REVISION, "app.kubernetes.io/version", VERSION)

LATEST = "latest"
"""The revision of those that say none."""
HERE = "Kubernetes"
"""The cluster of those that say none."""
NOT_KNOWN = "unknown"
LONGEST = 100
"""Characters of one name that count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """Who takes part in a call. ``principal`` is proven by TLS; all else is said, and only said.

    Hashed once: whoever counts looks it up with each call.
    """

    workload: str = NOT_KNOWN
    namespace: str = NOT_KNOWN
    canonical_service: str = NOT_KNOWN
    canonical_revision: str = NOT_KNOWN
    app: str = NOT_KNOWN
    version: str = NOT_KNOWN
    cluster: str = NOT_KNOWN
    principal: str = NOT_KNOWN
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        texts = (self.workload, self.namespace, self.canonical_service, self.canonical_revision)
        found = hash((*texts, self.app, self.version, self.cluster, self.principal))
        object.__setattr__(self, "_hash", found)

    def __hash__(self) -> int:
        return self._hash


UNKNOWN = PeerFacts()


def facts_of(
    labels: Mapping[str, str], *, workload: str, namespace: str, cluster: str
) -> PeerFacts:
    """By labels, as istiod does it; ``workload`` where no label names it otherwise."""
    name = labels.get(WORKLOAD_NAME) or workload
    canonical = next((labels[key] for key in NAMES if labels.get(key)), name)
    revision = next((labels[key] for key in REVISIONS if labels.get(key)), LATEST)
    return bounded(
        workload=name,
        namespace=namespace,
        canonical_service=canonical,
        canonical_revision=revision,
        app=labels.get(APP, ""),
        version=labels.get(VERSION, ""),
        cluster=labels.get(CLUSTER) or cluster,
    )


def bounded(**said: str) -> PeerFacts:
    """What is not said is unknown, and what is said at length is cut."""
    return PeerFacts(**{name: _shown(text) for name, text in said.items()})


def _shown(text: str) -> str:
    cut = text[:LONGEST]
    return cut if cut and cut.isprintable() else NOT_KNOWN


def packed(facts: PeerFacts) -> str:
    """As istiod tells callers of an endpoint (``istio``: ``workload``); the default is left out."""
    revision = facts.canonical_revision
    told = "" if revision == LATEST else revision
    return _joined(facts.workload, facts.namespace, facts.canonical_service, told, facts.cluster)


def packed_whole(facts: PeerFacts) -> str:
    """:func:`packed` with ``app`` and ``version``, for a header: in ASCII."""
    text = f"{packed(facts)};{_joined(facts.app, facts.version)}"
    return text.encode("ascii", "replace").decode()


def _joined(*texts: str) -> str:
    return ";".join("" if text == NOT_KNOWN else text.replace(";", "") for text in texts)


def unpacked(text: str) -> PeerFacts | None:
    """``None`` where it is none.

    istiod tells nothing of ``app`` and ``version``, so the canonical ones stand for them.
    """
    parts = text.split(";", 7)
    if len(parts) < 5 or not any(parts[:3]):
        return None
    workload, namespace, canonical, revision, cluster = parts[:5]
    app, version = parts[5:7] if len(parts) > 6 else (canonical or workload, revision)
    return bounded(
        workload=workload,
        namespace=namespace,
        canonical_service=canonical or workload,
        canonical_revision=revision or LATEST,
        app=app,
        version=version,
        cluster=cluster,
    )
