"""Istio's labels: all of them, always; what is not known is ``unknown``."""

from dataclasses import replace

from ...exposition import Labels
from ..peers import PeerFacts
from .calls import OTHER, UNKNOWN, Kind, service_of

PEER = (
    "workload",
    "workload_namespace",
    "canonical_service",
    "canonical_revision",
    "principal",
    "app",
    "version",
    "cluster",
)


def istio_labels(kind: Kind, *, falls_back: bool = True) -> Labels:
    service = service_of(kind, falls_back=falls_back)
    return (
        ("reporter", "destination" if kind.inbound else "source"),
        *_peer("source", kind.source),
        *_peer("destination", kind.destination),
        ("destination_service", service.host),
        ("destination_service_name", service.name),
        ("destination_service_namespace", service.namespace),
        ("request_protocol", "grpc" if kind.is_grpc else "http"),
        ("response_code", kind.code),
        ("grpc_response_status", "" if kind.status is None else str(kind.status)),
        ("response_flags", kind.flags),
        ("connection_security_policy", _policy(kind)),
    )


def _policy(kind: Kind) -> str:
    if not kind.inbound:
        return UNKNOWN
    return "mutual_tls" if kind.secure else "none"


def _peer(side: str, facts: PeerFacts) -> Labels:
    values = (
        facts.workload,
        facts.namespace,
        facts.canonical_service,
        facts.canonical_revision,
        facts.principal,
        facts.app,
        facts.version,
        facts.cluster,
    )
    return tuple((f"{side}_{name}", value) for name, value in zip(PEER, values, strict=True))


CROWD = PeerFacts(
    workload=OTHER,
    namespace=OTHER,
    canonical_service=OTHER,
    canonical_revision=OTHER,
    app=OTHER,
    version=OTHER,
    cluster=OTHER,
    principal=OTHER,
)


def is_crowd(kind: Kind) -> bool:
    return kind.source is CROWD


def crowded(kind: Kind) -> Kind:
    """What is left to tell of a kind of call for which there is no room any more."""
    return replace(
        kind,
        cluster=OTHER,
        target=OTHER,
        method=OTHER if kind.is_grpc else "",
        flags=OTHER,
        host=OTHER,
        source=CROWD,
        destination=CROWD,
        tags=(),
    )
