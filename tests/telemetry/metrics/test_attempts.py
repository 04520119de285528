"""Every attempt of a call is counted once, with its own time, status and messages."""

from operator import le

import pytest

from meshlib.dataplane import (
    AttemptCancelled,
    AttemptFailed,
    CallEnded,
    Cause,
    Engine,
    Event,
    Failure,
    Meter,
    Options,
    Request,
    StreamBegan,
)
from meshlib.model import (
    CircuitBreakers,
    HedgePolicy,
    RetryBudget,
    RetryPolicy,
    RouteAction,
    Thresholds,
)
from meshlib.telemetry.metrics import Recorder
from meshlib.telemetry.metrics.grpc import grpc_metrics
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    C,
    VirtualMesh,
    always,
    fails_with,
    get,
    grpc_status,
    hangs_up,
    ok,
    one_service,
    play,
    refuses,
    rpc,
    said,
    slow,
)

BEGAN = 100_000.0
"""A clock that has been running for long: what is never set would show."""
OK, DOWN = grpc_status(0), grpc_status(14)
TWO = HedgePolicy(initial_requests=2)
FIVES = RetryPolicy(retry_on=("5xx",), num_retries=3)
RETRY = RetryPolicy(retry_on=("unavailable",), num_retries=2)


class Counted:
    """One call of gRPC over a mesh whose events a recorder hears as they happen."""

    def __init__(self, upstreams, *, hedge=None, retry=None, meter=None, dice=0.0, **limits):
        action = RouteAction(cluster="reviews", hedge_policy=hedge, retry_policy=retry)
        breakers = CircuitBreakers(default=Thresholds(**limits))
        snapshot = one_service(upstreams, action=action, circuit_breakers=breakers)
        complete = Options(complete=True)
        self.mesh = VirtualMesh(snapshot, upstreams, dice=always(dice), options=complete)
        self.mesh.clock.now = BEGAN
        self.recorder = Recorder(clock=self.mesh.clock)
        engine: Engine = self.mesh.engine
        keep = engine.around.observe

        def observe(event: Event) -> None:
            keep(event)
            self.recorder(event)

        engine.around.observe = observe
        self.request: Request = rpc(REVIEWS, meter=meter or Meter())

    def play(self, **how):
        play(self.mesh, self.request, **how)
        return self

    def ended(self) -> CallEnded:
        (found,) = (event for event in self.mesh.events if isinstance(event, CallEnded))
        return found

    def attempts(self) -> dict[str, list[float]]:
        """By status: how many, and how long they took together."""
        return {
            status: [value.count, pytest.approx(value.total)]
            for status, value in self.told("client.attempt.duration").items()
        }

    def started(self):
        return list(self.told("client.attempt.started", "grpc.target").values())

    def told(self, name: str, label: str = "grpc.status"):
        (metric,) = (one for one in grpc_metrics(self.recorder) if one.name == f"grpc.{name}")
        return {dict(sample.labels).get(label, ""): sample.value for sample in metric.samples}

    def numbers(self, name: str) -> list[float]:
        """Of attempts or calls in all, and their sum."""
        values = self.told(name).values()
        return [sum(one.count for one in values), sum(one.total for one in values)]


def test_a_cancelled_loser_is_an_attempt_of_its_own():
    call = Counted({A: slow(5.0, OK), B: slow(0.2, OK)}, hedge=TWO).play()
    assert call.attempts() == {"OK": [1, 0.2], "CANCELLED": [1, 0.2]}


def test_the_winner_has_the_time_since_it_was_sent():
    late = HedgePolicy(initial_requests=3, hedging_delay=0.1)
    call = Counted({A: slow(5.0, OK), B: slow(0.05, OK), C: OK}, hedge=late).play()
    assert call.attempts() == {"OK": [1, 0.05], "CANCELLED": [1, 0.15]}
    assert call.ended().record.attempt_began == pytest.approx(BEGAN + 0.1)


def test_the_first_attempt_may_win_after_a_second_one_began():
    late = HedgePolicy(initial_requests=2, hedging_delay=0.1)
    call = Counted({A: slow(0.3, OK), B: slow(5.0, OK)}, hedge=late).play()
    assert call.attempts() == {"OK": [1, 0.3], "CANCELLED": [1, 0.2]}
    assert call.ended().record.attempt_began == BEGAN


def test_failed_attempts_beside_each_other_have_times_of_their_own():
    three = HedgePolicy(initial_requests=3, hedging_delay=1.0)
    upstreams = {A: slow(0.2, DOWN), B: slow(0.3, DOWN), C: slow(0.4, DOWN)}
    call = Counted(upstreams, hedge=three).play()
    assert call.attempts() == {"UNAVAILABLE": [3, 0.9]}


def test_a_failed_attempt_is_told_with_the_endpoint_and_the_moment_it_was_sent():
    late = HedgePolicy(initial_requests=2, hedging_delay=0.1)
    call = Counted({A: slow(0.3, DOWN), B: slow(0.5, OK)}, hedge=late)
    seen = []
    engine = call.mesh.engine
    before = engine.around.observe

    def observe(event):
        before(event)
        if isinstance(event, AttemptFailed):
            seen.append((str(event.record.endpoint.address), event.record.attempt_began))

    engine.around.observe = observe
    call.play()
    assert seen == [(A, BEGAN)]


def test_a_caller_who_hangs_up_cancels_each_attempt_once():
    call = Counted({A: slow(1.0, OK), B: hangs_up()}, hedge=TWO)
    call.play()
    assert call.attempts() == {"CANCELLED": [2, 0.0]}
    cancelled = [event for event in call.mesh.events if isinstance(event, AttemptCancelled)]
    assert len(cancelled) == 2


def test_an_attempt_that_was_to_be_followed_and_was_not_is_counted_once():
    call = Counted({A: slow(0.2, DOWN), B: OK}, hedge=TWO, max_retries=0).play()
    assert call.attempts() == {"UNAVAILABLE": [1, 0.2]}
    assert call.ended().record.attempts == 1


def test_a_retry_that_finds_no_room_counts_no_attempt_twice():
    call = Counted({A: slow(0.2, DOWN)}, retry=RETRY, max_requests=1)
    others = call.mesh.engine.clusters["reviews"].breaker.concurrency
    call.mesh.at(BEGAN + 0.1, lambda: setattr(others, "active", 2))
    call.play()
    assert call.ended().record.attempts == 1
    assert said(call.ended().outcome) == "UO"
    assert call.attempts() == {"UNAVAILABLE": [1, 0.2]}


def test_retries_are_counted_as_they_are_made():
    call = Counted({A: [slow(0.2, DOWN), slow(0.3, OK)]}, retry=RETRY).play()
    assert call.attempts() == {"UNAVAILABLE": [1, 0.2], "OK": [1, 0.3]}
    assert call.recorder.attempts.retries == {("reviews", "retry"): 1}


def test_failed_attempts_are_told_by_what_came_of_them():
    times = [grpc_status(14), slow(9.0, OK), slow(0.1, OK)]
    retry = RetryPolicy(retry_on=("unavailable", "5xx"), num_retries=2, per_try_timeout=1.0)
    call = Counted({A: times}, retry=retry).play()
    assert call.recorder.attempts.failed == {
        ("reviews", "200", "14", "-"): 1,
        ("reviews", "200", "4", "UT"): 1,
    }
    web = Counted({A: refuses(), B: [fails_with(503), ok()]}, retry=FIVES)
    web.request = get(REVIEWS)
    web.play()
    assert web.recorder.attempts.failed["reviews", "503", "", "-"] == 1
    assert web.recorder.attempts.failed["reviews", "503", "", "UF"] >= 1
    assert not web.recorder.attempts.over


def test_hedges_are_counted_as_they_are_made():
    call = Counted({A: slow(5.0, OK), B: slow(0.2, OK)}, hedge=TWO).play()
    assert call.recorder.attempts.retries == {("reviews", "hedge"): 1}


def test_every_attempt_has_sent_and_received_something():
    meter = Meter(request_bytes=105, request_messages=1, response_bytes=55, response_messages=1)
    call = Counted({A: [DOWN, OK]}, retry=RETRY, meter=meter).play()
    assert call.numbers("client.attempt.sent_total_compressed_message_size") == [2, 200]
    assert call.numbers("client.attempt.rcvd_total_compressed_message_size") == [2, 100]


def test_streams_are_weighed_by_all_their_messages():
    meter = Meter(request_bytes=3000, request_messages=200, response_bytes=0, response_messages=0)
    call = Counted({A: OK}, meter=meter)
    call.request = rpc(REVIEWS, meter=meter, streaming=True)
    call.play()
    (sent,) = call.told("client.attempt.sent_total_compressed_message_size").values()
    assert (sent.total, sent.counts[2], sent.count) == (2000, 1, 1)
    (received,) = call.told("client.attempt.rcvd_total_compressed_message_size").values()
    assert (received.total, received.counts[0], received.count) == (0, 1, 1)


@pytest.mark.parametrize(
    ("octets", "bucket"), [(5, 0), (6, 1), (1029, 1), (1030, 2), (2053, 2), (2054, 3)]
)
def test_the_frame_of_a_message_is_not_part_of_it(octets, bucket):
    meter = Meter(request_bytes=octets, request_messages=1)
    call = Counted({A: OK}, meter=meter).play()
    (sent,) = call.told("client.attempt.sent_total_compressed_message_size").values()
    assert (sent.total, sent.counts[bucket], sent.count) == (octets - 5, 1, 1)


def test_retries_of_a_call_are_told_with_the_time_between_them():
    call = Counted({A: [DOWN, DOWN, OK, OK]}, retry=RETRY, dice=0.5).play()
    retries, delay = call.numbers("client.call.retries"), call.numbers("client.call.retry_delay")
    assert retries == [1, 2]
    assert delay == [1, pytest.approx(0.05)]
    (told,) = call.told("client.call.retries").values()
    assert (told.bounds, told.counts) == ((1, 2, 3, 4, 5), (0, 1, 0, 0, 0, 0))
    call.play()
    assert call.numbers("client.call.retries") == [1, 2]


def test_who_was_not_reached_is_retried_transparently():
    call = Counted({A: refuses(), B: refuses(), C: OK}).play()
    (told,) = call.told("client.call.transparent_retries").values()
    assert (told.bounds, told.counts) == ((1, 2, 3, 4, 5, 10), (0, 1, 0, 0, 0, 0, 0))
    assert call.told("client.call.retries") == {}


def test_hedges_of_a_call_leave_no_time_between_attempts():
    call = Counted({A: slow(5.0, OK), B: slow(0.2, OK)}, hedge=TWO).play()
    (told,) = call.told("client.call.hedges").values()
    assert (told.count, told.total) == (1, 1)
    assert call.told("client.call.retry_delay") == {}


def test_a_stream_between_two_attempts_is_not_under_way():
    call = Counted({A: [slow(0.2, DOWN), slow(0.3, OK)]}, retry=RETRY, dice=0.5)
    call.request = rpc(REVIEWS, meter=Meter(), streaming=True)
    seen = []
    for after in (0.1, 0.21, 0.3):
        call.mesh.at(BEGAN + after, lambda: seen.append(sum(call.started())))
    call.play()
    assert [*seen, *call.started()] == [1, 1, 2, 2]


def test_losers_have_sent_what_the_winner_sent_and_received_nothing():
    meter = Meter(request_bytes=105, request_messages=1, response_bytes=55, response_messages=1)
    call = Counted({A: slow(5.0, OK), B: slow(0.2, OK)}, hedge=TWO, meter=meter).play()
    sent = call.told("client.attempt.sent_total_compressed_message_size")
    received = call.told("client.attempt.rcvd_total_compressed_message_size")
    assert {status: value.total for status, value in sent.items()} == {"OK": 100, "CANCELLED": 100}
    assert {status: value.total for status, value in received.items()} == {"OK": 50, "CANCELLED": 0}


def test_who_was_not_reached_was_sent_nothing():
    meter = Meter(request_bytes=105, request_messages=1)
    call = Counted({A: refuses(), B: OK}, meter=meter).play()
    sent = call.told("client.attempt.sent_total_compressed_message_size")
    assert {status: value.total for status, value in sent.items()} == {"OK": 100, "UNAVAILABLE": 0}
    alone = Counted({A: refuses()}, meter=meter).play()
    (sent,) = alone.told("client.attempt.sent_total_compressed_message_size").values()
    assert (sent.count, sent.total, sent.counts[0]) == (1, 0, 1)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_call_that_leaves_the_mesh_is_an_attempt_too(streaming):
    call = Counted({})
    call.mesh.script({"elsewhere:80": slow(0.2, OK)})
    call.request = rpc("elsewhere:80", meter=Meter(), streaming=streaming)
    seen = []
    call.mesh.at(BEGAN + 0.1, lambda: seen.append(sum(call.started())))
    call.play()
    assert call.ended().record.attempt_began == BEGAN
    assert call.attempts() == {"OK": [1, 0.2]}
    assert seen == [int(streaming)]


def test_a_call_without_an_attempt_weighs_nothing():
    call = Counted({A: ok()}, max_requests=0).play()
    assert call.numbers("client.attempt.duration") == [0, 0]
    assert call.numbers("client.attempt.sent_total_compressed_message_size") == [0, 0]
    assert call.numbers("client.call.duration")[0] == 1


def test_the_last_attempt_of_a_call_that_finds_no_further_room_weighs_once():
    meter = Meter(request_bytes=105, request_messages=1)
    nothing = RetryBudget(budget_percent=0.0, min_retry_concurrency=0)
    call = Counted({A: DOWN, B: OK}, hedge=TWO, meter=meter, retry_budget=nothing).play()
    assert call.numbers("client.attempt.duration")[0] == 1
    assert call.numbers("client.attempt.sent_total_compressed_message_size") == [1, 100]


class Busy:
    """A lock that others had until now: whenever it is taken, calls have ended meanwhile."""

    def __init__(self, happens):
        self._happens = happens

    def __enter__(self):
        self._happens()

    def __exit__(self, *error):
        pass


def test_no_counter_goes_back_while_calls_begin_and_end(calls):
    recorder = Recorder(clock=lambda: 3.0)
    going = []

    def happens():
        """A stream ends, another one is told to have failed, a third begins; one never was."""
        for ended in going[:2]:
            going.remove(ended)
            recorder(ended)
        stream = calls.ended(grpc=True, path="/b.R/Talk", streaming=True, attempt_began=0.1)
        stream.record.attempts = 1
        recorder(StreamBegan(stream.record))
        going.append(stream)
        recorder(calls.ended(Failure(Cause.OVERFLOW), grpc=True, path="/b.R/Talk"))
        served = calls.ended(grpc=True, path="/b.R/Talk", streaming=True, inbound=True)
        recorder(StreamBegan(served.record))
        going.append(served)

    before = {}
    for _ in range(20):
        happens()
        now = {}
        for metric in grpc_metrics(recorder, lock=Busy(happens)):
            for sample in metric.samples:
                value = sample.value
                found = [value] if isinstance(value, int | float) else list(value.counts)
                now[metric.name, sample.labels] = found
        for key, counts in before.items():
            assert all(map(le, counts, now[key])), key
        before = now
    lasting = {key: sum(counts) for key, counts in before.items()}
    assert min(lasting.values()) >= 0


def test_a_stream_that_was_let_in_and_one_that_was_not_are_both_counted_once(calls):
    recorder = Recorder(clock=lambda: 3.0)
    let_in, denied = (
        calls.ended(grpc=True, path="/b.R/Talk", streaming=True, inbound=True) for _ in range(2)
    )
    recorder(StreamBegan(let_in.record))
    recorder(denied)
    recorder(let_in)
    (started,) = (m for m in grpc_metrics(recorder) if m.name == "grpc.server.call.started")
    assert [sample.value for sample in started.samples] == [2]
