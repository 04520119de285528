"""Active health checks: when an endpoint is asked, and what its answers mean; no sockets here.

As in Envoy, an endpoint must pass before it is called, and the first answer decides at once. But
not knowing never fails calls: an endpoint that was there when the checks began is called until its
first answer, and one that came later waits for it only where another one has passed.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from ...clock import Clock, Dice
from ...model import HealthCheck, HttpHealthCheck
from .endpoint import UpstreamEndpoint

SHORTEST_INTERVAL = 0.001


class Result(Enum):
    PASSED = "passed"
    FAILED = "failed"
    """It says itself that it is not well, which counts at once."""
    UNREACHED = "unreached"
    """No connection, no answer in time, or one that may change: the threshold counts them."""


def judged(checker: HttpHealthCheck, status: int) -> Result:
    if any(start <= status < end for start, end in checker.expected_statuses):
        return Result.PASSED
    if any(start <= status < end for start, end in checker.retriable_statuses):
        return Result.UNREACHED
    return Result.FAILED


class Change(Enum):
    NONE = 0
    PENDING = 1
    """Not often enough in a row yet."""
    DONE = 2


class Check:
    """One endpoint under one configured check: ``due`` is when to ask it next.

    ``healthy`` is ``None`` until the first answer. ``waits``: it came when others were known.
    """

    __slots__ = ("_dice", "_row", "config", "due", "endpoint", "healthy", "waits")

    def __init__(
        self,
        config: HealthCheck,
        endpoint: UpstreamEndpoint,
        now: float,
        dice: Dice,
        *,
        waits: bool,
    ) -> None:
        self.config = config
        self.endpoint = endpoint
        self.waits = waits
        self.healthy: bool | None = None
        self._dice = dice
        self._row = 0
        self.due = now + config.initial_jitter * dice()

    def hear(self, result: Result, now: float, *, traffic: bool) -> None:
        """Take an answer. ``traffic``: the cluster has been called at all."""
        passed = result is Result.PASSED
        change = self._counted(result, passed=passed)
        self.due = now + self._jittered(self._interval(change, passed=passed, traffic=traffic))

    def _counted(self, result: Result, *, passed: bool) -> Change:
        """How often in a row the answer was not what the endpoint is held to be."""
        if self.healthy is None:
            self.healthy = passed
            return Change.DONE if passed else Change.NONE
        if self.healthy is passed:
            self._row = 0
            return Change.NONE
        self._row += 1
        threshold = self.config.healthy_threshold if passed else self.config.unhealthy_threshold
        if self._row < threshold and result is not Result.FAILED:
            return Change.PENDING
        self._row = 0
        self.healthy = passed
        return Change.DONE

    def _interval(self, change: Change, *, passed: bool, traffic: bool) -> float:
        config, edge = self.config, change is Change.PENDING
        if not traffic:
            return _first(
                config.no_traffic_healthy_interval if passed and not edge else None,
                config.no_traffic_interval,
            )
        if passed:
            return _first(config.healthy_edge_interval if edge else None, config.interval)
        return _first(
            config.unhealthy_edge_interval if edge else None,
            config.unhealthy_interval,
            config.interval,
        )

    def _jittered(self, interval: float) -> float:
        config = self.config
        longer = interval * (1 + config.interval_jitter_percent / 100 * self._dice())
        return max(longer + config.interval_jitter * self._dice(), SHORTEST_INTERVAL)


def _first(*intervals: float | None) -> float:
    return next(interval for interval in intervals if interval is not None)


@dataclass(frozen=True, slots=True)
class Followed:
    begun: tuple[Check, ...]
    ended: tuple[Check, ...]
    changed: bool
    """The health of an endpoint: the cluster must be balanced anew."""


class HealthChecker:
    """The checks of all endpoints of one cluster; ``endpoint.unhealthy`` is their verdict."""

    def __init__(self, configs: Iterable[HealthCheck], clock: Clock, dice: Dice) -> None:
        self._configs = tuple(configs)
        self._clock = clock
        self._dice = dice
        self._checks: dict[str, tuple[Check, ...]] = {}

    def follow(self, endpoints: Collection[UpstreamEndpoint]) -> Followed:
        """These are the endpoints now: some new, some gone or exempt, which are as good as well."""
        checked = {e.key: e for e in endpoints if not e.config.disable_active_health_check}
        waits, now = bool(self._checks), self._clock()
        ended = tuple(
            check for key in set(self._checks) - set(checked) for check in self._checks.pop(key)
        )
        begun: list[Check] = []
        for key, endpoint in checked.items():
            if key not in self._checks:
                self._checks[key] = tuple(
                    Check(config, endpoint, now, self._dice, waits=waits)
                    for config in self._configs
                )
                begun += self._checks[key]
            for check in self._checks[key]:
                check.endpoint = endpoint
        freed = any(check.endpoint.unhealthy for check in ended)
        for check in ended:
            check.endpoint.unhealthy = check.endpoint.passes = False
        return Followed(tuple(begun), ended, self._settle() or freed)

    def hear(self, check: Check, result: Result, *, traffic: bool) -> bool:
        """Take an answer; must the cluster be balanced anew?"""
        check.hear(result, self._clock(), traffic=traffic)
        return self._settle()

    def _settle(self) -> bool:
        """Say of each endpoint what is known of it; did anything change?"""
        anyone = any(all(check.healthy for check in checks) for checks in self._checks.values())
        changed = False
        for checks in self._checks.values():
            unhealthy = any(_fails(check, anyone=anyone) for check in checks)
            endpoint = checks[0].endpoint
            changed |= endpoint.unhealthy is not unhealthy
            endpoint.unhealthy = unhealthy
            endpoint.passes = all(check.healthy for check in checks)
        return changed


def _fails(check: Check, *, anyone: bool) -> bool:
    return check.waits and anyone if check.healthy is None else not check.healthy
