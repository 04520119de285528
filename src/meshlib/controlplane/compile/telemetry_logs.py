"""``accessLogging`` of Telemetries, and the MeshConfig's ``accessLogFile`` → access logs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ...model import Struct, Value
from ...model.log_format import ISTIO_FORMAT, ISTIO_JSON
from ...model.telemetry import AccessLog, ExpressionFilter, FileAccessLog, OpenTelemetryAccessLog
from ..manifests.telemetry import LogFilter, Telemetry
from ..manifests.telemetry_provider import EnvoyFileAccessLog, EnvoyOtelAls, LogFormat
from ..world import MeshSettings
from .telemetry_providers import collector_cluster, provider_of
from .view import View

FILE = "envoy.access_loggers.file"
OPEN_TELEMETRY = "envoy.access_loggers.open_telemetry"
ENVOY = "envoy"
"""The provider whose lines have the MeshConfig's form where it has none of its own, as in Istio."""
LOG_NAME = "otel_envoy_accesslog"
Filters = Mapping[str, LogFilter | None]


def access_logs(view: View, said: Sequence[Telemetry], side: str) -> tuple[AccessLog, ...]:
    defaults = default_loggers(view.mesh)
    if not defaults and not any(spec.access_logging for spec in said):
        return tuple(_of_mesh(view.mesh))
    wanted = _wanted(said, defaults, side)
    return tuple(log for name in sorted(wanted) for log in _log(view, name, wanted[name]))


def are_off(said: Sequence[Telemetry], side: str) -> bool:
    """Whether the last word is that there is no log."""
    rules = [rule for spec in said for rule in spec.access_logging]
    fitting = [rule for rule in rules if rule.mode in ("CLIENT_AND_SERVER", side)]
    return bool(fitting) and bool(fitting[-1].disabled)


def default_loggers(mesh: MeshSettings) -> tuple[str, ...]:
    return () if mesh.default_providers is None else mesh.default_providers.access_logging


def _wanted(said: Sequence[Telemetry], defaults: tuple[str, ...], side: str) -> Filters:
    """By provider the filter that goes with it.

    The providers of the innermost level that names any are the ones; a rule that names none
    speaks of those of the rule before it.
    """
    if not any(spec.access_logging for spec in said):
        return dict.fromkeys(defaults)
    in_scope = frozenset(defaults)
    for spec in said:
        named = {name for rule in spec.access_logging for name in rule.names}
        in_scope = frozenset(named) if named else in_scope
    found: dict[str, LogFilter | None] = {}
    filters: dict[str, LogFilter | None] = {}
    before = defaults
    for rule in (rule for spec in said for rule in spec.access_logging):
        before = rule.names or before
        if rule.mode not in ("CLIENT_AND_SERVER", side):
            continue
        for name in in_scope.intersection(before):
            if rule.filter is not None or rule.names:
                filters[name] = rule.filter
            if rule.disabled:
                found.pop(name, None)
            else:
                found[name] = filters.get(name)
    return found


def _log(view: View, name: str, condition: LogFilter | None) -> Iterator[AccessLog]:
    provider = provider_of(view.mesh, name)
    if provider is None:
        return
    asked = condition.expression if condition is not None else ""
    only = ExpressionFilter(asked) if asked else None
    if provider.envoy_file_access_log is not None:
        said = provider.envoy_file_access_log
        is_plain = said.log_format is None and not said.omit_empty_values
        as_mesh = provider.name == ENVOY and is_plain
        config = _as_the_mesh_says(view.mesh, said.path) if as_mesh else _file(said)
        yield AccessLog(name=FILE, config=config, filter=only)
    elif provider.envoy_otel_als is not None:
        sink = _records(view, provider.envoy_otel_als)
        if sink is not None:
            yield AccessLog(name=OPEN_TELEMETRY, config=sink, filter=only)


def _file(said: EnvoyFileAccessLog) -> FileAccessLog:
    form = said.log_format or LogFormat()
    if form.labels is not None:
        made = _struct(form.labels) if form.labels else ISTIO_JSON
        return FileAccessLog(path=said.path, json=made, omit_empty_values=said.omit_empty_values)
    text = _line(form.text)
    return FileAccessLog(path=said.path, text=text, omit_empty_values=said.omit_empty_values)


def _line(text: str) -> str:
    """A line ends like one."""
    return (text if text.endswith("\n") else f"{text}\n") if text else ISTIO_FORMAT


def _records(view: View, said: EnvoyOtelAls) -> OpenTelemetryAccessLog | None:
    cluster = collector_cluster(view, said)
    if cluster is None:
        return None
    form = said.log_format or LogFormat()
    return OpenTelemetryAccessLog(
        cluster=cluster,
        log_name=said.log_name or LOG_NAME,
        body=form.text or ISTIO_FORMAT,
        attributes=None if form.labels is None else _struct(form.labels),
    )


def _of_mesh(mesh: MeshSettings) -> Iterator[AccessLog]:
    if not mesh.access_log_file:
        return
    yield AccessLog(name=FILE, config=_as_the_mesh_says(mesh, mesh.access_log_file))


def _as_the_mesh_says(mesh: MeshSettings, path: str) -> FileAccessLog:
    form = mesh.access_log_format
    if mesh.access_log_encoding != "JSON":
        return FileAccessLog(path=path, text=_line(form))
    labels = msgspec.json.decode(form, type=dict[str, Any]) if form else None
    return FileAccessLog(path=path, json=ISTIO_JSON if labels is None else _struct(labels))


def _struct(labels: Mapping[str, Any]) -> Struct:
    return Struct(tuple((name, _value(labels[name])) for name in sorted(labels)))


def _value(said: Any) -> Value:
    if isinstance(said, Mapping):
        return _struct({str(key): held for key, held in said.items()})
    if isinstance(said, list | tuple):
        return tuple(_value(item) for item in said)
    is_number = isinstance(said, int) and not isinstance(said, bool)
    plain: Value = float(said) if is_number else said
    return plain
