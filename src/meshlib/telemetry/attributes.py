"""What expressions may ask of a call, named as Envoy's attributes are.

What is not known of a call is left out: an expression that asks for it has no value.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ..dataplane import CallEnded, CallRecord, Cause, Headers, Outcome, Peer, Response
from ..model import Metadata, Struct, Value
from ..model.telemetry import RESPONSE_FLAGS
from ..model.workload import CANONICAL_NAME, CANONICAL_REVISION, NOT_KNOWN, UNKNOWN, PeerFacts
from ..xds.expressions import SILENT
from .details import details_of, flags_of
from .texts import encodable

CODES = {
    Cause.TIMEOUT: 504,
    Cause.DEADLINE: 504,
    Cause.CANCELLED: 0,
    Cause.LOCAL: 0,
    Cause.NO_ROUTE: 404,
    Cause.UNAUTHORIZED: 403,
    Cause.UNCLEAN: 400,
    Cause.RATE_LIMITED: 429,
    Cause.NO_FILTER_CONFIG: 500,
    Cause.BLOCKED: 502,
}
"""What Envoy would have answered in the place of a failure; 503 for the others."""


def response_code(outcome: Outcome) -> int:
    if isinstance(outcome, Response):
        return outcome.status
    return CODES.get(outcome.cause, 503)


def answer_code(event: CallEnded) -> int:
    """gRPC's failures are answers with 200, which say in trailers what they are."""
    outcome = event.outcome
    if isinstance(outcome, Response):
        return outcome.status
    found = response_code(outcome)
    return 200 if found and event.record.request.is_grpc else found


def request_id(record: CallRecord) -> str | None:
    """Which the call came with or, if there was none, was given."""
    found = (record.sent or record.request).header("x-request-id")
    meter = record.request.meter
    return found or (meter.request_id if meter is not None else "") or None


def _known(**facts: Any) -> dict[str, Any]:
    return {
        name: encodable(fact) if isinstance(fact, str) else fact
        for name, fact in facts.items()
        if fact is not None and fact != ""
    }


def _joined(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]},{value}" if name in found else value
    if not all(map(str.isascii, found.values())):
        return {name: encodable(value) for name, value in found.items()}
    return found


def _request(event: CallEnded) -> dict[str, Any]:
    record, meter = event.record, event.record.request.meter
    request = record.sent or record.request
    path, _, query = request.path.partition("?")
    headers = _joined(request.headers)
    size = None if meter is None else meter.request_bytes
    return _known(
        path=request.path,
        url_path=path,
        query=query,
        host=request.authority or request.target,
        scheme=request.scheme,
        method=request.method,
        headers=headers,
        referer=headers.get("referer"),
        useragent=headers.get("user-agent"),
        id=request_id(record),
        protocol="HTTP/2" if request.is_grpc else "HTTP/1.1",
        time=datetime.now(tz=UTC) - timedelta(seconds=event.duration),
        duration=timedelta(seconds=event.duration),
        size=size,
        total_size=size,
    )


def _response(event: CallEnded) -> dict[str, Any]:
    outcome, record = event.outcome, event.record
    meter = record.request.meter
    size = None if meter is None else meter.response_bytes
    latency = None
    if meter is not None and meter.response_began is not None and record.attempt_began:
        latency = timedelta(seconds=max(0.0, meter.response_began - record.attempt_began))
    return _known(
        code=answer_code(event),
        code_details=details_of(event),
        flags=_bits(flags_of(record, outcome)),
        grpc_status=outcome.grpc_status,
        headers=_joined(outcome.headers) if isinstance(outcome, Response) else {},
        trailers=_joined(outcome.trailers),
        size=size,
        total_size=size,
        backend_latency=latency,
    )


def _bits(flags: Iterable[str]) -> int:
    return sum(1 << RESPONSE_FLAGS.index(flag) for flag in flags)


def _source(event: CallEnded) -> dict[str, Any]:
    source = event.record.request.source
    peer = event.record.request.connection.peer
    told = _workload(_party(event, 0))
    return _known(**_place(source), principal=peer.principal) | told


def _destination(event: CallEnded) -> dict[str, Any]:
    """Of a call that comes in, where it came in; else where it went."""
    record, meter = event.record, event.record.request.meter
    told = _workload(_party(event, 1))
    if record.inbound:
        return _place(record.request.connection.local_address) | told
    found = _place(_address(event)) | told
    return found | _known(principal=None if meter is None else meter.server_principal)


def _address(event: CallEnded) -> str:
    endpoint = event.record.endpoint
    return "" if endpoint is None else str(endpoint.address)


def _place(address: str) -> dict[str, Any]:
    _, _, port = address.rpartition(":")
    return _known(address=address, port=int(port) if port.isdecimal() else None)


def _connection(event: CallEnded) -> dict[str, Any]:
    record = event.record
    connection, meter = record.request.connection, record.request.meter
    secured = meter is not None and meter.secured
    secure = connection.peer.secure if record.inbound else secured
    return _known(
        mtls=secure,
        requested_server_name=connection.server_name,
        **_certificate(connection.peer),
    )


def _certificate(peer: Peer) -> dict[str, Any]:
    return _known(
        subject_peer_certificate=peer.subject,
        uri_san_peer_certificate=next(iter(peer.uri_sans), ""),
        dns_san_peer_certificate=next(iter(peer.dns_sans), ""),
    )


def _upstream(event: CallEnded) -> dict[str, Any]:
    record = event.record
    return _place(_address(event)) | _known(request_attempt_count=record.attempts or None)


def _metadata(event: CallEnded) -> dict[str, Any]:
    known = (event.record.sent or event.record.request).dynamic_metadata
    return _filters(known)


def _filters(metadata: Metadata | None) -> dict[str, Any]:
    held = () if metadata is None else metadata.filter_metadata
    return {"filter_metadata": {name: _plain(struct) for name, struct in held}}


def _plain(value: Value) -> Any:
    if isinstance(value, Struct):
        return {name: _plain(held) for name, held in value.fields}
    return [_plain(held) for held in value] if isinstance(value, tuple) else value


def _xds(event: CallEnded) -> dict[str, Any]:
    return _known(
        cluster_name=_cluster_name(event),
        route_name=_route_name(event),
        route_metadata=_route_metadata(event),
        upstream_host_metadata=_host_metadata(event),
        listener_direction=_direction(event),
        node=_node(event),
    )


def _cluster_name(event: CallEnded) -> str:
    cluster = event.record.cluster
    return "" if cluster is None else cluster.name


def _route_name(event: CallEnded) -> str:
    route = event.record.route
    return "" if route is None else route.config.name


def _route_metadata(event: CallEnded) -> dict[str, Any]:
    route = event.record.route
    return _filters(None if route is None else route.config.metadata)


def _host_metadata(event: CallEnded) -> dict[str, Any]:
    endpoint = event.record.endpoint
    return _filters(None if endpoint is None else endpoint.config.metadata)


def _direction(event: CallEnded) -> int:
    """``TrafficDirection``: 1 inbound, 2 outbound."""
    return 1 if event.record.inbound else 2


def _party(event: CallEnded, place: int) -> PeerFacts:
    """0 is who made the call, 1 who was called."""
    found: PeerFacts = UNKNOWN if event.parties is None else event.parties[place]
    return found


def _workload(facts: PeerFacts) -> dict[str, str]:
    """As the labels of Istio's metrics name it, without the direction."""
    return _told(
        workload=facts.workload,
        workload_namespace=facts.namespace,
        canonical_service=facts.canonical_service,
        canonical_revision=facts.canonical_revision,
        app=facts.app,
        version=facts.version,
        cluster=facts.cluster,
    )


def _told(**facts: str) -> dict[str, str]:
    return {name: fact for name, fact in facts.items() if fact != NOT_KNOWN}


def _labels(facts: PeerFacts) -> dict[str, str]:
    canonical = {
        CANONICAL_NAME: facts.canonical_service,
        CANONICAL_REVISION: facts.canonical_revision,
    }
    return _told(**canonical, app=facts.app, version=facts.version)


def _peer(facts: PeerFacts) -> dict[str, Any]:
    """As Istio's extension has it."""
    told = _told(
        workload=facts.workload,
        name=facts.workload,
        namespace=facts.namespace,
        service=facts.canonical_service,
        revision=facts.canonical_revision,
        app=facts.app,
        version=facts.version,
        cluster=facts.cluster,
        principal=facts.principal,
    )
    return {**told, "labels": _labels(facts)} if told else {}


def _downstream_peer(event: CallEnded) -> dict[str, Any]:
    return _peer(_party(event, 0)) if event.record.inbound else {}


def _upstream_peer(event: CallEnded) -> dict[str, Any]:
    return {} if event.record.inbound else _peer(_party(event, 1))


def _node(event: CallEnded) -> dict[str, Any]:
    """This member, as it would tell a control plane."""
    own = _party(event, 1 if event.record.inbound else 0)
    told = _told(
        WORKLOAD_NAME=own.workload,
        NAMESPACE=own.namespace,
        CLUSTER_ID=own.cluster,
    )
    return {"metadata": {**told, "LABELS": _labels(own)}}


def _nothing(event: CallEnded) -> Mapping[str, Any]:
    return {}


ATTRIBUTES: dict[str, Callable[[CallEnded], Any]] = {
    **dict.fromkeys(SILENT, _nothing),
    "request": _request,
    "response": _response,
    "source": _source,
    "destination": _destination,
    "connection": _connection,
    "upstream": _upstream,
    "metadata": _metadata,
    "xds": _xds,
    "upstream_host_metadata": _host_metadata,
    "cluster_name": _cluster_name,
    "route_name": _route_name,
    "route_metadata": _route_metadata,
    "listener_direction": _direction,
    "node": _node,
    "upstream_peer": _upstream_peer,
    "downstream_peer": _downstream_peer,
}
"""By the first name of what is asked for."""
