"""As many calls at once as keep the server quick: Envoy's gradient controller.

Envoy drives it by timers; here whatever was due since is done when the next call begins or ends.
"""

from math import ceil, sqrt

from ...clock import Clock, Dice
from ...model import AdaptiveConcurrency
from ..events import CallRecord
from ..message import Cause, Failure, Outcome, Request
from ..steps import Steps
from .chain import FACTORIES, Filter, Kept, Service, Site
from .local_reply import local_reply

LIMITED = "reached concurrency limit"
LAGGING = "the event loop is late"
AT_MINIMUM = 5
"""Windows in a row at the least concurrency, after which the least latency is measured anew."""


class GradientController:
    """The limit: what the least latency seen, against that of now, says is right.

    The least latency is measured from time to time with few calls at once (a minRTT window).
    """

    __slots__ = (
        "_clock",
        "_config",
        "_deferred",
        "_dice",
        "_epoch",
        "_min_rtt",
        "_next_measure",
        "_next_sample",
        "_samples",
        "_unchanged",
        "limit",
        "outstanding",
    )

    def __init__(self, config: AdaptiveConcurrency, clock: Clock, dice: Dice) -> None:
        self._config = config
        self._clock = clock
        self._dice = dice
        self._samples: list[float] = []
        self._deferred = 0
        """The limit to go back to after a minRTT window; 0 outside of one."""
        self._unchanged = 0
        self._epoch = self._next_measure = clock()
        self._next_sample = self._epoch + config.concurrency_update_interval
        self._min_rtt = config.fixed_min_rtt or 0.0
        self.limit = config.min_concurrency
        self.outstanding = 0
        if config.fixed_min_rtt is None:
            self._measure(self._epoch)

    @property
    def is_measuring(self) -> bool:
        return self._deferred > 0

    def admits(self) -> bool:
        self._catch_up()
        return self.outstanding < self.limit

    def ended(self, began: float) -> None:
        """A call has taken its time."""
        self._catch_up()
        if began < self._epoch:
            return
        self._samples.append(self._clock() - began)
        if self.is_measuring and len(self._samples) >= self._config.min_rtt_request_count:
            self._measured()

    def _catch_up(self) -> None:
        if self.is_measuring:
            return
        now = self._clock()
        if now >= self._next_sample:
            self._next_sample = now + self._config.concurrency_update_interval
            if self._samples:
                self._set(self._better(self._sampled()))
        if self._config.fixed_min_rtt is None and now >= self._next_measure:
            self._measure(now)

    def _measure(self, now: float) -> None:
        self._deferred = max(self.limit, 1)
        self._set(self._config.min_concurrency)
        self._samples.clear()
        self._epoch = now

    def _measured(self) -> None:
        config, now = self._config, self._clock()
        self._min_rtt = self._sampled()
        before, self._deferred = self._deferred, 0
        self._next_sample = now + config.concurrency_update_interval
        jitter = self._dice() * config.min_rtt_jitter / 100 if config.min_rtt_jitter else 0.0
        self._next_measure = now + config.min_rtt_interval * (1 + jitter)
        self._set(before)

    def _sampled(self) -> float:
        """The percentile of the latencies so far, which are then forgotten."""
        samples = sorted(self._samples)
        self._samples.clear()
        rank = ceil(self._config.sample_aggregate_percentile / 100 * len(samples))
        return samples[max(rank, 1) - 1]

    def _better(self, sample: float) -> int:
        config = self._config
        buffered = self._min_rtt * (1 + config.min_rtt_buffer / 100)
        gradient = 2.0 if sample <= 0 else max(0.5, min(2.0, buffered / sample))
        limit = self.limit * gradient
        headroom = sqrt(limit)
        return max(config.min_concurrency, min(config.max_concurrency_limit, int(limit + headroom)))

    def _set(self, limit: int) -> None:
        least = self._config.min_concurrency
        stays = not self.is_measuring and self.limit == least == limit
        self._unchanged = self._unchanged + 1 if stays else 0
        self.limit = limit
        if self._unchanged >= AT_MINIMUM:
            self._next_measure = self._clock()


class AdaptiveConcurrencyFilter:
    __slots__ = ("_clock", "_config", "_controller", "_loop_lag")

    def __init__(self, config: AdaptiveConcurrency, site: Site) -> None:
        self._config = config
        self._clock = site.clock
        self._loop_lag = site.loop_lag
        self._controller = site.kept.get(
            (*site.place, config), lambda: GradientController(config, site.clock, site.dice)
        )

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        controller, most = self._controller, self._config.max_loop_lag
        if most is not None and self._loop_lag() > most:
            return (yield from self._shed(request, record, LAGGING))
        if not controller.admits():
            return (yield from self._shed(request, record, LIMITED))
        controller.outstanding += 1
        began, outcome = self._clock(), None
        try:
            outcome = yield from service(request, record)
            return outcome
        finally:
            controller.outstanding -= 1
            if outcome is not None and not _left(outcome):
                controller.ended(began)

    def _shed(self, request: Request, record: CallRecord, words: str) -> Steps[Outcome]:
        record.details = "overload" if words is LAGGING else "reached_concurrency_limit"
        return local_reply(request, record, Cause.OVERLOADED, self._config.status, words)


def _left(outcome: Outcome) -> bool:
    """The caller went away: how long that took says nothing of the server."""
    return isinstance(outcome, Failure) and outcome.cause is Cause.CANCELLED


def limits(kept: Kept) -> dict[str, tuple[int, int]]:
    """By place: as many calls at once as there may be, and as many as there are."""
    return {
        "/".join(map(str, key[:-1])): (found.limit, found.outstanding)
        for key, found in kept.everything().items()
        if isinstance(found, GradientController)
    }


def adaptive_concurrency(config: AdaptiveConcurrency, site: Site) -> Filter | None:
    return AdaptiveConcurrencyFilter(config, site) if config.enabled else None


FACTORIES[AdaptiveConcurrency] = adaptive_concurrency
