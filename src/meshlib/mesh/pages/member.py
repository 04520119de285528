"""Whom the pages are about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...clock import Clock
from ...dataplane import Engine
from ...middleware._drive import Runtime
from ...telemetry.metrics import Recorder
from ..identity import Identity

if TYPE_CHECKING:
    from ...xds.bootstrap import Node
    from ...xds.watches import Entry


@dataclass(frozen=True, slots=True)
class Member:
    """Where to look. ``clock`` is that of all other readings, ``wall`` says seconds since 1970.

    ``source`` and ``watched`` are what the source of configuration says; ``unready`` why this
    member is not ready, if so; ``started`` is when it began.
    """

    node: "Node"
    engine: Engine
    runtime: Runtime
    identity: Identity
    recorder: Recorder
    source: Callable[[], Mapping[str, Any]]
    watched: "Callable[[], tuple[Entry, ...] | None]"
    unready: Callable[[], str]
    clock: Clock
    wall: Clock
    started: float

    def at(self, reading: float) -> float:
        """Seconds since 1970 of a reading of the clock."""
        return self.wall() - self.clock() + reading
