"""The messages that travel in gRPC's metadata: load reports (ORCA) and when to try again."""

from typing import Any

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from ..model.load import LoadReport
from .protos import message_class

REPORT = "xds.data.orca.v3.OrcaLoadReport"
REQUEST = "xds.service.orca.v3.OrcaLoadReportRequest"
UTILIZATION = "utilization."
"""How gRFC A58 begins the names of the resources of a report that have no field of their own."""


class BinaryMetadata:
    """Reads what others wrote, and takes what cannot be read as not said."""

    def retry_delay(self, value: bytes) -> float | None:
        try:
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
        except DecodeError:
            pass
        return None

    def read_load(self, value: bytes) -> LoadReport | None:
        made: Any = message_class(REPORT)()
        try:
            made.ParseFromString(value)
        except DecodeError:
            return None
        return LoadReport(
            application_utilization=made.application_utilization,
            cpu_utilization=made.cpu_utilization,
            mem_utilization=made.mem_utilization,
            rps=made.rps_fractional,
            eps=made.eps,
            named={
                **made.named_metrics,
                **{UTILIZATION + name: number for name, number in made.utilization.items()},
            },
        )

    def write_load(self, report: LoadReport) -> bytes:
        made: Any = message_class(REPORT)(
            cpu_utilization=report.cpu_utilization,
            mem_utilization=report.mem_utilization,
            application_utilization=report.application_utilization,
            rps_fractional=report.rps,
            eps=report.eps,
        )
        for name, number in report.named.items():
            if name.startswith(UTILIZATION):
                made.utilization[name.removeprefix(UTILIZATION)] = number
            else:
                made.named_metrics[name] = number
        return bytes(made.SerializeToString())

    def read_interval(self, value: bytes) -> float:
        made: Any = message_class(REQUEST)()
        try:
            made.ParseFromString(value)
        except DecodeError:
            return 0.0
        interval = made.report_interval
        return float(interval.seconds + interval.nanos / 1e9)
