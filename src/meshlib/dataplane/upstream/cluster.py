"""A live cluster: permits, health and the picking of endpoints."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ...clock import Clock, Dice
from ...model import Cluster, ClusterLoadAssignment, Endpoint, OriginalDst
from ..message import Cause, Failure, Outcome
from .circuit import CircuitBreaker
from .endpoint import UpstreamEndpoint
from .pickers import Picker, picker_for
from .priority import Level, kept_share, levels

Pickers = tuple[tuple[float, Picker | None], ...]
"""Each with its share of the calls, in per cent; ``None`` drops its share."""


@dataclass(frozen=True, slots=True)
class Balance:
    """How one configuration of a cluster spreads its calls; swapped whole.

    ``candidates`` is everyone who may be called: whom the pickers offer, and those of other
    priorities, to whom a call goes when it can reach nobody else.
    """

    config: Cluster
    assignment: ClusterLoadAssignment
    endpoints: dict[str, UpstreamEndpoint]
    pickers: Pickers
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
        live: dict[str, UpstreamEndpoint] = {}
        ranks: dict[int, list[UpstreamEndpoint]] = {}
        for locality in assignment.endpoints:
            for endpoint_config in locality.lb_endpoints:
                key = str(endpoint_config.address)
                if key in live:
                    continue  # an address counts once, where it first stands
                live[key] = self._endpoint(current.endpoints.get(key), config, endpoint_config)
                ranks.setdefault(locality.priority, []).append(live[key])
        ordered = [ranks[priority] for priority in sorted(ranks)]
        spread = levels(assignment, ordered, config.healthy_panic_threshold)
        pickers = self._pickers(config, spread, kept_share(assignment))
        return Balance(config, assignment, live, pickers, _candidates(spread, live.values()))

    def _endpoint(
        self, old: UpstreamEndpoint | None, config: Cluster, endpoint: Endpoint
    ) -> UpstreamEndpoint:
        options = config.http_protocol_options
        return UpstreamEndpoint.succeeding(
            old,
            endpoint,
            http2=options is not None and options.http2,
            connect_timeout=config.connect_timeout,
        )

    def _pickers(self, config: Cluster, spread: Iterable[Level], kept: float) -> Pickers:
        pickers: Pickers = tuple(
            (level.share * kept, picker_for(config.lb_policy, level.candidates, self._dice))
            for level in spread
        )
        return ((100 * (1 - kept), None), *pickers) if pickers and kept < 1 else pickers

    def commit(self, balance: Balance) -> None:
        self.balance = balance
        self.breaker.limits = balance.config.circuit_breakers.default

    def pick(self, tried: Collection[UpstreamEndpoint] = ()) -> UpstreamEndpoint | None:
        """Choose an endpoint, rather not one that was tried or that could not be reached.

        ``None`` when there is none at all, or when the call is to be dropped.
        """
        pickers = self.balance.pickers
        picker = pickers[0][1] if len(pickers) == 1 else self._level(pickers)
        if picker is None:
            return None
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

    def _level(self, pickers: Pickers) -> Picker | None:
        if not pickers:
            return None
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
