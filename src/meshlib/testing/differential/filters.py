"""Filters in a listener, and what tables, hosts, routes and clusters say of them, at random."""

from ...model import (
    CORS,
    FAULT,
    Cors,
    Exact,
    Fault,
    FaultAbort,
    FilterOverride,
    Percentage,
    Prefix,
    StringMatcher,
)
from ...model.filter import ALWAYS, NEVER, ROUTER, HttpFilter, Overrides
from .luck import Luck
from .matches import header_matcher

FILTERS: tuple[HttpFilter, ...] = (CORS, FAULT, ROUTER)
ORIGINS: tuple[StringMatcher, ...] = (Exact("https://one.example"), Prefix("https://"), Exact("*"))


def overrides(luck: Luck) -> Overrides:
    """Sorted by name, as the model has them."""
    found = []
    if luck.chance(0.12):
        found.append(FilterOverride(name=CORS.name, config=cors(luck)))
    if luck.chance(0.08):
        found.append(FilterOverride(name=FAULT.name, config=fault(luck)))
    return tuple(found)


def cors(luck: Luck) -> Cors:
    return Cors(
        allow_origins=luck.some(lambda: luck.one(ORIGINS), 2),
        allow_methods=luck.one(("", "GET,PUT", "*")),
        allow_headers=luck.one(("", "x-a", "*")),
        expose_headers=luck.one(("", "x-b")),
        max_age=luck.one(("", "60")),
        allow_credentials=luck.one((None, True, False)),
        filter_enabled=luck.one((ALWAYS, ALWAYS, NEVER)),
        forward_not_matching_preflights=luck.chance(0.7),
    )


def fault(luck: Luck) -> Fault:
    return Fault(
        abort=FaultAbort(
            http_status=luck.one((400, 503, None)),
            percentage=luck.one((ALWAYS, NEVER, Percentage(numerator=10_000, denominator=10_000))),
        ),
        headers=luck.some(lambda: header_matcher(luck), 1),
        upstream_cluster=luck.one(("", "", "c1")),
    )
