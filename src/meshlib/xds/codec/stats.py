"""Istio's ``stats.PluginConfig`` ⇄ :class:`Stats`: what is counted of calls, and how."""

from ...model.telemetry import STANDARD_METRICS, MetricOverride, Stats
from ..expressions import silent_in, why_not_cel
from .wire import Fields, FilterCodec, Reader, duration

REPORTING_INTERVAL = Stats().reporting_interval


def _encode(stats: Stats) -> Fields:
    interval = stats.reporting_interval
    return {
        "metrics": [_encode_override(one) for one in stats.metrics],
        "disable_host_header_fallback": stats.disable_host_header_fallback,
        "tcp_reporting_duration": None if interval == REPORTING_INTERVAL else duration(interval),
    }


def _encode_override(override: MetricOverride) -> Fields:
    return {
        "name": override.name,
        "drop": override.drop,
        "dimensions": dict(override.dimensions),
        "tags_to_remove": override.tags_to_remove,
    }


def _decode(reader: Reader) -> Stats:
    if reader.has("tcp_reporting_duration"):
        reader.drop("tcp_reporting_duration")  # calls are counted when they end
    return Stats(
        metrics=tuple(_decode_override(one) for one in reader.children("metrics")),
        disable_host_header_fallback=reader.flag("disable_host_header_fallback"),
        reporting_interval=reader.seconds("tcp_reporting_duration", REPORTING_INTERVAL),
    )


def _decode_override(reader: Reader) -> MetricOverride:
    name = reader.text("name")
    if name and name not in STANDARD_METRICS:
        reader.drop("name")
    dimensions = reader.entries("dimensions")
    for label, expression in dimensions.items():
        refusal = why_not_cel(expression)
        if refusal:
            reader.problem(refusal, f"dimensions[{label}]")
        elif silent_in(expression):
            reader.drop(f"dimensions[{label}]")  # it is "unknown" always
    return MetricOverride(
        name=name,
        drop=reader.flag("drop"),
        dimensions=tuple(sorted(dimensions.items())),
        tags_to_remove=reader.texts("tags_to_remove"),
    )


STATS = FilterCodec("stats.PluginConfig", _encode, _decode)
