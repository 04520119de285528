"""Expressions of configuration (CEL) about a call: conditions of logs, labels of metrics."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..dataplane import CallEnded
from ..errors import ConfigError, Problem
from ..xds.expressions import ROOTS, why_not_cel
from .attributes import ATTRIBUTES
from .cel_strings import FUNCTIONS

__all__ = ["UNKNOWN", "Expression", "attributes", "compile_expression"]

UNKNOWN = "unknown"
"""What a label says that cannot be told."""
_LABELS = r"((?:down|up)stream_peer\s*\.\s*labels)\s*"
_NAMED = r"(\[\s*(?:'[^']*'|\"[^\"]*\")\s*\]|\.\s*\w+)\s*\.\s*value\b(?!\s*\()"
_HAS = re.compile(rf"\bhas\s*\(\s*{_LABELS}\[([^\]]*)\]\s*\.\s*value\s*\)")
_VALUE = re.compile(_LABELS + _NAMED)


def _plain(text: str) -> str:
    """In Istio's proxies each label of a peer is a message with a field ``value``."""
    return _VALUE.sub(r"\1\2", _HAS.sub(r"(\2 in \1)", text))


class Expression:
    """``roots``: what of a call it speaks of; no more than that has to be found out for it."""

    __slots__ = ("_run", "roots", "text")

    def __init__(self, text: str) -> None:
        refusal = why_not_cel(text)
        if refusal:
            raise ConfigError(Problem(f"expression {text[:80]!r}", refusal))
        import cel

        program = cel.compile(_plain(text))
        self.text = text
        said = program.references()
        self.roots = frozenset(said["variables"]) & ROOTS
        self._run: Callable[[dict[str, Any]], Any] = program.execute
        ours = {name: FUNCTIONS[name] for name in said["functions"] if name in FUNCTIONS}
        if ours:
            self._run = lambda known: program.execute(cel.Context(variables=known, functions=ours))

    def value(self, known: dict[str, Any]) -> Any:
        """``None`` where it has no value: what it speaks of is missing, or does not fit."""
        try:
            return self._run(known)
        except Exception:  # noqa: BLE001 - whatever a call brings, its own outcome stands
            return None

    def holds(self, known: dict[str, Any]) -> bool:
        return self.value(known) is True

    def label(self, known: dict[str, Any]) -> str:
        found = self.value(known)
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, bytes):
            return found.decode("utf-8", "replace") or UNKNOWN
        return str(found) if isinstance(found, str | int | float) and found != "" else UNKNOWN


@lru_cache(maxsize=4096)
def compile_expression(text: str) -> Expression:
    """Raises :class:`ConfigError` for what is no expression, or speaks of what nobody knows."""
    return Expression(text)


def attributes(event: CallEnded, roots: frozenset[str] = ROOTS) -> dict[str, Any]:
    """What expressions with these roots may ask of a call, under the names that Envoy has."""
    return {root: ATTRIBUTES[root](event) for root in roots}
