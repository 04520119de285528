"""Filters: functions around a service, both from a request to its steps."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ...clock import Clock, Dice
from ...model import (
    Cors,
    FilterConfig,
    FilterDiscovery,
    GlobalRateLimit,
    HttpFilter,
    Overrides,
    RateLimit,
    Router,
)
from ...model.authn import ExtAuthz
from ...model.telemetry import Stats
from ..events import CallRecord
from ..message import Outcome, Request
from ..routing.matchers import Regex
from ..steps import Steps

if TYPE_CHECKING:
    from ..upstream.cluster import UpstreamCluster
    from .tokens import Tokens

T = TypeVar("T")
Service = Callable[[Request, CallRecord], Steps[Outcome]]
Filter = Callable[[Request, CallRecord, Service], Steps[Outcome]]
"""Passes on with ``yield from service(request, record)``, or delivers an answer of its own."""


class Kept:
    """State of filters (tokens, counts) that outlives the configuration it was made for.

    What one generation of the configuration asked for and the next asks for again is the same
    object; what nobody asks for any more is forgotten. Keys begin with the name of the table.
    """

    def __init__(self, before: "Kept | None" = None) -> None:
        # Calls may still add to what they go by, while the next generation is prepared beside them.
        self._before = dict(before.everything()) if before is not None else {}
        self._made: dict[tuple[Hashable, ...], Any] = {}

    def everything(self) -> dict[tuple[Hashable, ...], Any]:
        return self._made

    def carry(self, table: str) -> None:
        """A table stays as it is, and with it all that its filters keep."""
        self._made |= {key: made for key, made in self._before.items() if key[0] == table}

    def get(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = self._before[key] if key in self._before else make()
        found: T = self._made[key]
        return found

    def settle(self) -> None:
        """Forget the generation before."""
        self._before = {}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a filter stands, and what it may use.

    ``place`` names the place where the configuration is written, the table first: all that it
    holds for share what is kept there. ``rate_limits`` are the route's, else the virtual host's;
    ``cluster`` is the destination, "" where the call is served or answered here; ``service`` is
    what this member of the mesh is called; ``loop_lag`` says by how many seconds the event loop
    that serves this call is late, 0 where there is none; ``tokens`` verifies callers' tokens,
    ``None`` where nobody can.
    """

    place: tuple[str, ...]
    clock: Clock
    dice: Dice
    regex: Regex
    kept: Kept
    clusters: Mapping[str, "UpstreamCluster"]
    cluster: str = ""
    service: str = ""
    rate_limits: tuple[RateLimit, ...] = ()
    loop_lag: Callable[[], float] = float
    tokens: "Tokens | None" = None


Factory = Callable[[Any, Site], Filter | None]
"""From a filter's configuration to the filter; ``None``: it has nothing to do in this place."""

FACTORIES: dict[type[FilterConfig | FilterDiscovery], Factory] = {}

SILENT = (Router, Stats)
"""Filters that no request meets: the router comes last of all, and others only tell of calls."""


def filters_for(
    http_filters: Sequence[HttpFilter], levels: Sequence[Overrides], site: Site
) -> tuple[Filter, ...]:
    """What has something to do here, in the listener's order; ``levels`` most specific first."""
    found = []
    for http_filter in http_filters:
        if isinstance(http_filter.config, SILENT):
            continue
        config, depth = effective(http_filter, levels)
        if config is None:
            continue
        there = replace(site, place=(*site.place[: max(depth, 1)], http_filter.name))
        made = FACTORIES[type(config)](config, there)
        if made is not None:
            found.append(made)
    return tuple(found)


def effective(
    http_filter: HttpFilter, levels: Sequence[Overrides]
) -> tuple[FilterConfig | FilterDiscovery | None, int]:
    """The configuration that holds in this place, ``None`` where the filter is off; how deep.

    Depth 0 is the listener, 1 the table, 2 the virtual host, and so on.
    """
    config, disabled, depth = http_filter.config, http_filter.disabled, 0
    for level, overrides in enumerate(reversed(levels), start=1):
        for override in overrides:
            if override.name == http_filter.name:
                disabled = override.disabled
                if override.config is not None:
                    config, depth = _within(config, override.config), level
    return (None if disabled else config), depth


def _within(outer: FilterConfig | FilterDiscovery, inner: FilterConfig) -> FilterConfig:
    """What a place says, and what it leaves to the places around it.

    A rate limit that names no service to ask is one of the filter around it.
    """
    if isinstance(outer, GlobalRateLimit) and isinstance(inner, GlobalRateLimit):
        if inner.cluster:
            return inner
        limits = inner.rate_limits or outer.rate_limits
        return replace(outer, domain=inner.domain or outer.domain, rate_limits=limits)
    if isinstance(outer, Cors) and isinstance(inner, Cors):
        return _policy_within(outer, inner)
    if isinstance(outer, ExtAuthz) and isinstance(inner, ExtAuthz):
        said = dict((*outer.context_extensions, *inner.context_extensions))
        extensions = tuple(sorted(said.items()))
        return replace(outer, context_extensions=extensions, enabled=inner.enabled)
    return inner


def _policy_within(outer: Cors, inner: Cors) -> Cors:
    """What a place does not say itself holds from the place around it, field by field."""
    credentials = inner.allow_credentials
    forwards = inner.forward_not_matching_preflights and outer.forward_not_matching_preflights
    return replace(
        inner,
        allow_origins=inner.allow_origins or outer.allow_origins,
        allow_methods=inner.allow_methods or outer.allow_methods,
        allow_headers=inner.allow_headers or outer.allow_headers,
        expose_headers=inner.expose_headers or outer.expose_headers,
        max_age=inner.max_age or outer.max_age,
        allow_credentials=outer.allow_credentials if credentials is None else credentials,
        forward_not_matching_preflights=forwards,
    )


def stacked(filters: Sequence[Filter], innermost: Service) -> Service:
    """The first filter meets the request first."""
    service = innermost
    for around in reversed(filters):
        service = partial(_through, around, service)
    return service


def _through(
    around: Filter, service: Service, request: Request, record: CallRecord
) -> Steps[Outcome]:
    return around(request, record, service)
