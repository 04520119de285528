"""What Envoy tells of calls: access logs as they are, traces by OTLP, and Istio's metrics not."""

from dataclasses import replace

from ...model import HttpConnectionManager
from ...model.telemetry import Stats, Tracing
from .downgrade import Downgrade, Report


def envoy_telemetry(
    http: HttpConnectionManager, where: str, report: Report
) -> HttpConnectionManager:
    """Only Istio's own build of Envoy knows the filter of its metrics."""
    filters = tuple(one for one in http.http_filters if not isinstance(one.config, Stats))
    if filters != http.http_filters:
        report(Downgrade(where, "Istio's metrics are left out for Envoy, which has its own"))
        http = replace(http, http_filters=filters)
    if http.tracing is not None and http.tracing.tracer is None:
        if _is_on(http.tracing):
            report(Downgrade(where, "without an opentelemetry provider Envoy makes no spans"))
        http = replace(http, tracing=None)
    return http


def _is_on(tracing: Tracing) -> bool:
    return tracing.overall_sampling > 0
