"""A live cluster: permits, health and the picking of endpoints."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ...clock import Clock, Dice
from ...model import Cluster, ClusterLoadAssignment, OriginalDst
from ..message import Cause, Failure, Outcome
from .circuit import CircuitBreaker
from .endpoint import UpstreamEndpoint
from .pickers import Picker, picker_for
from .priority import Level, levels


@dataclass(frozen=True, slots=True)
class Balance:
    """How one configuration of a cluster spreads its calls; swapped whole.

    ``candidates`` is everyone who may be called: whom the pickers offer, and those of other
    priorities, to whom a call goes when it can reach nobody else.
    """

    config: Cluster
    assignment: ClusterLoadAssignment
    endpoints: dict[str, UpstreamEndpoint]
    pickers: tuple[tuple[float, Picker], ...]
    candidates: tuple[UpstreamEndpoint, ...]


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
        self.balance = Balance(config, empty, {}, (), ())

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
                if key in live:
                    continue  # an address counts once, where it first stands
                endpoint = live[key] = UpstreamEndpoint.succeeding(
                    current.endpoints.get(key),
                    endpoint_config,
                    http2=http2,
                )
                ranks.setdefault(locality.priority, []).append(endpoint)
        ordered = [ranks[priority] for priority in sorted(ranks)]
        spread = levels(assignment, ordered, config.healthy_panic_threshold)
        pickers = tuple(
            (level.share, picker_for(config.lb_policy, level.candidates, self._dice))
            for level in spread
        )
        return Balance(config, assignment, live, pickers, _candidates(spread, live.values()))

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
        return self._another(chosen, picker, tried)

    def has_untried(self, tried: Collection[UpstreamEndpoint]) -> bool:
        """Is there anyone left to call?"""
        return any(endpoint not in tried for endpoint in self.balance.candidates)

    def _another(
        self, chosen: UpstreamEndpoint, picker: Picker, tried: Collection[UpstreamEndpoint]
    ) -> UpstreamEndpoint:
        """By the picker's own order, as long as it offers anyone; then of whatever is left."""
        now = self._clock()
        candidates = self.balance.candidates
        candidate = chosen
        for _ in candidates:
            if candidate not in tried and candidate.shunned_until <= now:
                return candidate
            candidate = picker.pick()
        untried = [e for e in candidates if e not in tried] or candidates
        soonest = min(max(e.shunned_until, now) for e in untried)
        equals = [e for e in untried if max(e.shunned_until, now) == soonest]
        return equals[int(self._dice() * len(equals))]

    def _level(self, pickers: tuple[tuple[float, Picker], ...]) -> Picker:
        point = self._dice() * 100
        for share, picker in pickers[:-1]:
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


def _candidates(
    spread: Iterable[Level], live: Collection[UpstreamEndpoint]
) -> tuple[UpstreamEndpoint, ...]:
    offered = [endpoint for level in spread for endpoint in level.candidates]
    if not offered:
        return ()
    usable = [endpoint for endpoint in live if endpoint.usable]
    degraded = [endpoint for endpoint in live if endpoint.degraded]
    return tuple(dict.fromkeys((*offered, *usable, *degraded)))
