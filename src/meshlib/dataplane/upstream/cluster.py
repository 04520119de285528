"""A live cluster: permits, health and the picking of endpoints."""

from collections.abc import Collection
from dataclasses import dataclass

from ...clock import Clock, Dice
from ...model import Cluster, ClusterLoadAssignment, OriginalDst
from ..message import Cause, Failure, Outcome
from .circuit import CircuitBreaker
from .endpoint import UpstreamEndpoint
from .pickers import Picker, picker_for
from .priority import levels


@dataclass(frozen=True, slots=True)
class Balance:
    """How one configuration of a cluster spreads its calls; swapped whole."""

    config: Cluster
    assignment: ClusterLoadAssignment
    endpoints: dict[str, UpstreamEndpoint]
    pickers: tuple[tuple[float, Picker], ...]
    size: int


class UpstreamCluster:
    """Kept by name over configurations, so that counters and endpoint state survive them."""

    __slots__ = ("_clock", "_dice", "balance", "breaker", "name", "passthrough")

    def __init__(self, config: Cluster, clock: Clock, dice: Dice) -> None:
        self.name = config.name
        self.breaker = CircuitBreaker(config.circuit_breakers.default)
        self.passthrough = isinstance(config.discovery, OriginalDst)
        self._clock = clock
        self._dice = dice
        empty = ClusterLoadAssignment(cluster_name=config.name)
        self.balance = Balance(config, empty, {}, (), 0)

    def prepare(self, config: Cluster, assignment: ClusterLoadAssignment) -> Balance:
        """Build the next balance; endpoints that stay keep their live state."""
        current = self.balance
        if current.config == config and current.assignment == assignment:
            return current
        options = config.http_protocol_options
        http2 = options is not None and options.http2
        live: dict[str, UpstreamEndpoint] = {}
        ranks: dict[int, list[UpstreamEndpoint]] = {}
        for locality in assignment.endpoints:
            for endpoint_config in locality.lb_endpoints:
                key = str(endpoint_config.address)
                endpoint = live.get(key) or UpstreamEndpoint.succeeding(
                    current.endpoints.get(key),
                    endpoint_config,
                    self.breaker.concurrency,
                    http2=http2,
                )
                live[key] = endpoint
                ranks.setdefault(locality.priority, []).append(endpoint)
        ordered = [ranks[priority] for priority in sorted(ranks)]
        spread = levels(assignment, ordered, config.healthy_panic_threshold)
        pickers = tuple(
            (level.share, picker_for(config.lb_policy, level.candidates, self._dice))
            for level in spread
        )
        size = sum(len(level.candidates) for level in spread)
        return Balance(config, assignment, live, pickers, size)

    def commit(self, balance: Balance) -> None:
        self.balance = balance
        self.breaker.limits = balance.config.circuit_breakers.default

    def pick(self, tried: Collection[UpstreamEndpoint] = ()) -> UpstreamEndpoint | None:
        """Choose an endpoint, rather not one that was tried or that could not be reached.

        ``None`` when there is none at all.
        """
        balance = self.balance
        pickers = balance.pickers
        if not pickers:
            return None
        picker = pickers[0][1] if len(pickers) == 1 else self._level(pickers)
        chosen = picker.pick()
        if chosen.shunned_until == 0.0 and chosen not in tried:
            return chosen
        return self._another(chosen, picker, balance.size, tried)

    def _another(
        self,
        first: UpstreamEndpoint,
        picker: Picker,
        size: int,
        tried: Collection[UpstreamEndpoint],
    ) -> UpstreamEndpoint:
        now = self._clock()
        fallback, candidate = first, first
        for _ in range(2 * size):
            if candidate not in tried:
                if candidate.shunned_until <= now:
                    return candidate
                fallback = candidate
            candidate = picker.pick()
        return next((e for e in self._all() if e not in tried and e.shunned_until <= now), fallback)

    def _all(self) -> Collection[UpstreamEndpoint]:
        return [e for e in self.balance.endpoints.values() if e.usable or e.degraded]

    def _level(self, pickers: tuple[tuple[float, Picker], ...]) -> Picker:
        point = self._dice() * 100
        for share, picker in pickers:
            if point < share:
                return picker
            point -= share
        return pickers[-1][1]

    def observe(self, endpoint: UpstreamEndpoint, outcome: Outcome) -> None:
        """Hear how a call to an endpoint went."""
        if isinstance(outcome, Failure):
            if outcome.cause is Cause.CONNECT:
                endpoint.connect_failed(self._clock)
            return
        if endpoint.shunned_until:
            endpoint.answered()
