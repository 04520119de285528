"""Outlier detection: endpoints that fail are left out for a while, as Envoy does it.

Runs of failures eject at once; success rates and failure percentages are looked at once an
interval, in the sweep, which also lets endpoints come back. Nobody needs a timer: whoever picks or
observes at ``next_sweep`` or later sweeps, and everything that missed sweeps would have done is
done then, as of the moments at which they were due.
"""

from collections.abc import Collection
from math import ceil, floor

from ...clock import Clock, Dice
from ...model import OutlierDetection
from ..events import EndpointEjected, EndpointReturned, EndpointSpared, Observer
from ..message import Failure, Outcome
from .endpoint import UpstreamEndpoint
from .outlier_rules import (
    GATEWAY,
    Reason,
    above_failure_percentage,
    below_success_rate,
    is_error,
    status_of,
)

HAIR = 1e-9
"""In intervals: what rounding may make of a moment that is exactly that of a sweep."""


class Tally:
    """Calls of the current interval."""

    __slots__ = ("successes", "total")

    def __init__(self) -> None:
        self.successes = 0
        self.total = 0

    def count(self, *, success: bool) -> None:
        self.total += 1
        self.successes += success

    @property
    def rate(self) -> tuple[float, int]:
        return 100 * self.successes / self.total, self.total


class Suspect:
    """What is remembered of one endpoint.

    ``multiplier`` times the base is how long the current or last ejection takes; it goes down by
    one with each sweep that finds the endpoint in use for an interval or longer.
    """

    __slots__ = (
        "consecutive_5xx",
        "consecutive_gateway_failure",
        "consecutive_local_origin_failure",
        "ejected_at",
        "external",
        "jitter",
        "local",
        "multiplier",
        "returned_at",
    )

    def __init__(self) -> None:
        self.external = Tally()
        self.local = Tally()
        self.multiplier = 0
        self.ejected_at = 0.0
        self.jitter = 0.0
        self.returned_at: float | None = None
        self.forget_runs()

    def forget_runs(self) -> None:
        self.consecutive_5xx = 0
        self.consecutive_gateway_failure = 0
        self.consecutive_local_origin_failure = 0


class OutlierDetector:
    """Watches the endpoints of one cluster; ``endpoint.ejected`` is its verdict.

    ``observe``, ``sweep`` and ``uneject`` answer whether the set of ejected endpoints changed.
    ``endpoints`` are always all that the cluster has.
    """

    __slots__ = ("_clock", "_cluster", "_dice", "_observe", "config", "next_sweep")

    def __init__(
        self,
        config: OutlierDetection,
        clock: Clock,
        dice: Dice,
        *,
        cluster: str = "",
        observe: Observer = lambda _event: None,
    ) -> None:
        self.config = config
        self._clock = clock
        self._dice = dice
        self._cluster = cluster
        self._observe = observe
        self.next_sweep = clock() + config.interval

    def reconfigure(self, config: OutlierDetection) -> None:
        """Go by another configuration: sweeps by its interval, counted from the last one."""
        self.next_sweep += config.interval - self.config.interval
        self.config = config

    def observe(
        self, endpoint: UpstreamEndpoint, outcome: Outcome, endpoints: Collection[UpstreamEndpoint]
    ) -> bool:
        """Hear how a call went; a run of failures that is long enough ejects."""
        changed = self._clock() >= self.next_sweep and self.sweep(endpoints)
        status = status_of(outcome)
        if status is None:
            return changed
        suspect = _suspect(endpoint)
        if not self.config.split_external_local_origin_errors:
            reasons = self._external(suspect, status, local=isinstance(outcome, Failure))
        elif isinstance(outcome, Failure):
            reasons = self._local_failure(suspect)
        else:
            suspect.local.count(success=True)
            suspect.consecutive_local_origin_failure = 0
            reasons = self._external(suspect, status, local=False)
        for reason in reasons:
            if not endpoint.ejected and any(known is endpoint for known in endpoints):
                setattr(suspect, reason, 0)
                changed |= self._eject(endpoint, reason, self._clock(), endpoints)
        return changed

    def _external(self, suspect: Suspect, status: int, *, local: bool) -> tuple[Reason, ...]:
        """Count what an endpoint answered; the runs that have just become long enough."""
        config = self.config
        if not local and not is_error(status, config.error_statuses):
            suspect.external.count(success=True)
            suspect.consecutive_5xx = 0
            suspect.consecutive_gateway_failure = 0
            return ()
        suspect.external.count(success=False)
        suspect.consecutive_5xx += 1
        suspect.consecutive_gateway_failure += 1
        if status not in GATEWAY:
            suspect.consecutive_gateway_failure = 0
        long_enough: tuple[Reason, ...] = ()
        if suspect.consecutive_gateway_failure == config.consecutive_gateway_failure:
            long_enough = ("consecutive_gateway_failure",)
        if suspect.consecutive_5xx == config.consecutive_5xx:
            long_enough = (*long_enough, "consecutive_5xx")
        return long_enough

    def _local_failure(self, suspect: Suspect) -> tuple[Reason, ...]:
        suspect.local.count(success=False)
        suspect.consecutive_local_origin_failure += 1
        limit = self.config.consecutive_local_origin_failure
        if suspect.consecutive_local_origin_failure != limit:
            return ()
        return ("consecutive_local_origin_failure",)

    def _eject(
        self,
        endpoint: UpstreamEndpoint,
        reason: Reason,
        now: float,
        endpoints: Collection[UpstreamEndpoint],
    ) -> bool:
        config = self.config
        out = sum(other.ejected for other in endpoints)
        alone = config.always_eject_one_host and out == 0
        if 100 * (out + 1) > min(100, config.max_ejection_percent) * len(endpoints) and not alone:
            self._observe(EndpointSpared(self._cluster, reason, "max_ejection_overflow"))
            return False
        if not self._is_enforced(getattr(config, f"enforcing_{ENFORCING.get(reason, reason)}")):
            self._observe(EndpointSpared(self._cluster, reason, "enforcement_percentage"))
            return False
        suspect = _suspect(endpoint)
        if (suspect.multiplier - 1) * config.base_ejection_time < self._longest:
            suspect.multiplier += 1
        spread = config.max_ejection_time_jitter
        suspect.jitter = spread * self._dice() if spread else 0.0
        suspect.ejected_at = now
        endpoint.ejected = True
        self._observe(EndpointEjected(self._cluster, endpoint, reason, self._until(suspect)))
        return True

    def _is_enforced(self, percent: int) -> bool:
        return percent >= 100 or (percent > 0 and self._dice() * 100 < percent)

    @property
    def _longest(self) -> float:
        return max(self.config.max_ejection_time, self.config.base_ejection_time)

    def _until(self, suspect: Suspect) -> float:
        time = suspect.multiplier * self.config.base_ejection_time
        return suspect.ejected_at + min(time, self._longest) + suspect.jitter

    def uneject(self, endpoint: UpstreamEndpoint) -> bool:
        """An active health check has found the endpoint well: what was seen of it is void."""
        if not (endpoint.ejected and self.config.successful_active_health_check_uneject_host):
            return False
        self._return(endpoint, self._clock())
        return True

    def retire(self, endpoints: Collection[UpstreamEndpoint]) -> bool:
        """There is to be no outlier detection any more: all come back, all is forgotten."""
        out = [endpoint for endpoint in endpoints if endpoint.ejected]
        for endpoint in out:
            self._return(endpoint, self._clock())
        for endpoint in endpoints:
            endpoint.outlier = None
        return bool(out)

    def _return(self, endpoint: UpstreamEndpoint, now: float) -> None:
        suspect = _suspect(endpoint)
        suspect.returned_at = now
        suspect.forget_runs()
        endpoint.ejected = False
        self._observe(EndpointReturned(self._cluster, endpoint))

    def sweep(self, endpoints: Collection[UpstreamEndpoint]) -> bool:
        """Do what is due: let endpoints come back, judge the interval, let multipliers decay."""
        now = self._clock()
        if now < self.next_sweep:
            return False
        before = {endpoint for endpoint in endpoints if endpoint.ejected}
        self._sweep_once(self.next_sweep, endpoints)
        missed = floor((now - self.next_sweep) / self.config.interval + HAIR)
        first, last = self.next_sweep, self.next_sweep + missed * self.config.interval
        if missed:
            for endpoint in endpoints:
                if endpoint.outlier is not None:
                    self._catch_up(endpoint, first, last)
        self.next_sweep = last + self.config.interval
        return before != {endpoint for endpoint in endpoints if endpoint.ejected}

    def _sweep_once(self, now: float, endpoints: Collection[UpstreamEndpoint]) -> None:
        watched = [endpoint for endpoint in endpoints if endpoint.outlier is not None]
        for endpoint in watched:
            if endpoint.ejected and self._until(endpoint.outlier) <= now:
                self._return(endpoint, now)
        self._judge(now, endpoints, local=False)
        if self.config.split_external_local_origin_errors:
            self._judge(now, endpoints, local=True)
        for endpoint in watched:
            endpoint.outlier.external, endpoint.outlier.local = Tally(), Tally()
            self._decay(endpoint, now, now)

    def _judge(self, now: float, endpoints: Collection[UpstreamEndpoint], *, local: bool) -> None:
        """Compare the sums of the interval that is over."""
        config = self.config
        rates = {
            endpoint: tally.rate
            for endpoint in endpoints
            if endpoint.outlier is not None and not endpoint.ejected
            if (tally := endpoint.outlier.local if local else endpoint.outlier.external).total
        }
        worse: Reason = "success_rate_local_origin" if local else "success_rate"
        bad: Reason = "failure_percentage_local_origin" if local else "failure_percentage"
        found = dict.fromkeys(
            below_success_rate(
                rates,
                minimum_hosts=config.success_rate_minimum_hosts,
                request_volume=config.success_rate_request_volume,
                stdev_factor=config.success_rate_stdev_factor,
            ),
            (worse,),
        )
        for endpoint in above_failure_percentage(
            rates,
            minimum_hosts=config.failure_percentage_minimum_hosts,
            request_volume=config.failure_percentage_request_volume,
            threshold=config.failure_percentage_threshold,
        ):
            found[endpoint] = (*found.get(endpoint, ()), bad)
        for endpoint, reasons in found.items():
            any(self._eject(endpoint, reason, now, endpoints) for reason in reasons)

    def _catch_up(self, endpoint: UpstreamEndpoint, first: float, last: float) -> None:
        """What the sweeps after ``first``, up to ``last``, would have done: no calls were heard."""
        interval = self.config.interval
        if endpoint.ejected:
            wait = ceil((self._until(endpoint.outlier) - first) / interval - HAIR)
            back = first + max(1, wait) * interval
            if back > last + HAIR * interval:
                return
            self._return(endpoint, back)
        self._decay(endpoint, first + interval, last)

    def _decay(self, endpoint: UpstreamEndpoint, first: float, last: float) -> None:
        """By one for each sweep from ``first`` to ``last`` an interval or more after the return."""
        suspect, interval = endpoint.outlier, self.config.interval
        if endpoint.ejected or suspect.returned_at is None or not suspect.multiplier:
            return
        skipped = max(0, ceil((suspect.returned_at + interval - first) / interval - HAIR))
        sweeps = floor((last - first) / interval + HAIR) + 1 - skipped
        suspect.multiplier = max(0, suspect.multiplier - max(0, sweeps))


ENFORCING: dict[Reason, str] = {"success_rate_local_origin": "local_origin_success_rate"}
"""Where the configuration's word is not that of the event."""


def _suspect(endpoint: UpstreamEndpoint) -> Suspect:
    suspect = endpoint.outlier
    if suspect is None:
        suspect = endpoint.outlier = Suspect()
    assert isinstance(suspect, Suspect)
    return suspect
