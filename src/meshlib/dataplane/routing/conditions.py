"""What a route asks of a request besides its path, and the names for calls that match alike."""

from ...model import RouteMatch, RuntimeFraction, VirtualCluster
from ..message import Request
from .formatting import OTHER
from .matchers import (
    IS_GRPC,
    Condition,
    header_condition,
    metadata_condition,
    query_condition,
)
from .parts import Parts


def conditions(match: RouteMatch, parts: Parts) -> tuple[Condition, ...]:
    found = []
    if match.runtime_fraction is not None:
        found.append(_fraction(match.runtime_fraction, parts))
    if match.grpc:
        found.append(IS_GRPC)
    found += [header_condition(matcher, parts.regex) for matcher in match.headers]
    found += [query_condition(matcher, parts.regex) for matcher in match.query_parameters]
    found += [metadata_condition(matcher, parts.regex) for matcher in match.dynamic_metadata]
    return tuple(found)


def _fraction(fraction: RuntimeFraction, parts: Parts) -> Condition:
    share, luck = fraction.numerator / fraction.denominator, parts.luck
    runtime, key = parts.runtime, fraction.runtime_key
    if not key:
        return Condition(f"{share:.2%} of calls", lambda _request: luck.roll < share)
    # Asked anew each time: the runtime changes without a word to those who go by it.
    rule = f"{share:.2%} of calls, or what {key} says"
    return Condition(rule, lambda _request: luck.roll < runtime.get(key, share))


class VirtualClusters:
    """The first whose headers all match gives a call its name."""

    __slots__ = ("_named",)

    def __init__(self, configs: tuple[VirtualCluster, ...], parts: Parts) -> None:
        self._named = tuple(
            (each.name, tuple(header_condition(m, parts.regex) for m in each.headers))
            for each in configs
        )

    def __call__(self, request: Request) -> str:
        for name, asked in self._named:
            if all(condition.test(request) for condition in asked):
                return name
        return OTHER
