"""What Envoy tells of calls: access logs as they are, traces by OTLP, and Istio's metrics not."""

from dataclasses import replace

from ...model import HttpConnectionManager
from ...model.telemetry import CustomTag, FormatterTag, Stats, Tracing
from ...xds.expressions import operators_in
from .downgrade import Downgrade, Report

EXTENSIONS = frozenset({"CEL", "METADATA", "REQ_WITHOUT_QUERY"})
"""Operators that Envoy takes in access logs alone."""


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
    if http.tracing is not None:
        http = replace(http, tracing=_tagged(http.tracing, where, report))
    return http


def _tagged(tracing: Tracing, where: str, report: Report) -> Tracing:
    kept = tuple(tag for tag in tracing.custom_tags if not _needs_formatter(tag))
    for tag in tracing.custom_tags:
        if tag not in kept:
            report(Downgrade(where, f"tag {tag.tag!r} has an operator that Envoy's tags have not"))
    return tracing if len(kept) == len(tracing.custom_tags) else replace(tracing, custom_tags=kept)


def _needs_formatter(tag: CustomTag) -> bool:
    source = tag.source
    return isinstance(source, FormatterTag) and bool(operators_in(source.value) & EXTENSIONS)


def _is_on(tracing: Tracing) -> bool:
    return tracing.overall_sampling > 0
