"""What a configuration wants other of Istio's metrics: dropped ones, and other labels.

Expressions are evaluated with each call, and only where there are any; all else is done when
somebody reads.
"""

from collections.abc import Mapping

from ...dataplane import CallEnded
from ...exposition import Labels
from ...model.telemetry import MetricOverride, Stats
from ..expressions import attributes, compile_expression
from .calls import LONGEST, UNKNOWN


class Plan:
    """The overrides of one listener, compiled. Compared by identity: the listener keeps it."""

    __slots__ = ("_expressions", "_overrides", "_roots", "falls_back")

    def __init__(self, stats: Stats) -> None:
        texts = dict.fromkeys(text for each in stats.metrics for _, text in each.dimensions)
        self._expressions = {text: compile_expression(text) for text in texts}
        self._roots = frozenset[str]().union(*(each.roots for each in self._expressions.values()))
        self._overrides = stats.metrics
        self.falls_back = not stats.disable_host_header_fallback

    def tags(self, event: CallEnded) -> tuple[str, ...]:
        """The values of all expressions for this call; ``unknown`` where one has none."""
        if not self._expressions:
            return ()
        known = attributes(event, self._roots)
        return tuple([each.label(known)[:LONGEST] for each in self._expressions.values()])

    def labels(self, metric: str, labels: Labels, tags: tuple[str, ...]) -> Labels | None:
        """The labels of a metric (by Istio's short name); ``None``: it is dropped.

        Later overrides come after earlier ones, so that what they say of a label counts.
        """
        found: dict[str, str] = dict(labels)
        values = dict(zip(self._expressions, tags, strict=False))
        dropped = False
        for override in self._overrides:
            if override.name in ("", metric):
                dropped = override.drop
                _change(found, override, values)
        return None if dropped else tuple(found.items())


def _change(labels: dict[str, str], override: MetricOverride, values: Mapping[str, str]) -> None:
    for name in override.tags_to_remove:
        labels.pop(name, None)
    for name, text in override.dimensions:
        labels[name] = values.get(text, UNKNOWN)
