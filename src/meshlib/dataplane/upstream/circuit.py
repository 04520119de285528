"""Circuit breaking by concurrency (``envoy.config.cluster.v3.CircuitBreakers``)."""

import sys
from collections import deque

from ...model import Thresholds
from ..steps import Turn
from .endpoint import Concurrency


class CircuitBreaker:
    """Counts what is in flight to one cluster, over all channels and threads of the process.

    ``concurrency.active`` are the calls that have a connection: one each, where ``connections``
    cannot be shared (HTTP/1.1), so that further calls line up. A turn that is granted is counted
    there already; who lined up goes on with it, and gives it back like any other. Who goes away
    before its turn was taken up says so by :meth:`leave`. ``room`` is the less of both limits.
    ``overflows``: calls that were turned away.
    """

    __slots__ = ("concurrency", "connections", "limits", "overflows", "per_host", "room", "waiting")

    def __init__(self, limits: Thresholds, *, shared: bool = True, hosts: int = 1) -> None:
        self.concurrency = Concurrency()
        self.waiting: deque[Turn] = deque()
        self.overflows = 0
        self.reconfigure(limits, shared=shared, hosts=hosts)

    def reconfigure(self, limits: Thresholds, *, shared: bool, hosts: int) -> None:
        """``shared``: a connection takes any number of calls at once (HTTP/2).

        ``hosts``: so many may be called, each over ``per_host`` connections at most. One connection
        is always allowed, as in Envoy: else a call in line would wait for nothing.
        """
        self.limits = limits
        most = limits.max_connections_per_host
        self.per_host = sys.maxsize if shared or most is None else max(1, most)
        self.connections = (
            sys.maxsize if shared else max(1, min(limits.max_connections, self.per_host * hosts))
        )
        self.room = min(self.connections, limits.max_requests)
        self.next_turn()

    @property
    def is_open(self) -> bool:
        return self.concurrency.active >= self.limits.max_requests

    @property
    def is_used(self) -> bool:
        counts = self.concurrency
        return bool(counts.active or counts.retries or self.waiting)

    def may_retry(self, *, again: bool = False) -> bool:
        """Is there room for one more retry: by budget where there is one, else by number.

        Retries may be ``budget_percent`` of the calls in flight or in line, and
        ``min_retry_concurrency`` in any case (circuit_breaker.proto). A call that retries
        ``again`` passes on its permit.
        """
        budget = self.limits.retry_budget
        allowed = self.limits.max_retries
        if budget is not None:
            calls = self.concurrency.active + len(self.waiting)
            allowed = max(budget.min_retry_concurrency, int(budget.budget_percent / 100 * calls))
        return self.concurrency.retries - again < allowed

    @property
    def must_wait(self) -> bool:
        """Is there no connection to be had, or are others first?"""
        return bool(self.waiting) or self.concurrency.active >= self.connections

    def line_up(self) -> Turn | None:
        """Take the last place in line; ``None``: as many as may are waiting already."""
        if len(self.waiting) >= self.limits.max_pending_requests:
            return None
        turn = Turn()
        self.waiting.append(turn)
        return turn

    def leave(self, turn: Turn) -> None:
        """Wait no longer; a turn that came meanwhile is the next one's."""
        if not turn.granted:
            self.waiting.remove(turn)
            return
        self.concurrency.active -= 1
        self.next_turn()

    def next_turn(self) -> None:
        """Let in who is first in line, as far as there is room."""
        concurrency = self.concurrency
        while self.waiting and concurrency.active < self.room:
            turn = self.waiting.popleft()
            concurrency.active += 1
            turn.grant()
