"""``telemetry.istio.io`` Telemetry: what is told of the calls of workloads."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from ...xds.expressions import why_not_log_format
from .piece import Duration, Flaw, Piece, Text
from .selection import Targeting

Mode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]
Metric = Literal[
    "ALL_METRICS",
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
]
PerCent = Annotated[float, msgspec.Meta(ge=0, le=100)]


class ProviderRef(Piece, frozen=True):
    name: Text


class ModeSelector(Piece, frozen=True):
    mode: Mode = "CLIENT_AND_SERVER"


class Said(Piece, frozen=True):
    """What the three kinds of rule share. Without ``providers``: those of further out."""

    providers: tuple[ProviderRef, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.providers)


class LiteralTag(Piece, frozen=True):
    value: Text


class NamedTag(Piece, frozen=True):
    name: Text
    default_value: str = ""


class FormatterTag(Piece, frozen=True):
    value: Text

    def rules(self) -> Iterator[Flaw]:
        yield from unwritable(self.value, "value")


def unwritable(text: str, *path: str | int) -> Iterator[Flaw]:
    """Why a format of access logs is refused, if it is."""
    refusal = why_not_log_format(text)
    if refusal:
        yield Flaw(path, refusal)


class CustomTag(Piece, frozen=True):
    literal: LiteralTag | None = None
    environment: NamedTag | None = None
    header: NamedTag | None = None
    formatter: FormatterTag | None = None

    def rules(self) -> Iterator[Flaw]:
        kinds = (self.literal, self.environment, self.header, self.formatter)
        if sum(kind is not None for kind in kinds) != 1:
            yield Flaw((), "exactly one of literal, environment, header and formatter is needed")


class Tracing(Said, frozen=True):
    match: ModeSelector | None = None
    random_sampling_percentage: PerCent | None = None
    disable_span_reporting: bool | None = None
    custom_tags: dict[str, CustomTag] | None = None
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None
    disable_context_propagation: bool | None = None

    @property
    def mode(self) -> Mode:
        return "CLIENT_AND_SERVER" if self.match is None else self.match.mode


class MetricSelector(Piece, frozen=True):
    metric: Metric | None = None
    custom_metric: Text | None = None
    mode: Mode = "CLIENT_AND_SERVER"

    def rules(self) -> Iterator[Flaw]:
        if self.metric is not None and self.custom_metric is not None:
            yield Flaw((), "at most one of metric and customMetric can be set")


class TagOverride(Piece, frozen=True):
    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    value: str = ""

    def rules(self) -> Iterator[Flaw]:
        if self.operation == "UPSERT" and not self.value:
            yield Flaw((), "value must be set when operation is UPSERT")
        if self.operation == "REMOVE" and self.value:
            yield Flaw(("value",), "value must not be set when operation is REMOVE")


class MetricsOverrides(Piece, frozen=True):
    match: MetricSelector | None = None
    disabled: bool | None = None
    tag_overrides: dict[str, TagOverride] = msgspec.field(default_factory=dict)

    @property
    def selected(self) -> MetricSelector:
        return self.match or MetricSelector()


class Metrics(Said, frozen=True):
    overrides: tuple[MetricsOverrides, ...] = ()
    reporting_interval: Duration | None = None


class LogFilter(Piece, frozen=True):
    """``expression`` is CEL; without one every call has a line."""

    expression: str = ""


class AccessLogging(Said, frozen=True):
    match: ModeSelector | None = None
    disabled: bool | None = None
    filter: LogFilter | None = None

    @property
    def mode(self) -> Mode:
        return "CLIENT_AND_SERVER" if self.match is None else self.match.mode


class Telemetry(Targeting, frozen=True):
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()
