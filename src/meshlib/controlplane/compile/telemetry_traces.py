"""``tracing`` of Telemetries and of the MeshConfig → which calls have spans, and of what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ...model.telemetry import (
    CustomTag,
    EnvironmentTag,
    FormatterTag,
    HeaderTag,
    LiteralTag,
    OpenTelemetryTracer,
    Tracing,
)
from ..manifests import telemetry as manifests
from ..manifests.telemetry_provider import OpenTelemetry
from ..world import MeshSettings
from .telemetry_providers import collector_cluster, provider_of
from .view import View

SAMPLING = 1.0
"""Per cent, where nobody says otherwise."""
MAX_PATH_TAG_LENGTH = 256
OFF = Tracing(client_sampling=0.0, random_sampling=0.0, overall_sampling=0.0)
Tags = Mapping[str, manifests.CustomTag]


@dataclass(slots=True)
class Wanted:
    provider: str = ""
    is_off: bool = False
    sampling: float | None = None
    tags: Tags | None = None
    istio_tags: bool | None = None


def tracing_of(view: View, said: Sequence[manifests.Tracing], side: str) -> Tracing | None:
    """``None`` where nobody speaks of it: then the program has it as it likes.

    Without a provider spans go where the program itself sends them.
    """
    mesh, provider = view.mesh, default_tracer(view.mesh)
    heard = [one for one in said if one.mode in ("CLIENT_AND_SERVER", side)]
    if not heard and not provider and mesh.tracing is None:
        return None
    wanted = Wanted(provider)
    for one in heard:
        _apply(one, wanted)
    return OFF if wanted.is_off else _made(view, wanted)


def default_tracer(mesh: MeshSettings) -> str:
    """The first alone counts, as in Istio."""
    said = () if mesh.default_providers is None else mesh.default_providers.tracing
    return next(iter(said), "")


def _apply(said: manifests.Tracing, wanted: Wanted) -> None:
    if said.names:
        wanted.provider = said.names[0]
    if said.disable_span_reporting is not None:
        wanted.is_off = said.disable_span_reporting
    if said.random_sampling_percentage is not None:
        wanted.sampling = said.random_sampling_percentage
    if said.custom_tags is not None:
        wanted.tags = said.custom_tags
    if said.enable_istio_tags is not None:
        wanted.istio_tags = said.enable_istio_tags


def _made(view: View, wanted: Wanted) -> Tracing:
    default = view.mesh.tracing
    sampling, tags, istio_tags = wanted.sampling, wanted.tags, wanted.istio_tags
    longest = None
    if default is not None:
        sampling = default.sampling if sampling is None else sampling
        tags = default.custom_tags if tags is None else tags
        istio_tags = default.enable_istio_tags if istio_tags is None else istio_tags
        longest = default.max_path_tag_length
    provider = provider_of(view.mesh, wanted.provider)
    collector = None if provider is None else provider.opentelemetry
    if collector is not None and collector.max_tag_length is not None:
        longest = collector.max_tag_length
    own = () if istio_tags is False else istio_tags_of(view)
    return Tracing(
        random_sampling=SAMPLING if sampling is None else sampling,
        max_path_tag_length=MAX_PATH_TAG_LENGTH if longest is None else longest,
        custom_tags=(*own, *_tags(tags or {})),
        tracer=None if collector is None else _tracer(view, collector),
    )


def istio_tags_of(view: View) -> tuple[CustomTag, ...]:
    """What Istio has in every span of a workload."""
    labels = dict(view.scope.labels)
    name = labels.get("service.istio.io/canonical-name")
    revision = labels.get("service.istio.io/canonical-revision")
    said = {
        "istio.canonical_revision": revision or labels.get("version") or "latest",
        "istio.canonical_service": name or labels.get("app") or "unknown",
        "istio.mesh_id": view.mesh.mesh_id or view.mesh.trust_domain,
        "istio.namespace": view.scope.namespace,
    }
    return tuple(CustomTag(tag=tag, source=LiteralTag(value=value)) for tag, value in said.items())


def _tags(said: Tags) -> Iterator[CustomTag]:
    for name, tag in sorted(said.items()):
        if tag.literal is not None:
            yield CustomTag(tag=name, source=LiteralTag(value=tag.literal.value))
        elif tag.environment is not None:
            named = tag.environment
            source = EnvironmentTag(name=named.name, default_value=named.default_value)
            yield CustomTag(tag=name, source=source)
        elif tag.header is not None:
            header = HeaderTag(name=tag.header.name.lower(), default_value=tag.header.default_value)
            yield CustomTag(tag=name, source=header)
        elif tag.formatter is not None:
            yield CustomTag(tag=name, source=FormatterTag(value=tag.formatter.value))


def _tracer(view: View, said: OpenTelemetry) -> OpenTelemetryTracer | None:
    cluster = collector_cluster(view, said)
    if cluster is None:
        return None
    name = f"{dict(view.scope.labels).get('app', view.scope.namespace)}.{view.scope.namespace}"
    made = OpenTelemetryTracer(cluster=cluster, service_name=name)
    sent = said.http or said.grpc
    if sent is not None and sent.timeout is not None:
        made = replace(made, timeout=sent.timeout)
    if said.http is None:
        return made
    path = said.http.path.removeprefix("/")
    return replace(made, uri=f"http://{said.host}:{said.port}/{path}")
