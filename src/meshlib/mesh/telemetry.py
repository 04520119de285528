"""Who sees the calls of a mesh: put together here, told of by the engine."""

import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from ..dataplane import Engine
from ..model.telemetry import Tracing
from ..telemetry.audience import default_audience
from ..telemetry.metrics import Recorder
from ..telemetry.observer import Telemetry
from ..telemetry.propagation import Propagation
from .options import Options
from .workload import Workload


class Seen:
    """All that telemetry keeps of one mesh. ``afterwards`` is emptied by the runtime.

    ``principal`` is this member's own SPIFFE id, as it is now.
    """

    def __init__(self, options: Options, principal: Callable[[], str] = str) -> None:
        self.workload = Workload(options)
        self.peers = self.workload.peers(principal)
        self.afterwards: deque[Callable[[], None]] = deque()
        self._own_host = _own_host(options)
        self.recorder = self._made_recorder()
        self.propagation = Propagation(extra=options.propagate)
        self._default = default_audience(os.environ)
        self.observer = self._made_observer()

    def introduce(self, engine: Engine) -> None:
        """From now on, this member tells those it calls who it is, and those who ask."""
        self.propagation.constant = engine.around.introduction = self.workload.introduction
        self.propagation.configured = partial(_tracing_of, engine)

    def _made_recorder(self) -> Recorder:
        return Recorder(peers=self.peers, own_host=self._own_host, clock=time.monotonic)

    def _made_observer(self) -> Telemetry:
        unmet = self.propagation.unmet
        return Telemetry(self.recorder, self.afterwards, self._default, unmet=unmet)

    def has_called(self, cluster: str) -> bool:
        return self.recorder.has_called(cluster)

    def begin_anew(self) -> None:
        """In a forked child: what was counted is the parent's."""
        self.afterwards.clear()
        self.recorder = self._made_recorder()
        self.observer = self._made_observer()


def _tracing_of(engine: Engine, listener: str) -> Tracing | None:
    found = engine.listeners.get(listener)
    audience = None if found is None else found.router.audience
    return None if audience is None else audience.tracing


def _own_host(options: Options) -> str:
    """As those who call by the service's name have it."""
    if not options.service:
        return ""
    return f"{options.service}.{options.namespace}.svc.cluster.local"
