"""Telemetries, and whom the MeshConfig has told: what of them does not do what it seems to."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...model.log_format import secrets_in, unfilled_in
from ...model.telemetry import STANDARD_METRICS
from ...xds.expressions import TOLD, silent_in, why_not_cel
from ..compile.services import registry
from ..compile.telemetry_metrics import NAMES
from ..compile.telemetry_providers import BUILT_IN, provider_of
from ..manifests.decode import did_you_mean
from ..manifests.extension_provider import LOGGERS, TRACERS, ExtensionProvider
from ..manifests.finding import (
    EXPRESSION,
    NOT_ACTED_ON,
    OVERLAPPING_TELEMETRIES,
    SEVERAL_TELEMETRIES,
    SHOWN_TO_READERS,
    UNKNOWN_HOST,
    UNKNOWN_TELEMETRY_PROVIDER,
    Finding,
    Severity,
)
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..manifests.mesh_config import MeshConfig, ProxyTracing
from ..manifests.service import Service
from ..manifests.telemetry import CustomTag, Metrics, MetricsOverrides, Telemetry, Tracing
from ..manifests.telemetry_provider import Collector, OpenTelemetry
from ..world import World

FIELDS = tuple(f"{root}.{field}" for root, fields in TOLD.items() for field in fields.split())
ALIKE = 0.75

Kind = Callable[[ExtensionProvider], bool]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Remark:
    path: Path
    text: str
    code: str = NOT_ACTED_ON
    severity: Severity = "info"
    hint: str = ""

    def of(self, manifest: Manifest[Any]) -> Finding:
        place = manifest.place_of(*self.path)
        return Finding(self.code, self.severity, place, str(manifest), self.text, self.hint)


def check(world: World) -> Iterator[Finding]:
    if world.mesh_manifest is not None:
        for remark in _of_mesh(world.mesh_manifest.spec, world):
            yield remark.of(world.mesh_manifest)
    said: list[Manifest[Telemetry]] = []
    for manifest in world.telemetries:
        yield from (remark.of(manifest) for remark in _of_telemetry(manifest.spec, world))
        if not manifest.spec.is_for_waypoints:
            yield from (remark.of(manifest) for remark in _of_level(manifest, said, world))
            said.append(manifest)


def _of_level(
    manifest: Manifest[Telemetry], before: list[Manifest[Telemetry]], world: World
) -> Iterator[Remark]:
    """Of several that speak of a workload at one level, the first counts."""
    labels, namespace = manifest.spec.labels, manifest.namespace
    alike = [one for one in before if one.namespace == namespace]
    first = next((one for one in alike if one.spec.labels == labels), None)
    if first is not None:
        text = f"speaks of the same workloads as {first} ({first.place}): the first counts"
        yield Remark((), text, SEVERAL_TELEMETRIES, "warning")
    elif labels:
        workloads = [labels, *_workloads(namespace, world)]
        for other in (one for one in alike if one.spec.labels):
            both = [one for one in workloads if _carries(one, labels, other.spec.labels)]
            if both or _carries(other.spec.labels, labels):
                who = _written((both or [other.spec.labels])[0])
                text = f"speaks of workloads of {other} ({other.place}), too: that counts for {who}"
                yield Remark(("selector",), text, OVERLAPPING_TELEMETRIES, "warning")
    root = world.mesh_config.root_namespace
    if labels and namespace == root and not _lives_in(root, world):
        text = f"chooses workloads of the namespace {root} alone, not of the mesh"
        hint = "put it into the namespace of the workloads"
        yield Remark(("selector",), text, severity="warning", hint=hint)


def _workloads(namespace: str, world: World) -> Iterator[Labels]:
    """What is known of them by their labels."""
    for service in registry(world):
        if service.namespace == namespace:
            yield from (workload.entry.labels for workload in service.workloads)
            if isinstance(service.manifest.spec, Service):
                yield service.manifest.spec.selector


def _lives_in(namespace: str, world: World) -> bool:
    return any(service.namespace == namespace for service in registry(world))


def _carries(workload: Labels, *wanted: Labels) -> bool:
    return all(labels.items() <= workload.items() for labels in wanted)


def _written(labels: Labels) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def _of_telemetry(spec: Telemetry, world: World) -> Iterator[Remark]:
    if spec.is_for_waypoints:
        field = "targetRef" if spec.target_ref is not None else "targetRefs"
        text = "is for gateways and waypoints alone: nobody here obeys it"
        yield Remark((field,), text, severity="warning")
    for index, trace in enumerate(spec.tracing):
        names = trace.names
        yield from _providers(("tracing", index), names, world, _traces, "spans", TRACED)
        yield from _of_tracing(("tracing", index), trace)
    for index, metrics in enumerate(spec.metrics):
        names = metrics.names
        yield from _providers(("metrics", index), names, world, _counts, "metrics", COUNTED)
        yield from _of_metrics(("metrics", index), metrics)
    for index, log in enumerate(spec.access_logging):
        path: Path = ("accessLogging", index)
        yield from _providers(path, log.names, world, _logs, "access logs", WRITTEN)
        if log.filter is not None and log.filter.expression:
            where = (*path, "filter", "expression")
            yield from _expression(where, log.filter.expression, "there are no lines")


TRACED = "spans go where the program itself sends them"
COUNTED = "no metric is changed for it"
WRITTEN = "no line is written for it"


def _traces(provider: ExtensionProvider) -> bool:
    return provider.opentelemetry is not None


def _counts(provider: ExtensionProvider) -> bool:
    return provider.prometheus is not None


def _logs(provider: ExtensionProvider) -> bool:
    return provider.envoy_file_access_log is not None or provider.envoy_otel_als is not None


def _providers(
    path: Path, names: tuple[str, ...], world: World, fits: Kind, what: str, instead: str
) -> Iterator[Remark]:
    for index, name in enumerate(names):
        where = (*path, "providers", index, "name")
        provider = provider_of(world.mesh_config, name)
        if provider is None:
            text = f"no extensionProvider {name!r} is in the MeshConfig: {instead}"
            known = [one.name for one in world.mesh_config.extension_providers]
            hint = did_you_mean(name, [*known, *(one.name for one in BUILT_IN)])
            yield Remark(where, text, UNKNOWN_TELEMETRY_PROVIDER, "warning", hint)
        elif not fits(provider):
            text = f"{name!r} is a provider of no {what} that are made here: {instead}"
            yield Remark(where, text, severity="warning")


def _of_tracing(path: Path, said: Tracing) -> Iterator[Remark]:
    yield from _of_tags((*path, "customTags"), said.custom_tags or {})
    if len(said.providers) > 1:
        text = "the first provider alone counts"
        yield Remark((*path, "providers", 1), text)
    if said.use_request_id_for_trace_sampling is False:
        text = "has no effect: the id of the trace decides in any case"
        yield Remark((*path, "useRequestIdForTraceSampling"), text)
    if said.disable_context_propagation:
        text = "has no effect: what belongs to a trace is handed on in any case"
        yield Remark((*path, "disableContextPropagation"), text)


def _of_metrics(path: Path, said: Metrics) -> Iterator[Remark]:
    if said.reporting_interval is not None:
        text = "has no effect: calls are counted when they end, and told when they are asked for"
        yield Remark((*path, "reportingInterval"), text)
    for index, override in enumerate(said.overrides):
        yield from _of_override((*path, "overrides", index), override)


def _of_override(path: Path, said: MetricsOverrides) -> Iterator[Remark]:
    metric = said.selected.metric
    if metric is not None and metric != "ALL_METRICS" and metric not in NAMES:
        text = f"{metric} is not counted here: connections are the libraries' own"
        yield Remark((*path, "match", "metric"), text)
    custom = said.selected.custom_metric
    if custom is not None and custom not in STANDARD_METRICS:
        text = f"no metric {custom!r} is counted here: nothing is changed for it"
        hint = did_you_mean(custom.removeprefix("istio_"), STANDARD_METRICS)
        yield Remark((*path, "match", "customMetric"), text, severity="warning", hint=hint)
    for name, tag in said.tag_overrides.items():
        if tag.operation == "UPSERT":
            where = (*path, "tagOverrides", name, "value")
            yield from _expression(where, tag.value, 'it is always "unknown"')


def _expression(path: Path, text: str, so: str) -> Iterator[Remark]:
    refusal = why_not_cel(text)
    if refusal:
        yield Remark(path, f"the expression {refusal}", EXPRESSION, "error")
        return
    for name in silent_in(text):
        hint = did_you_mean(name, FIELDS, ALIKE)
        said = f"nobody here can tell {name!r}: {so}"
        yield Remark(path, said, severity="warning", hint=hint)


def _of_mesh(config: MeshConfig, world: World) -> Iterator[Remark]:
    known = {(service.host, port.number) for service in registry(world) for port in service.ports}
    for index, provider in enumerate(config.extension_providers):
        yield from _of_provider(("extensionProviders", index), provider, known)
    defaults = config.default_providers
    for field, names, fits, what, instead in (
        ("tracing", defaults.tracing, _traces, "spans", TRACED),
        ("metrics", defaults.metrics, _counts, "metrics", COUNTED),
        ("accessLogging", defaults.access_logging, _logs, "access logs", WRITTEN),
    ):
        for remark in _providers((), names, world, fits, what, instead):
            where = ("defaultProviders", field, *remark.path[1:2])
            yield Remark(where, remark.text, remark.code, remark.severity)
    tracing = None if config.default_config is None else config.default_config.tracing
    if tracing is not None:
        yield from _of_proxies(tracing)
    for text in config.access_log_texts:
        yield from _of_format(("accessLogFormat",), text)


def _of_proxies(said: ProxyTracing) -> Iterator[Remark]:
    path = ("defaultConfig", "tracing")
    for kind in said.collectors:
        text = f"{kind} has no effect: spans go where the program itself sends them"
        yield Remark((*path, kind), text)
    yield from _of_tags((*path, "customTags"), said.custom_tags)


def _of_provider(
    path: Path, provider: ExtensionProvider, known: set[tuple[str, int]]
) -> Iterator[Remark]:
    kind = provider.kind
    camel = _camel(kind)
    if kind in TRACERS or kind in LOGGERS:
        yield Remark((*path, camel), f"providers of kind {camel} are not told anything here")
    collector = provider.opentelemetry or provider.envoy_otel_als
    if collector is not None:
        yield _of_collector((*path, camel, "service"), collector, known)
    spans = provider.opentelemetry
    for field in ("resource_detectors", "dynatrace_sampler", "service_attribute_enrichment"):
        if spans is not None and getattr(spans, field):
            yield Remark((*path, camel, _camel(field)), f"{_camel(field)} has no effect")
    lines = provider.envoy_file_access_log or provider.envoy_otel_als
    if lines is not None and lines.log_format is not None:
        for inner, text in lines.log_format.texts:
            yield from _of_format((*path, camel, "logFormat", *inner), text)


def _of_collector(path: Path, told: Collector, known: set[tuple[str, int]]) -> Remark:
    is_of_spans = isinstance(told, OpenTelemetry)
    if (told.host, told.port) not in known:
        lost = "Envoys make no spans" if is_of_spans else "no records are made"
        text = f"no service {told.host}:{told.port} is known: {lost}"
        hint = "describe it by a Service or a ServiceEntry"
        return Remark(path, text, UNKNOWN_HOST, "warning", hint)
    what = "spans" if is_of_spans else "records"
    text = f"is where Envoys send {what}: those of members go where the program sends them"
    return Remark(path, text)


def _of_tags(path: Path, tags: Mapping[str, CustomTag]) -> Iterator[Remark]:
    for name, tag in tags.items():
        if tag.formatter is not None:
            yield from _unfilled((*path, name, "formatter", "value"), tag.formatter.value)


def _of_format(path: Path, said: str) -> Iterator[Remark]:
    yield from _unfilled(path, said)
    for name in secrets_in(said):
        text = f"shows the header {name}: whoever reads the log may be taken for its owner"
        yield Remark(path, text, SHOWN_TO_READERS, "warning")


def _unfilled(path: Path, said: str) -> Iterator[Remark]:
    for name in unfilled_in(said):
        yield Remark(path, f"%{name}% is never filled in: members do not know it")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
