"""Which calls a log tells of."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne

from ...clock import Dice
from ...dataplane import CallEnded, Whereabouts
from ...dataplane.routing.matchers import header_condition
from ...dataplane.statuses import http_to_grpc
from ...model import telemetry as model
from ...xds.regex import fullmatch
from ..attributes import answer_code, request_id
from ..expressions import attributes, compile_expression
from . import answers
from .times import duration

Passes = Callable[[CallEnded], bool]

COMPARED: Mapping[model.Comparison, Callable[[int, int], bool]] = {
    model.Comparison.EQ: eq,
    model.Comparison.GE: ge,
    model.Comparison.LE: le,
    model.Comparison.NE: ne,
}
OPERATORS = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
# Most conditions are this one, and the library takes a hundred times as long for it.
_OF_CODE = re.compile(r"\s*response\.code\s*(==|!=|<=?|>=?)\s*([1-9][0-9]{0,8})\s*", re.ASCII)
HEALTH_SERVICE = "/grpc.health.v1.Health/"
HEALTH_CHECKERS = ("Envoy/HC", "kube-probe/", "GoogleHC/", "ELB-HealthChecker/")
_ID = re.compile(r"[0-9a-fA-F]{8}")


@dataclass(frozen=True, slots=True)
class Site:
    """Where logs are compiled. ``runtime`` are the shares (0 to 1) that runtime keys stand for."""

    whereabouts: Whereabouts
    dice: Dice
    runtime: Mapping[str, float]


def compile_filter(config: model.AccessLogFilter | None, site: Site) -> Passes:
    """Raises :class:`meshlib.ConfigError` for an expression that is none."""
    match config:
        case None:
            return lambda _: True
        case model.AndFilter(filters):
            every = [compile_filter(each, site) for each in filters]
            return lambda event: all(passes(event) for passes in every)
        case model.OrFilter(filters):
            some = [compile_filter(each, site) for each in filters]
            return lambda event: any(passes(event) for passes in some)
        case model.StatusCodeFilter():
            return _compared(answer_code, config, site)
        case model.DurationFilter():
            return _compared(duration, config, site)
        case model.RuntimeFilter():
            return _share(config, site)
        case _:
            return _of_a_call(config)


def _of_a_call(
    config: model.NotHealthCheckFilter
    | model.TraceableFilter
    | model.HeaderFilter
    | model.ResponseFlagFilter
    | model.GrpcStatusFilter
    | model.ExpressionFilter,
) -> Passes:
    match config:
        case model.NotHealthCheckFilter():
            return lambda event: not is_health_check(event)
        case model.TraceableFilter():
            return is_traced
        case model.HeaderFilter(header):
            test = header_condition(header, fullmatch).test
            return lambda event: test(event.record.sent or event.record.request)
        case model.ResponseFlagFilter(flags):
            wanted = frozenset(flags or answers.LONG_FLAGS)
            return lambda event: not wanted.isdisjoint(answers.flags(event))
        case model.GrpcStatusFilter(statuses=statuses, exclude=exclude):
            return lambda event: (_grpc_status(event) in statuses) is not exclude
        case model.ExpressionFilter(text):
            return _expression(text)


def _expression(text: str) -> Passes:
    expression = compile_expression(text)
    plain = _OF_CODE.fullmatch(text)
    if plain is None:
        return lambda event: expression.holds(attributes(event, expression.roots))
    compare, value = OPERATORS[plain[1]], int(plain[2])
    return lambda event: compare(answer_code(event), value)


def _compared(
    read: Callable[[CallEnded], int],
    config: model.StatusCodeFilter | model.DurationFilter,
    site: Site,
) -> Passes:
    compare, value = COMPARED[config.comparison], config.value
    key, runtime = config.runtime_key, site.runtime
    if not key:
        return lambda event: compare(read(event), value)

    def passes(event: CallEnded) -> bool:
        share = runtime.get(key)
        return compare(read(event), value if share is None else round(share * 100))

    return passes


def _share(config: model.RuntimeFilter, site: Site) -> Passes:
    fraction, dice, runtime = config.fraction, site.dice, site.runtime
    share, parts = fraction.numerator / fraction.denominator, fraction.denominator
    independent = config.use_independent_randomness

    def passes(event: CallEnded) -> bool:
        named = None if independent else _ID.match(request_id(event.record) or "")
        roll = dice() if named is None else int(named[0], 16) % parts / parts
        return roll < runtime.get(fraction.runtime_key, share)

    return passes


def is_health_check(event: CallEnded) -> bool:
    request = event.record.request
    if request.is_grpc:
        return request.path.startswith(HEALTH_SERVICE)
    return (request.header("user-agent") or "").startswith(HEALTH_CHECKERS)


def is_traced(event: CallEnded) -> bool:
    meter = event.record.request.meter
    trace = None if meter is None else meter.trace
    return trace is not None and bool(getattr(trace, "sampled", True))


def _grpc_status(event: CallEnded) -> int:
    """Of other calls, what their code would be to a gRPC caller, as Envoy asks."""
    found = answers.grpc_status(event)
    return http_to_grpc(answer_code(event)) if found is None else found
