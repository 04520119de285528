"""How Istio's workloads tell each other who they are, in headers of calls and answers.

For those who count calls, and for nobody else: anybody may say anything.
"""

from ..model import Endpoint
from .events import CallRecord
from .message import Headers, Request

PEER_METADATA = "x-envoy-peer-metadata"
PEER_METADATA_ID = "x-envoy-peer-metadata-id"
PEER = "x-meshlib-peer"
"""The same for gRPC, whose core keeps Istio's header from those who are called."""
PEER_WANTED = "x-meshlib-peer-wanted"
"""With a call of gRPC: who answers is to say so in :data:`PEER` among the trailers."""
QUESTION: Headers = ((PEER_WANTED, "1"),)
INTRODUCTION = frozenset({PEER_METADATA, PEER_METADATA_ID, PEER, PEER_WANTED})
"""Of one hop: whoever hands on what he received would say that his caller calls."""
LONGEST = 4096
"""Octets of an introduction that is listened to."""


def heard(request: Request) -> None:
    """Note who calls, before anybody takes the header away; and whether it wants to hear the like.

    Who comes by a connection that nothing is let in by is told nothing.
    """
    meter = request.meter
    if meter is None:
        return
    name, wanted = (PEER, PEER_WANTED) if request.is_grpc else (PEER_METADATA, PEER_METADATA_ID)
    said, asks = "", False
    for key, value in request.headers:
        if key == name:
            said = value
        elif key == wanted:
            asks = True
    meter.peer = said if len(said) <= LONGEST else ""
    meter.asks = asks and not request.connection.refusal


def answered(record: CallRecord, own: Headers) -> None:
    """Who asks over HTTP is told who answers. gRPC would keep that from callers: its servers tell
    those who ask :func:`in_trailers`."""
    request = record.request
    meter = request.meter
    if own and meter is not None and meter.asks and not request.is_grpc:
        record.responds(lambda headers: (*headers, *own))


def in_trailers(own: Headers) -> Headers:
    return tuple(pair for pair in own if pair[0] == PEER)


def is_named(endpoint: Endpoint) -> bool:
    """Does the configuration say what workload it is of?"""
    told = endpoint.metadata.get("istio", "workload")
    return isinstance(told, str) and told[:1] not in ("", ";")
