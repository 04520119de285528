"""How Istio's workloads tell each other who they are, in headers of calls and answers.

For those who count calls, and for nobody else: anybody may say anything.
"""

from .events import CallRecord
from .message import Headers, Request

PEER_METADATA = "x-envoy-peer-metadata"
PEER_METADATA_ID = "x-envoy-peer-metadata-id"
PEER = "x-meshlib-peer"
"""The same for gRPC, whose core keeps Istio's header from those who are called."""
INTRODUCTION = frozenset({PEER_METADATA, PEER_METADATA_ID, PEER})
"""Of one hop: whoever hands on what he received would say that his caller calls."""
LONGEST = 4096
"""Octets of an introduction that is listened to."""


def heard(request: Request) -> None:
    """Note who calls, before anybody takes the header away."""
    meter = request.meter
    if meter is not None:
        said = request.header(PEER if request.is_grpc else PEER_METADATA) or ""
        meter.peer = said if len(said) <= LONGEST else ""
        meter.asks = not request.is_grpc and request.header(PEER_METADATA_ID) is not None


def answered(record: CallRecord, own: Headers) -> None:
    """Who asks is told who answers: over HTTP, since gRPC would keep it from callers, too."""
    meter = record.request.meter
    if own and meter is not None and meter.asks:
        record.responds(lambda headers: (*headers, *own))
