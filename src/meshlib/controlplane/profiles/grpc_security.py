"""TLS as stock gRPC takes it (gRFCs A29 and A82): by the providers of its bootstrap.

What cannot be had by those is no reason for plain text: there is nobody to call then.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...model import (
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    Exact,
    Listener,
    SafeRegex,
    Static,
    StringMatcher,
)
from ...model.security import (
    CertificateProviderInstance,
    CertificateSource,
    CertificateValidation,
    DownstreamTls,
    RootSource,
    SanMatcher,
    SdsSecret,
    SystemRoots,
    UpstreamTls,
)
from .downgrade import Downgrade, Report

PROVIDER = "default"
OWN, ROOTS = SdsSecret("default"), SdsSecret("ROOTCA")
Assignments = Mapping[str, ClusterLoadAssignment]


def grpc_sockets(cluster: Cluster, assignments: Assignments, report: Report) -> Cluster:
    """One way for all endpoints: by TLS where all of them take it."""
    where = f"clusters/{cluster.name}"
    tls = cluster.tls
    if cluster.transport_socket_matches:
        tls = _common(cluster, assignments, where, report)
    cluster = replace(cluster, tls=None, transport_socket_matches=())
    if tls is None:
        return cluster
    made = _upstream(tls)
    if made is None:
        report(Downgrade(where, "cannot be called: gRPC clients have no such certificates"))
        return replace(cluster, discovery=Static(ClusterLoadAssignment(cluster_name=cluster.name)))
    return replace(cluster, tls=made)


def grpc_doorway(listener: Listener, report: Report) -> Listener:
    if listener.tls is None:
        return listener
    if listener.plaintext:
        said = "lets in plain text alone: gRPC servers cannot tell it from TLS at one port"
        report(Downgrade(f"listeners/{listener.name}", said))
        return replace(listener, tls=None, plaintext=False)
    return replace(listener, tls=_downstream(listener.tls))


def _common(
    cluster: Cluster, assignments: Assignments, where: str, report: Report
) -> UpstreamTls | None:
    known = assignments.get(cluster.load_assignment_name or "")
    ways = {_way(cluster, one) for one in _endpoints(known)}
    if len(ways) == 1:
        return ways.pop()
    if ways:
        report(Downgrade(where, "plain text: not all endpoints take mutual TLS"))
    return cluster.tls


def _endpoints(assignment: ClusterLoadAssignment | None) -> Iterator[Endpoint]:
    for group in assignment.endpoints if assignment is not None else ():
        yield from group.lb_endpoints


def _way(cluster: Cluster, endpoint: Endpoint) -> UpstreamTls | None:
    for one in cluster.transport_socket_matches:
        wanted = one.match.fields
        if all(
            endpoint.metadata.get("envoy.transport_socket_match", key) == value
            for key, value in wanted
        ):
            return one.tls
    return cluster.tls


def _upstream(tls: UpstreamTls) -> UpstreamTls | None:
    certificate = _certificate(tls.certificate)
    validation = _validation(tls.validation)
    if validation is None or (tls.certificate is not None and certificate is None):
        return None
    return UpstreamTls(validation=validation, certificate=certificate)


def _downstream(tls: DownstreamTls) -> DownstreamTls:
    """What a provider does not have, a server refuses the listener for."""
    return DownstreamTls(
        certificate=_certificate(tls.certificate) or CertificateProviderInstance(PROVIDER),
        validation=_validation(tls.validation),
        require_client_certificate=tls.require_client_certificate,
    )


def _certificate(source: CertificateSource | None) -> CertificateProviderInstance | None:
    if isinstance(source, CertificateProviderInstance):
        return source
    return CertificateProviderInstance(PROVIDER, OWN.name) if source == OWN else None


def _validation(said: CertificateValidation | None) -> CertificateValidation | None:
    """The kinds of names are not told apart: gRPC knows the older field alone.

    A name is told as a pattern: what is exact to gRPC core may be written in other letter case.
    """
    roots = None if said is None else _roots(said.roots)
    if said is None or roots is None or said.crl:
        return None
    names = tuple(SanMatcher(match=_as_written(one.match)) for one in said.match_subject_alt_names)
    return CertificateValidation(roots=roots, match_subject_alt_names=names)


def _as_written(name: StringMatcher) -> StringMatcher:
    if isinstance(name, Exact) and not name.ignore_case:
        return SafeRegex(re.escape(name.value))
    return name


def _roots(source: RootSource) -> RootSource | None:
    if isinstance(source, CertificateProviderInstance | SystemRoots):
        return source
    return CertificateProviderInstance(PROVIDER, ROOTS.name) if source == ROOTS else None
