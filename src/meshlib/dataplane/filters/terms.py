"""What a route says of the attempts of its calls, read once and then at hand."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ...model import HedgePolicy, MaxStreamDuration, RetryPolicy
from ..deadline import LONGEST, brought_forward, earlier
from ..message import IDEMPOTENT, Outcome, Override, Request, Response
from ..upstream.retry import NOTHING_PROCESSED, RetryRule

if TYPE_CHECKING:
    from ..routing.live_route import LiveRoute

ASKED_FOR = RetryPolicy(retry_on=NOTHING_PROCESSED, previous_hosts=True)
ASKED_FOR_SAFELY = replace(ASKED_FOR, retry_on=(*NOTHING_PROCESSED, "gateway-error", "reset"))
"""The retries that only the application asks for, and those of idempotent methods."""


class Terms:
    """Until when, on which answers again, and whether there is more to it than that.

    ``is_plain``: one attempt after the other, and the answer as it comes. ``per_try_timeout`` is
    the less of Envoy's two, since an attempt whose answer does not begin is idle as well; it is not
    for streams, which may live on.
    ``dresses``: what is sent differs from attempt to attempt.
    """

    __slots__ = (
        "_offset",
        "_reads_headers",
        "_retriable",
        "_timeouts",
        "dresses",
        "hedge",
        "is_high",
        "is_plain",
        "per_try_timeout",
        "retry",
        "route",
    )

    def __init__(
        self,
        route: "LiveRoute",
        retry: RetryRule | None,
        timeouts: tuple[float | None, float | None, float | None],
    ) -> None:
        self.route = route
        self.retry = retry
        self.hedge = _effective(route.hedge)
        self.is_high = route.is_high
        self.dresses = route.auto_host_rewrite or route.attempt_counts[0]
        self._timeouts = tuple([limit and min(limit, LONGEST) for limit in timeouts])
        self._retriable = retry.statuses if retry is not None else frozenset()
        self._reads_headers = retry is not None and retry.reads_headers
        self.per_try_timeout = _per_try(route.retry.policy if route.retry is not None else None)
        self._offset = _offset(route)
        self.is_plain = not (
            self.hedge
            or route.mirrors
            or route.attempt_counts[1]
            or any(destination.respond is not None for destination in route.destinations)
            or not route.destinations
        )

    @staticmethod
    def of(route: "LiveRoute") -> "Terms":
        return Terms(route, route.retry, route.timeouts)

    @staticmethod
    def overridden(route: "LiveRoute", override: Override, *, safe: bool) -> "Terms":
        """What holds where the application said otherwise; ``safe``: the method is idempotent."""
        limit = override.timeout
        timeouts = route.timeouts if limit is None else (limit or None,) * 3
        return Terms(route, _retries(route.retry, override.retries, safe=safe), timeouts)

    def deadline(self, request: Request, started: float) -> float | None:
        """The moment at which the call is over, whatever happens."""
        if not request.is_grpc:
            timeout = self._timeouts[0]
        else:
            timeout = self._timeouts[2] if request.streaming else self._timeouts[1]
        deadline = request.deadline
        if deadline is None:
            return None if timeout is None else started + timeout
        if self._offset and request.is_grpc:
            deadline = brought_forward(deadline, started, self._offset)
        return earlier(deadline, started, timeout)

    def is_final(self, outcome: Outcome) -> bool:
        """Is there plainly nothing to try again: an answer that no policy asks to retry?"""
        if not isinstance(outcome, Response):
            return False
        retry = self.retry
        if self._reads_headers:
            return retry is None or not retry.wants(outcome)
        if outcome.grpc_status is None:
            return outcome.status not in self._retriable
        return outcome.grpc_status == 0 or retry is None or not retry.wants(outcome)


def is_safe(request: Request) -> bool:
    """May this be done twice? gRPC does not tell, so it does not count as idempotent."""
    return not request.is_grpc and request.method in IDEMPOTENT


def _retries(rule: RetryRule | None, retries: int | None, *, safe: bool) -> RetryRule | None:
    if retries is None:
        return rule
    if retries <= 0:
        return None
    asked = rule or RetryRule(ASKED_FOR_SAFELY if safe else ASKED_FOR)
    return asked.limited(retries)


def _per_try(policy: RetryPolicy | None) -> float | None:
    if policy is None:
        return None
    limits = (policy.per_try_timeout, policy.per_try_idle_timeout)
    shortest = min(filter(None, limits), default=None)
    return shortest and min(shortest, LONGEST)


def _effective(hedge: HedgePolicy | None) -> HedgePolicy | None:
    """``None`` where a policy asks for nothing but one attempt after the other."""
    if hedge is None:
        return None
    many = hedge.initial_requests > 1 or hedge.additional_request_chance > 0
    return hedge if many or hedge.hedge_on_per_try_timeout else None


def _offset(route: "LiveRoute") -> float:
    action = route.forward
    durations = (action.max_stream_duration if action is not None else None) or MaxStreamDuration()
    return durations.grpc_timeout_header_offset or 0.0
