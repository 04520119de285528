import pytest

from meshlib import ConfigError
from meshlib.dataplane import Cause, Failure, Meter, Response
from meshlib.model import Exact, HeaderMatcher, RuntimeFraction
from meshlib.model.telemetry import (
    AndFilter,
    Comparison,
    DurationFilter,
    ExpressionFilter,
    GrpcStatusFilter,
    HeaderFilter,
    NotHealthCheckFilter,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
    TraceableFilter,
)
from meshlib.telemetry.access_log.filters import OPERATORS, compile_filter


@pytest.fixture
def passes(site):
    def passes(config, event):
        return compile_filter(config, site)(event)

    return passes


def test_without_a_filter_every_call_is_told(passes, call):
    assert passes(None, call())


@pytest.mark.parametrize(
    ("comparison", "told"),
    [
        (Comparison.EQ, (False, True, False)),
        (Comparison.GE, (False, True, True)),
        (Comparison.LE, (True, True, False)),
        (Comparison.NE, (True, False, True)),
    ],
)
def test_codes_and_durations_are_compared(passes, call, comparison, told):
    codes = StatusCodeFilter(comparison=comparison, value=404)
    assert tuple(passes(codes, call(Response(code))) for code in (403, 404, 405)) == told
    times = DurationFilter(comparison=comparison, value=200)
    assert tuple(passes(times, call(duration=d)) for d in (0.1, 0.2, 0.3)) == told


def test_a_runtime_key_stands_in_for_a_value(passes, call):
    slow = DurationFilter(comparison=Comparison.GE, value=200, runtime_key="slow")
    assert passes(slow, call(duration=0.06))
    unknown = DurationFilter(comparison=Comparison.GE, value=200, runtime_key="unknown")
    assert not passes(unknown, call(duration=0.06))


def test_a_share_is_of_the_same_calls_everywhere(passes, call):
    first, none = call(), call(headers=())  # the id begins with 0000000a
    assert passes(RuntimeFilter(fraction=RuntimeFraction(numerator=11)), first)
    assert not passes(RuntimeFilter(fraction=RuntimeFraction(numerator=10)), first)
    assert passes(RuntimeFilter(fraction=RuntimeFraction(numerator=31)), none)
    assert not passes(RuntimeFilter(fraction=RuntimeFraction(numerator=30)), none)
    alone = RuntimeFilter(fraction=RuntimeFraction(numerator=30), use_independent_randomness=True)
    assert not passes(alone, first)
    keyed = RuntimeFilter(fraction=RuntimeFraction(numerator=0, runtime_key="slow"))
    assert passes(keyed, first)


def test_health_checks_may_be_left_out(passes, call):
    config = NotHealthCheckFilter()
    assert passes(config, call())
    assert not passes(config, call(path="/grpc.health.v1.Health/Check", is_grpc=True))
    assert not passes(config, call(headers=(("user-agent", "kube-probe/1.30"),)))


def test_only_traced_calls_may_be_told(passes, call):
    class Span:
        sampled = False

    assert passes(TraceableFilter(), call(meter=Meter(trace=object())))
    assert not passes(TraceableFilter(), call(meter=Meter(trace=Span())))
    assert not passes(TraceableFilter(), call(meter=Meter()))
    assert not passes(TraceableFilter(), call())


def test_headers_choose(passes, call):
    config = HeaderFilter(HeaderMatcher(name="user-agent", match=Exact("curl/8")))
    assert passes(config, call())
    assert not passes(config, call(headers=()))


def test_flags_choose(passes, call):
    late = call(Failure(Cause.TIMEOUT))
    assert passes(ResponseFlagFilter(), late)
    assert not passes(ResponseFlagFilter(), call())
    assert passes(ResponseFlagFilter(("UT", "NR")), late)
    assert not passes(ResponseFlagFilter(("NR",)), late)


def test_grpc_statuses_choose(passes, call):
    config = GrpcStatusFilter(statuses=(14,))
    assert passes(config, call(Failure(Cause.CONNECT), is_grpc=True))
    assert passes(config, call(Response(503)))  # what it would be to a gRPC caller
    assert not passes(config, call(is_grpc=True))
    assert passes(GrpcStatusFilter(statuses=(14,), exclude=True), call(is_grpc=True))


def test_expressions_choose(passes, call):
    config = ExpressionFilter("response.code >= 500 || request.path.startsWith('/books')")
    assert passes(config, call())
    assert not passes(config, call(path="/"))
    assert passes(config, call(Response(500), path="/"))
    with pytest.raises(ConfigError):
        passes(ExpressionFilter("1 +"), call())


def test_filters_are_combined(passes, call):
    bad = StatusCodeFilter(comparison=Comparison.GE, value=500)
    slow = DurationFilter(comparison=Comparison.GE, value=200)
    event = call(Response(500), duration=0.1)
    assert not passes(AndFilter((bad, slow)), event)
    assert passes(OrFilter((bad, slow)), event)


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize("code", [403, 404, 503])
def test_a_condition_on_the_code_alone_holds_as_its_expression_does(passes, call, sign, code):
    alone = ExpressionFilter(f"response.code {sign} 404")
    judged = ExpressionFilter(f"response.code {sign} 404 && true")
    event = call(Response(code))
    assert passes(alone, event) is passes(judged, event)
    assert passes(alone, event) is OPERATORS[sign](code, 404)
