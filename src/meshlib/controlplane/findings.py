"""What is wrong, doubtful or without effect in a world, before anybody runs on it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import Problem
from .analysis import (
    access,
    delegates,
    duplicates,
    envoy_filters,
    gateways,
    hosts,
    mesh,
    mutual_tls,
    routes,
    rules,
    telemetry,
    workloads,
)
from .manifests import read_files
from .manifests.finding import (
    EMPTY_SUBSET,
    UNKNOWN_HOST,
    UNKNOWN_RULE_HOST,
    UNKNOWN_SUBSET,
    Finding,
)
from .world import World

__all__ = ["Finding", "analyze", "errors_of", "findings_of"]

ANALYZERS = (
    access.check,
    delegates.check,
    duplicates.check,
    envoy_filters.check,
    gateways.check,
    hosts.check,
    mesh.check,
    mutual_tls.check,
    routes.check,
    rules.check,
    telemetry.check,
    workloads.check,
)

MISSING = frozenset({UNKNOWN_HOST, UNKNOWN_SUBSET, EMPTY_SUBSET, UNKNOWN_RULE_HOST})


def analyze(paths: Sequence[Path | str]) -> tuple[Finding, ...]:
    """Everything worth saying about the files; what cannot be read is a finding as well."""
    world, unreadable = read_files(paths)
    errors = [finding for finding in unreadable if finding.severity == "error"]
    found = list(_found(world))
    if errors:  # what seems to be missing may stand in a manifest that was not understood
        found = [finding for finding in found if finding.code not in MISSING]
    return tuple(sorted([*errors, *found], key=_order))


def findings_of(world: World) -> tuple[Finding, ...]:
    return tuple(sorted(_found(world), key=_order))


def errors_of(world: World) -> tuple[Problem, ...]:
    """The reasons to refuse the world whole."""
    return tuple(f.problem for f in findings_of(world) if f.severity == "error")


def _found(world: World) -> Iterator[Finding]:
    yield from world.remarks
    for check in ANALYZERS:
        yield from check(world)


def _order(finding: Finding) -> tuple[str, int, int, str]:
    place = finding.place
    return place.file, place.line, place.column, finding.code
