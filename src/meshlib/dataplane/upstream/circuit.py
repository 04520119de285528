"""Circuit breaking by concurrency (``envoy.config.cluster.v3.CircuitBreakers``)."""

from ...model import Thresholds
from .endpoint import Concurrency


class CircuitBreaker:
    """Counts what is in flight to one cluster, over all channels and threads of the process."""

    __slots__ = ("concurrency", "limits")

    def __init__(self, limits: Thresholds) -> None:
        self.limits = limits
        self.concurrency = Concurrency()

    @property
    def is_open(self) -> bool:
        return self.concurrency.active >= self.limits.max_requests

    def may_retry(self, *, again: bool = False) -> bool:
        """Is there room for one more retry: by budget where there is one, else by number.

        Retries may be ``budget_percent`` of the calls in flight, and ``min_retry_concurrency``
        in any case (circuit_breaker.proto). A call that retries ``again`` passes on its permit.
        """
        budget = self.limits.retry_budget
        allowed = self.limits.max_retries
        if budget is not None:
            share = int(budget.budget_percent / 100 * self.concurrency.active)
            allowed = max(budget.min_retry_concurrency, share)
        return self.concurrency.retries - again < allowed
