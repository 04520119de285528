"""What endpoints say of their load in the trailers of calls (ORCA, gRFC A51)."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from ..dataplane import CallRecord, UpstreamEndpoint
from ..model.load import LoadReport
from ._binary import LOAD_REPORT
from ._drive import Runtime

Heard = tuple[UpstreamEndpoint, LoadReport]


def reported(
    runtime: Runtime, endpoint: UpstreamEndpoint, trailing: Iterable[tuple[str, Any]]
) -> Heard | None:
    """The report among the trailers of a call that this endpoint served."""
    binary = runtime.binary_metadata
    if binary is None:
        return None
    for key, value in trailing:
        if key == LOAD_REPORT and (report := binary.read_load(value)) is not None:
            return endpoint, report
    return None


def tell(runtime: Runtime, record: CallRecord, heard: Heard) -> None:
    """Let the cluster of a call hear of it."""
    cluster = record.cluster
    if cluster is not None:
        runtime.soon(partial(cluster.observe_load, *heard))
