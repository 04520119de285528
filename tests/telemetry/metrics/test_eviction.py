"""What is counted of those who are gone makes room, some time later."""

import threading
from types import SimpleNamespace

import pytest

from meshlib.dataplane import (
    AttemptFailed,
    Cause,
    EndpointEjected,
    EndpointSpared,
    Failure,
    Response,
    RetryDenied,
    TriedAgain,
)
from meshlib.telemetry.metrics import Recorder
from meshlib.telemetry.metrics.eviction import EVERY, IDLE, KEPT, Eviction
from meshlib.telemetry.peers import PeerFacts, Peers
from meshlib.testing import FakeClock

CLUSTER = "outbound|9080||reviews.default.svc.cluster.local"
OTHER = "outbound|80||ratings.default.svc.cluster.local"
BOTH = (CLUSTER, OTHER)


def everybody(text):
    return PeerFacts(workload=text)


class Member:
    """Counts, and reads what it counted."""

    def __init__(self, calls, most=2000):
        self.clock = FakeClock()
        self.calls = calls
        self.peers = Peers(decode=everybody)
        self.recorder = Recorder(peers=self.peers, most=most, clock=self.clock)
        self.evict = Eviction(self.recorder, self.peers, threading.Lock(), self.clock)

    def call(self, outcome=None, *, caller="", times=1, **call):
        for _ in range(times):
            ended = self.calls.ended(outcome, **call)
            ended.record.request.meter.peer = caller
            self.recorder(ended)

    def read(self, clusters=BOTH, after=0.0):
        self.clock.jump(after)
        self.evict(clusters)

    def counted(self):
        return {kind.cluster: sum(one.seconds) for (_, kind), one in self.recorder.series.items()}

    def callers(self):
        return {kind.source.workload for _, kind in self.recorder.series if kind.inbound}


@pytest.fixture
def member(calls):
    return Member(calls)


def test_a_cluster_that_is_gone_is_told_of_for_a_while(member):
    member.call()
    member.call(cluster=OTHER)
    member.read()
    member.read([OTHER], after=2 * KEPT)
    assert set(member.counted()) == {CLUSTER, OTHER}
    member.read([OTHER], after=KEPT - 1)
    assert set(member.counted()) == {CLUSTER, OTHER}
    member.read([OTHER], after=EVERY)
    assert set(member.counted()) == {OTHER}


def test_what_comes_back_begins_anew(member):
    member.call(times=3)
    member.read([])
    member.read([], after=KEPT)
    member.call()
    assert member.counted() == {CLUSTER: 1}


def test_a_cluster_that_is_back_in_time_keeps_what_was_counted(member):
    member.call()
    member.read([])
    member.read(after=KEPT - 1)
    member.read([], after=EVERY)
    member.read([], after=KEPT - 1)
    assert member.counted() == {CLUSTER: 1}


def test_calls_that_last_longer_than_their_cluster_are_told_of(member):
    member.call()
    member.read([])
    member.clock.jump(KEPT - EVERY)
    member.call()
    member.read([])
    member.read([], after=EVERY)
    assert member.counted() == {CLUSTER: 2}
    member.read([], after=KEPT)
    assert member.counted() == {}


def test_nobody_looks_more_than_once_a_minute(member):
    member.call()
    member.read()
    member.read([], after=EVERY - 1)
    member.read([], after=KEPT)
    assert member.counted() == {CLUSTER: 1}


def test_a_call_that_was_counted_meanwhile_saves_its_series(member):
    class Busy:
        def __enter__(self):
            member.call()

        def __exit__(self, *_):
            pass

    member.call()
    member.evict = Eviction(member.recorder, member.peers, Busy(), member.clock)
    member.read([])
    member.read([], after=KEPT)
    assert member.counted() == {CLUSTER: 2}


def test_all_else_that_was_counted_of_a_cluster_goes_too(member):
    recorder = member.recorder
    record = member.calls.ended(grpc=True, path="/b.R/Get", cluster=CLUSTER).record
    recorder(AttemptFailed(record, Failure(Cause.RESET, "gone"), "retry"))
    recorder(TriedAgain(record, "retry"))
    recorder(EndpointEjected(CLUSTER, SimpleNamespace(), "consecutive_5xx", 1.0))
    recorder(EndpointSpared(CLUSTER, "success_rate", "max_ejection_overflow"))
    member.call(mirror=True)
    recorder(RetryDenied(CLUSTER, "overflow"))
    told = (
        recorder.attempts.over,
        recorder.attempts.failed,
        recorder.denied,
        recorder.attempts.retries,
        recorder.ejections,
        recorder.spared,
    )
    assert all(told)
    member.read([])
    member.read([], after=KEPT)
    assert not any(told)
    assert not recorder.mirrors


def test_methods_of_services_that_are_gone_leave_room_for_others(member):
    for number in range(200):
        member.call(grpc=True, path=f"/b.R/Get{number}")
    member.read([])
    member.read([], after=KEPT)
    member.call(grpc=True, path="/b.R/New", cluster=OTHER)
    assert [kind.method for _, kind in member.recorder.series] == ["b.R/New"]


def test_while_there_is_room_what_happens_seldom_stays(member):
    member.call(caller="nightly", inbound=True, secure=True)
    member.read()
    member.read(after=24 * IDLE)
    assert member.callers() == {"nightly"}


def test_where_there_is_none_it_makes_room_for_what_happens(calls):
    member = Member(calls, most=20)
    member.call(caller="nightly", inbound=True, secure=True)
    member.read()
    member.clock.jump(IDLE)
    for number in range(19):
        member.call(caller=f"page-{number}", inbound=True, secure=True)
    member.read()
    assert "nightly" not in member.callers()
    assert len(member.callers()) == 19
    member.call(caller="new", inbound=True, secure=True)
    assert "new" in member.callers()


def test_callers_of_the_past_leave_room_for_those_of_today(member):
    """Each deployment brings callers of another revision."""
    for number in range(150):
        member.call(caller=f"page-{number}", inbound=True)
    member.read()
    assert "unknown" in member.callers()
    member.read(after=IDLE)
    member.call(caller="page-new", inbound=True)
    assert member.callers() == {"page-new", "unknown"}


def test_callers_who_make_up_names_drive_nobody_else_out(member):
    member.call(caller="nightly", inbound=True, secure=True)
    member.call(cluster=OTHER)
    member.read()
    member.clock.jump(IDLE)
    for number in range(300):
        member.call(caller=f"attacker-{number}", inbound=True)
    member.read()
    assert "nightly" in member.callers()
    assert OTHER in member.counted()


def test_what_was_counted_together_stays(calls):
    member = Member(calls, most=1)
    for status in (200, 201):
        member.call(Response(status))
    member.read([])
    member.read([], after=IDLE)
    assert member.counted() == {"other": 1}
    member.call()
    assert member.counted() == {"other": 1, CLUSTER: 1}
