"""The one observer of a mesh: it counts under the lock, and leaves all else for afterwards."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from ..dataplane import UpstreamEndpoint
from ..dataplane.events import (
    AttemptFailed,
    CallEnded,
    EndpointEjected,
    EndpointReturned,
    Event,
    Observer,
)
from .audience import Audience
from .metrics.calls import Peers

log = logging.getLogger("meshlib")

LATEST = datetime.max.replace(tzinfo=UTC).timestamp() - 1
EJECTIONS = 16
"""Of the latest ones, who made the last call is to hear."""


class Traced(Protocol):
    """What ``request.meter.trace`` hears of its call; without the mesh's lock.

    ``at``: when it happened, in nanoseconds of the epoch. Who is not ``sampled`` hears nothing.
    """

    sampled: bool

    def attempt_failed(
        self, event: AttemptFailed, endpoint: UpstreamEndpoint | None, at: int
    ) -> None: ...

    def ended(self, event: CallEnded, at: int, ejections: Iterable[EndpointEjected]) -> None: ...


Unmet = Callable[[CallEnded, int], None]
"""Hears of calls that ended before they came to a handler."""


class Telemetry:
    """``count`` runs under the mesh's lock. ``afterwards`` is run by the runtime without it.

    ``default``: who is told of calls that no listener of the mesh takes. ``unmet`` gives who traces
    what never came to a handler, while anybody does. ``clock`` is that of the events. ``peers``
    knows who takes part in a call.
    """

    def __init__(
        self,
        count: Observer,
        afterwards: deque[Callable[[], None]],
        default: Audience | None = None,
        *,
        unmet: Callable[[], Unmet | None] = lambda: None,
        now: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
        peers: Peers | None = None,
    ) -> None:
        self._count = count
        self._afterwards = afterwards
        self._default = default
        self._unmet = unmet
        self._now = now
        self._clock = clock
        self._peers = peers
        self._ejections: deque[EndpointEjected] = deque(maxlen=EJECTIONS)

    def __call__(self, event: Event) -> None:
        if type(event) is CallEnded:
            if event.record.audience is not None or self._default is not None:
                self._introduce(event)
            self._count(event)
            self._ended(event)
            return
        self._count(event)
        if type(event) is AttemptFailed:
            meter = event.record.request.meter
            trace: Traced | None = None if meter is None else meter.trace
            if trace is not None and trace.sampled:
                told = partial(trace.attempt_failed, event, event.record.endpoint, self._now())
                self._afterwards.append(told)
        elif type(event) is EndpointEjected:
            self._ejections.append(event)
            left = event.until - self._clock()
            until = self._now() / 1e9 + left
            self._afterwards.append(partial(_tell_ejected, event, left, until))
        elif type(event) is EndpointReturned:
            self._afterwards.append(partial(_tell_returned, event))

    def _introduce(self, event: CallEnded) -> None:
        """Expressions of logs and labels may ask who takes part in the call."""
        peers, record = self._peers, event.record
        if peers is not None:
            called = peers.destination_of(record, event.outcome)
            event.parties = peers.source_of(record), called

    def _ended(self, event: CallEnded) -> None:
        record = event.record
        audience = record.audience or self._default
        meter = record.request.meter
        trace: Traced | None = None if meter is None else meter.trace
        if trace is not None and (record.mirror or not trace.sampled):
            trace = None
        elif trace is not None:
            ejections = tuple(self._ejections) if self._ejections else ()
            ended = partial(trace.ended, event, self._now(), ejections)
            self._afterwards.append(ended)
        elif record.inbound and meter is not None and (unmet := self._unmet()) is not None:
            self._afterwards.append(partial(unmet, event, self._now()))
        for log in () if audience is None else audience.logs:
            self._afterwards.append(partial(log, event))


def _tell_ejected(event: EndpointEjected, left: float, until: float) -> None:
    when = datetime.fromtimestamp(min(until, LATEST), UTC).isoformat(timespec="seconds")
    said = "cluster %s: outlier detection (%s) ejects %s for %g s, until %s"
    log.info(said, event.cluster, event.reason, event.endpoint.address, round(left, 3), when)


def _tell_returned(event: EndpointReturned) -> None:
    log.info("cluster %s: %s may be called again", event.cluster, event.endpoint.address)
