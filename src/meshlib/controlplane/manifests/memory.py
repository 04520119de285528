"""What was read before need not be read again: most of a configuration outlives an edit."""

import marshal
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from .finding import Finding
from .manifest import Manifest


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one text or document."""

    manifests: tuple[Manifest[Any], ...] = ()
    findings: tuple[Finding, ...] = ()


class Memory:
    """The parts of the last two readings: the very same manifests for the very same text.

    Those who compile know by that what did not change, place and all.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, Part] = {}
        self._now: dict[Hashable, Part] = {}

    def begin(self) -> None:
        """Another reading of everything begins."""
        self._last, self._now = self._now, {}

    def get(self, key: Hashable) -> Part | None:
        part = self._now.get(key, self._last.get(key))
        if part is not None:
            self._now[key] = part
        return part

    def put(self, key: Hashable, part: Part) -> None:
        self._now[key] = part


def plain(document: Any) -> bytes | None:
    """A document of plain values as what tells it from all that differ; others have none."""
    try:
        # Version 2 knows no references: by those, equal documents could look different.
        return marshal.dumps(document, 2)
    except ValueError:
        return None


def copied(encoded: bytes) -> Any:
    """The same document, which nobody else can change."""
    return marshal.loads(encoded)  # noqa: S302 - made above, in this process
