"""``extensionProviders`` of the MeshConfig that are told of calls."""

from collections.abc import Iterator
from typing import Any

import msgspec

from .marks import Path
from .piece import Count, Duration, Flaw, Piece, Port, Text
from .telemetry import unwritable


class LogFormat(Piece, frozen=True):
    """``labels`` are the fields of lines in JSON, or the attributes of records."""

    text: str = ""
    labels: dict[str, Any] | None = None

    def rules(self) -> Iterator[Flaw]:
        for path, text in self.texts:
            yield from unwritable(text, *path)

    @property
    def texts(self) -> Iterator[tuple[Path, str]]:
        """Each with its path."""
        yield ("text",), self.text
        for path, text in _texts(self.labels or {}):
            yield ("labels", *path), text


def _texts(value: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield (), value
    elif isinstance(value, dict):
        for name, held in value.items():
            yield from (((str(name), *path), text) for path, text in _texts(held))
    elif isinstance(value, list | tuple):
        for index, held in enumerate(value):
            yield from (((index, *path), text) for path, text in _texts(held))


class EnvoyFileAccessLog(Piece, frozen=True):
    path: Text
    log_format: LogFormat | None = None
    omit_empty_values: bool = False

    def rules(self) -> Iterator[Flaw]:
        form = self.log_format
        if form is not None and form.text and form.labels is not None:
            yield Flaw(("logFormat",), "only one of text and labels may be set")


class Collector(Piece, frozen=True):
    """A service that is told; ``namespace/host`` or a host."""

    service: Text
    port: Port

    @property
    def host(self) -> str:
        return self.service.rpartition("/")[2].lower()


class EnvoyOtelAls(Collector, frozen=True):
    log_name: str = ""
    log_format: LogFormat | None = None
    NOT_YET = frozenset({"filterStateObjectsToLog"})


class OtelHttp(Piece, frozen=True):
    path: Text
    timeout: Duration | None = None
    NOT_YET = frozenset({"headers"})


class OtelGrpc(Piece, frozen=True):
    timeout: Duration | None = None
    NOT_YET = frozenset({"initialMetadata"})


class OpenTelemetry(Collector, frozen=True):
    """``resource_detectors`` and ``dynatrace_sampler`` are for proxies alone."""

    max_tag_length: Count | None = None
    http: OtelHttp | None = None
    grpc: OtelGrpc | None = None
    resource_detectors: dict[str, Any] = msgspec.field(default_factory=dict)
    dynatrace_sampler: dict[str, Any] = msgspec.field(default_factory=dict)
    service_attribute_enrichment: str = ""

    def rules(self) -> Iterator[Flaw]:
        if self.http is not None and self.grpc is not None:
            yield Flaw((), "only one of http and grpc may be set")


class Prometheus(Piece, frozen=True):
    """Metrics are there to be scraped in any case."""
