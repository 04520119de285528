from math import inf
from threading import TIMEOUT_MAX
from typing import Any

import pytest

from meshlib.dataplane import Override, Request, Send
from meshlib.dataplane.deadline import LONGEST, route_timeout
from meshlib.dataplane.upstream.retry import backoff
from meshlib.model import MaxStreamDuration, RetryBackOff, RetryPolicy, RouteAction
from meshlib.testing import REVIEWS, VirtualMesh, get, one_service, play


def action(
    timeout: float | None = None, stream: float | None = None, header: float | None = None
) -> RouteAction:
    durations = MaxStreamDuration(max_stream_duration=stream, grpc_timeout_header_max=header)
    unset = stream is None and header is None
    return RouteAction(
        cluster="c", timeout=timeout, max_stream_duration=None if unset else durations
    )


@pytest.mark.parametrize(
    ("made", "http", "unary", "streaming"),
    [
        (action(), 15.0, None, None),
        (action(3.0), 3.0, 3.0, None),
        (action(0.0), None, None, None),
        (action(3.0, stream=5.0), 3.0, 5.0, 5.0),
        (action(3.0, stream=2.0), 2.0, 2.0, 2.0),
        (action(0.0, stream=2.0), 2.0, 2.0, 2.0),
        (action(3.0, stream=0.0), 3.0, None, None),
        (action(3.0, stream=5.0, header=2.0), 3.0, 2.0, 2.0),
        (action(3.0, stream=5.0, header=0.0), 3.0, None, None),
        (action(header=2.0), 15.0, 2.0, 2.0),
    ],
)
def test_how_long_a_call_may_take(
    made: RouteAction, http: float | None, unary: float | None, streaming: float | None
) -> None:
    assert route_timeout(made, is_grpc=False, streaming=False) == http
    assert route_timeout(made, is_grpc=True, streaming=False) == unary
    assert route_timeout(made, is_grpc=True, streaming=True) == streaming


def test_an_empty_limit_on_streams_leaves_the_timeout() -> None:
    made = RouteAction(cluster="c", timeout=3.0, max_stream_duration=MaxStreamDuration())
    assert route_timeout(made, is_grpc=True, streaming=False) == 3.0


@pytest.mark.parametrize(
    ("made", "http", "grpc"),
    [
        (action(), 4.0, 4.0),
        (action(3.0), 3.0, 4.0),
        (action(0.0), 4.0, 4.0),
        (action(9.0, stream=5.0), 5.0, 5.0),
        (action(9.0, stream=0.0), 9.0, None),
        (action(9.0, header=0.0), 4.0, None),
    ],
)
def test_the_listener_limits_what_its_routes_do_not(
    made: RouteAction, http: float | None, grpc: float | None
) -> None:
    assert route_timeout(made, is_grpc=False, streaming=False, listener=4.0) == http
    assert route_timeout(made, is_grpc=True, streaming=True, listener=4.0) == grpc


def test_a_grpc_callers_deadline_is_brought_forward_while_any_time_is_left() -> None:
    durations = MaxStreamDuration(grpc_timeout_header_offset=0.5)
    forward = RouteAction(cluster="reviews", max_stream_duration=durations)

    def sent(deadline: float | None, *, is_grpc: bool = True) -> float | None:
        mesh = VirtualMesh(one_service(action=forward))
        request = Request(REVIEWS, "POST", "/", is_grpc=is_grpc, deadline=deadline)
        timeout: float | None = play(mesh, request).trace[0]["timeout"]
        return timeout

    assert sent(2.0) == 1.5
    assert sent(0.5) == 0.5
    assert sent(None) is None
    assert sent(2.0, is_grpc=False) == 2.0


AGES = 315_576_000_000.0
"""Ten thousand years, the most that a configuration can say; no thread can wait so long."""


def given(mesh: VirtualMesh, **fields: Any) -> float | None:
    """The time that an attempt has."""
    effect = next(mesh.engine.outbound(get(REVIEWS, **fields)))
    assert isinstance(effect, Send)
    return effect.timeout


def test_no_limit_of_a_configuration_is_longer_than_a_thread_can_wait() -> None:
    endless = RouteAction(cluster="reviews", timeout=AGES)
    retried = RouteAction(
        cluster="reviews", timeout=0.0, retry_policy=RetryPolicy(per_try_timeout=AGES)
    )
    for action in (endless, retried):
        mesh = VirtualMesh(one_service(action=action))
        assert given(mesh) == LONGEST
        assert given(mesh, override=Override(timeout=inf)) == LONGEST
    assert LONGEST < TIMEOUT_MAX


def test_a_backoff_is_no_longer_than_a_thread_can_wait() -> None:
    ages = RetryPolicy(retry_back_off=RetryBackOff(base_interval=AGES))
    assert backoff(ages, 1, 0.5) == LONGEST / 2
