"""What endpoints say of their load in the trailers of calls (ORCA, gRFC A51)."""

from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from functools import partial
from typing import Any

from ..dataplane import CallRecord, UpstreamEndpoint
from ..model.load import LoadReport
from ._binary import LOAD_REPORT, LOAD_REPORT_TEXT
from ._drive import Runtime
from ._grpc_introduction import listen

IN_BASE64 = "BIN "
NO_MESSAGE = b"\xff"
Heard = tuple[UpstreamEndpoint, LoadReport]


def reported(
    runtime: Runtime, endpoint: UpstreamEndpoint, trailing: Iterable[tuple[str, Any]]
) -> Heard | None:
    """The report among the trailers of a call that this endpoint served; it may have been asked
    there, too, who it is."""
    if endpoint.asks:
        listen(endpoint, trailing, ok=True)
    binary = runtime.binary_metadata
    if binary is None:
        return None
    for key, value in trailing:
        if key == LOAD_REPORT_TEXT:
            report = binary.read_load(_decoded(value))
            return None if report is None else (endpoint, report)
    return None


def _decoded(value: str) -> bytes:
    try:
        return a2b_base64(value.removeprefix(IN_BASE64))
    except ValueError:
        return NO_MESSAGE


def trailers_of(report: bytes) -> tuple[tuple[str, str | bytes], ...]:
    """A report as a server sends it, for all kinds of clients."""
    text = IN_BASE64 + b2a_base64(report, newline=False).decode()
    return (LOAD_REPORT, report), (LOAD_REPORT_TEXT, text)


def tell(runtime: Runtime, record: CallRecord, heard: Heard) -> None:
    """Let the cluster of a call hear of it."""
    cluster = record.cluster
    if cluster is not None:
        runtime.soon(partial(cluster.observe_load, *heard))
