"""The one observer of a mesh: it counts under the lock, and leaves all else for afterwards."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ..dataplane.events import AttemptFailed, CallEnded, Event, Observer
from .audience import Audience


class Traced(Protocol):
    """What ``request.meter.trace`` hears of its call; without the mesh's lock."""

    def attempt_failed(self, event: AttemptFailed) -> None: ...

    def ended(self, event: CallEnded) -> None: ...


class Telemetry:
    """``count`` runs under the mesh's lock. ``afterwards`` is run by the runtime without it.

    ``default``: who is told of calls that no listener of the mesh takes.
    """

    def __init__(
        self,
        count: Observer,
        afterwards: deque[Callable[[], None]],
        default: Audience | None = None,
    ) -> None:
        self._count = count
        self._afterwards = afterwards
        self._default = default

    def __call__(self, event: Event) -> None:
        self._count(event)
        if type(event) is CallEnded:
            audience = event.record.audience or self._default
            meter = event.record.request.meter
            trace: Traced | None = None if meter is None else meter.trace
            if trace is not None or (audience is not None and audience.logs):
                self._afterwards.append(partial(_tell, event, audience, trace))
        elif type(event) is AttemptFailed:
            meter = event.record.request.meter
            if meter is not None and meter.trace is not None:
                self._afterwards.append(partial(meter.trace.attempt_failed, event))


def _tell(event: CallEnded, audience: Audience | None, trace: Traced | None) -> None:
    if trace is not None:
        trace.ended(event)
    for log in () if audience is None else audience.logs:
        log(event)
