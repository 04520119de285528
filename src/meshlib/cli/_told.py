"""What is told of calls that meet a listener: by spans, by lines, and by metrics."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..model import Listener
    from ..model.telemetry import AccessLog, MetricOverride, Stats, Tracing


def facts_of(listener: "Listener") -> dict[str, Any]:
    """For programs."""
    http, stats = listener.http, _stats(listener)
    return {
        "tracing": None if http.tracing is None else asdict(http.tracing),
        "access_log": [asdict(one) for one in http.access_log],
        "metrics": None if stats is None else asdict(stats),
    }


def lines_of(listener: "Listener") -> Iterator[tuple[str, str]]:
    """For people; nothing where the configuration says nothing."""
    tracing, stats = listener.http.tracing, _stats(listener)
    if tracing is not None:
        yield "traced", _traced(tracing)
    for log in listener.http.access_log:
        yield "logged", _logged(log)
    if listener.wants_no_logs:
        yield "logged", "never"
    for metric in () if stats is None else stats.metrics:
        yield "counted", _counted(metric)


def _stats(listener: "Listener") -> "Stats | None":
    from ..model.telemetry import Stats

    configs = (one.config for one in listener.http.http_filters)
    return next((config for config in configs if isinstance(config, Stats)), None)


def _traced(said: "Tracing") -> str:
    share = min(said.random_sampling, said.overall_sampling)
    if not share and not said.overall_sampling:
        return "never"
    tags = ", ".join(one.tag for one in said.custom_tags)
    return f"{share:g} % of new traces" + (f", with {tags}" if tags else "")


def _logged(said: "AccessLog") -> str:
    from ..model.telemetry import ExpressionFilter, FileAccessLog

    sink = said.config
    where = sink.path if isinstance(sink, FileAccessLog) else sink.cluster
    match said.filter:
        case None:
            return where
        case ExpressionFilter(expression):
            return f"{where}  if {expression}"
        case _:
            return f"{where}  if a filter lets it"


def _counted(said: "MetricOverride") -> str:
    name = f"istio_{said.name}" if said.name else "every metric"
    if said.drop:
        return f"{name} is not"
    added = [f"{label}={text}" for label, text in said.dimensions]
    taken = [f"no {label}" for label in said.tags_to_remove]
    return f"{name} with {', '.join([*added, *taken])}"
