"""What is binary in metadata. Messages are read and written at the border, not in here."""

from typing import Protocol

from ..model.load import LoadReport

STATUS_DETAILS = "grpc-status-details-bin"
LOAD_REPORT = "endpoint-load-metrics-bin"
LOAD_REPORT_TEXT = "endpoint-load-metrics"
"""The same for clients whose gRPC core keeps the former to itself, as Python's does (Envoy reads
it, too): "BIN " and the message in base64."""


class BinaryMetadata(Protocol):
    def retry_delay(self, value: bytes) -> float | None:
        """Seconds of the ``google.rpc.RetryInfo`` in :data:`STATUS_DETAILS`, if there is one."""

    def read_load(self, value: bytes) -> LoadReport | None:
        """An ``xds.data.orca.v3.OrcaLoadReport``; ``None`` for what is none."""

    def write_load(self, report: LoadReport) -> bytes: ...

    def read_interval(self, value: bytes) -> float:
        """Seconds that an ``xds.service.orca.v3.OrcaLoadReportRequest`` asks for."""
