"""``metrics`` of Telemetries → what is counted otherwise than as a standard metric."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...model.telemetry import MetricOverride, Stats
from ..manifests.telemetry import Metrics, MetricSelector, MetricsOverrides, TagOverride
from ..world import MeshSettings
from .telemetry_providers import provider_of

NAMES = {
    "REQUEST_COUNT": "requests_total",
    "REQUEST_DURATION": "request_duration_milliseconds",
    "REQUEST_SIZE": "request_bytes",
    "RESPONSE_SIZE": "response_bytes",
    "GRPC_REQUEST_MESSAGES": "request_messages_total",
    "GRPC_RESPONSE_MESSAGES": "response_messages_total",
}
"""Those of connections are not counted here."""
DEFAULT = ("prometheus",)


@dataclass(slots=True)
class Wanted:
    disabled: bool | None = None
    tags: dict[str, TagOverride] = field(default_factory=dict)


def stats_of(mesh: MeshSettings, said: Sequence[Metrics], side: str) -> Stats | None:
    """``None`` where the standard metrics are told as they are."""
    before: tuple[str, ...] = default_counters(mesh)
    in_scope = next((one.names for one in reversed(said) if one.names), before)
    interval = Stats().reporting_interval
    is_off = False
    wanted: dict[str, Wanted] = {}
    for rule in said:
        before = rule.names or before
        if not any(name in in_scope and is_counter(mesh, name) for name in before):
            continue
        interval = interval if rule.reporting_interval is None else rule.reporting_interval
        for override in rule.overrides:
            if override.selected.metric == "ALL_METRICS" and override.disabled:
                is_off = True
                continue
            is_off = False  # whoever speaks after that of some of them wants them, as in Istio
            _apply(override, side, wanted)
    if is_off:
        return Stats(metrics=(MetricOverride(drop=True),), reporting_interval=interval)
    made = Stats(metrics=_collapsed(wanted), reporting_interval=interval)
    return None if made == Stats() else made


def default_counters(mesh: MeshSettings) -> tuple[str, ...]:
    said = mesh.default_providers
    return DEFAULT if said is None else said.metrics or DEFAULT


def is_counter(mesh: MeshSettings, name: str) -> bool:
    provider = provider_of(mesh, name)
    return provider is not None and provider.prometheus is not None


def _apply(override: MetricsOverrides, side: str, wanted: dict[str, Wanted]) -> None:
    selected = override.selected
    if selected.mode not in ("CLIENT_AND_SERVER", side):
        return
    for name in names_of(selected):
        one = wanted.setdefault(name, Wanted())
        if override.disabled is not None:
            one.disabled = override.disabled
        one.tags |= override.tag_overrides


def names_of(selected: MetricSelector) -> tuple[str, ...]:
    if selected.custom_metric is not None:
        return (selected.custom_metric,)
    if selected.metric is None or selected.metric == "ALL_METRICS":
        return tuple(NAMES.values())
    return (NAMES[selected.metric],) if selected.metric in NAMES else ()


def _collapsed(wanted: dict[str, Wanted]) -> tuple[MetricOverride, ...]:
    """What holds alike for all of them is said once."""
    made = [_override(name, wanted[name]) for name in sorted(wanted)]
    made = [one for one in made if one != MetricOverride(name=one.name)]
    if len(made) == len(NAMES) and {one.name for one in made} == set(NAMES.values()):
        first = made[0]
        alike = [_override("", wanted[one.name]) for one in made]
        if all(one == alike[0] for one in alike):
            return (alike[0],) if first.drop or first.dimensions or first.tags_to_remove else ()
    return tuple(made)


def _override(name: str, wanted: Wanted) -> MetricOverride:
    tags = sorted(wanted.tags.items())
    return MetricOverride(
        name=name,
        drop=bool(wanted.disabled),
        dimensions=tuple((tag, one.value) for tag, one in tags if one.operation == "UPSERT"),
        tags_to_remove=tuple(tag for tag, one in tags if one.operation == "REMOVE"),
    )
