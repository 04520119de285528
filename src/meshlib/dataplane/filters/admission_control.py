"""Refuse calls with the probability that the success of late suggests (Envoy's formula)."""

from collections import deque
from dataclasses import dataclass

from ...clock import Clock
from ...model import AdmissionControl
from ..events import CallRecord
from ..message import Cause, Failure, Outcome, Request, Response
from ..statuses import UNAVAILABLE
from ..steps import Steps
from .chain import FACTORIES, Filter, Service, Site
from .local_reply import local_reply

REFUSED = "denied by admission control"
GRANULARITY = 1.0
"""Seconds of calls that are counted, and forgotten, together."""


@dataclass(slots=True)
class Span:
    since: float
    requests: int = 0
    successes: int = 0


class History:
    """How many calls there were of late, and how many of them went well."""

    __slots__ = ("_clock", "_spans", "_window", "requests", "successes")

    def __init__(self, window: float, clock: Clock) -> None:
        self._clock = clock
        self._window = window
        self._spans: deque[Span] = deque()
        self.requests = 0
        self.successes = 0

    def forget(self) -> None:
        """What is older than the window counts no more."""
        until = self._clock() - self._window
        while self._spans and self._spans[0].since <= until:
            old = self._spans.popleft()
            self.requests -= old.requests
            self.successes -= old.successes

    def record(self, *, success: bool) -> None:
        self.forget()
        now = self._clock()
        if not self._spans or now - self._spans[-1].since >= GRANULARITY:
            self._spans.append(Span(now))
        span = self._spans[-1]
        span.requests += 1
        span.successes += success
        self.requests += 1
        self.successes += success

    @property
    def rps(self) -> float:
        if not self._spans:
            return 0.0
        return self.requests / max(1, int(self._clock() - self._spans[0].since))


class AdmissionController:
    __slots__ = ("_config", "_dice", "_history")

    def __init__(self, config: AdmissionControl, site: Site) -> None:
        self._config = config
        self._dice = site.dice
        self._history = site.kept.get(
            (*site.place, config), lambda: History(config.sampling_window, site.clock)
        )

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        probability = self._probability()
        if probability > 0 and self._dice() < probability:
            record.details = "denied_by_admission_control"
            return (yield from local_reply(request, record, Cause.OVERLOADED, 503, REFUSED))
        outcome: Outcome | None = None
        try:
            outcome = yield from service(request, record)
            return outcome
        finally:
            success = outcome is not None and self._is_success(outcome, request)
            self._history.record(success=success)

    def _probability(self) -> float:
        """Of refusing the next call."""
        config, history = self._config, self._history
        history.forget()
        if history.rps < config.rps_threshold or not config.success_rate_threshold:
            return 0.0
        needed = history.successes / (config.success_rate_threshold / 100)
        probability = (history.requests - needed) / (history.requests + 1)
        if probability <= 0:
            return 0.0
        aggression = max(1.0, config.aggression)
        if aggression != 1:
            probability **= 1 / aggression
        return float(min(probability, config.max_rejection_probability / 100))

    def _is_success(self, outcome: Outcome, request: Request) -> bool:
        config, status = self._config, outcome.grpc_status
        if request.is_grpc:
            if status is None:
                status = 0 if isinstance(outcome, Response) else UNAVAILABLE
            return status in config.success_grpc_statuses
        if isinstance(outcome, Failure):
            return False
        return any(start <= outcome.status < end for start, end in config.success_statuses)


def admission_control(config: AdmissionControl, site: Site) -> Filter | None:
    return AdmissionController(config, site) if config.enabled else None


FACTORIES[AdmissionControl] = admission_control
