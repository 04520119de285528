"""What authorization services are asked, in gRPC and in HTTP, and their answers as verdicts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..dataplane import AskAuthorization, AuthorizationVerdict, Peer
from ..middleware._services import Verdict
from ..model import HeaderValueOption
from ..model.authn import GrpcAuthorization, HttpAuthorization

if TYPE_CHECKING:
    from ..middleware._http_service import HttpAnswer, HttpQuestion

OK = 200
REQUEST_ID = "x-request-id"
NOT_SENT = frozenset({"content-length", "transfer-encoding", "connection", "host"})
"""Of the question itself they say something else."""


@dataclass(frozen=True, slots=True)
class GrpcQuestion:
    """``authority``: the name that the service is asked by, "" its own."""

    method: str
    message: bytes
    decode: Callable[[bytes], Verdict]
    authority: str = ""


def grpc_question(effect: AskAuthorization, principal: str) -> GrpcQuestion:
    """``principal``: who is called, as far as that is known."""
    from ..xds.ext_authz import METHOD, Asked, decode_response, encode_request

    request, peer, service = effect.request, effect.request.connection.peer, effect.service
    assert isinstance(service, GrpcAuthorization)
    asked = Asked(
        request_id=request.header(REQUEST_ID) or "",
        method=request.method,
        path=request.path,
        host=request.authority or request.target,
        scheme=request.scheme,
        protocol="HTTP/2" if request.is_grpc else "HTTP/1.1",
        headers=effect.headers,
        body=None if effect.body is None else effect.body.octets,
        pack_as_bytes=effect.pack_as_bytes,
        source=request.source,
        source_principal=_principal(peer),
        certificate=peer.certificate if effect.include_peer_certificate else b"",
        destination=request.connection.local_address,
        destination_principal=principal if peer.secure else "",
        extensions=effect.extensions,
    )
    decode = partial(decode_response, make=AuthorizationVerdict)
    return GrpcQuestion(METHOD, encode_request(asked), decode, service.authority)


def _principal(peer: Peer) -> str:
    """As Envoy names a peer: by its URI, else its host, else the subject of its certificate."""
    if not peer.secure:
        return ""
    return next(iter((*peer.uri_sans, *peer.dns_sans, peer.subject)), "")


def http_question(effect: AskAuthorization) -> "HttpQuestion":
    from ..middleware._http_service import HttpQuestion

    request, service = effect.request, effect.service
    assert isinstance(service, HttpAuthorization)
    shown = tuple(
        (name, value)
        for name, value in effect.headers
        if name not in NOT_SENT and not name.startswith(":")
    )
    added = {name.lower() for name, _ in service.headers_to_add}
    return HttpQuestion(
        method=request.method,
        path=service.path_prefix + request.path,
        host=request.authority or request.target or urlsplit(service.uri).netloc,
        headers=(*(pair for pair in shown if pair[0] not in added), *service.headers_to_add),
        body=b"" if effect.body is None else effect.body.octets,
    )


def http_verdict(answer: "HttpAnswer") -> AuthorizationVerdict:
    """All its headers, for the filter knows which of them count."""
    return AuthorizationVerdict(
        answer.status == OK,
        answer.status,
        response_headers=tuple(
            HeaderValueOption(name=name, value=value) for name, value in answer.headers
        ),
        body=answer.body,
    )
