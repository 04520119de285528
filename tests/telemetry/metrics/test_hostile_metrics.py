"""Callers who would blind those who look at metrics."""

from meshlib.dataplane import Response, StreamBegan
from meshlib.exposition import exposed
from meshlib.telemetry.metrics import Recorder
from meshlib.telemetry.metrics.istio import istio_metrics
from meshlib.telemetry.peers import PeerFacts, Peers


def everybody(text):
    return PeerFacts(workload=text)


def requests(recorder, mark):
    lines = exposed(istio_metrics(recorder)).splitlines()
    return [one for one in lines if one.startswith("istio_requests_total") and mark in one]


def test_callers_with_ever_new_names_have_an_eighth_of_the_room(calls):
    recorder = Recorder(peers=Peers(decode=everybody), most=80)
    for number in range(100):
        hostile = calls.ended(inbound=True)
        hostile.record.request.meter.peer = f"attacker-{number}"
        recorder(hostile)
    assert len(requests(recorder, 'source_workload="attacker-')) == 10
    (nameless,) = requests(recorder, 'source_workload="unknown"')
    assert nameless.endswith(" 90")
    assert recorder.crowded == 90


def test_callers_that_prove_who_they_are_have_all_of_it(calls):
    recorder = Recorder(peers=Peers(decode=everybody), most=80)
    for number in range(100):
        known = calls.ended(inbound=True, secure=True)
        known.record.request.meter.peer = f"page-{number}"
        recorder(known)
    assert len(requests(recorder, 'source_workload="page-')) == 80
    assert len(requests(recorder, 'source_workload="other"')) == 1


def test_answers_of_ever_new_kinds_take_no_room_of_what_is_called_from_here(calls):
    recorder = Recorder(most=20)
    for status in range(200, 300):
        recorder(calls.ended(Response(status), inbound=True))
    recorder(calls.ended())
    (told,) = requests(recorder, 'reporter="source"')
    assert 'destination_service_name="reviews"' in told
    assert recorder.crowded == 80


def test_nothing_is_logged_under_the_lock(calls, caplog):
    later = []
    recorder = Recorder(most=1, later=later.append)
    for status in (200, 201, 202):
        recorder(calls.ended(Response(status)))
    assert not caplog.records
    assert len(later) == 1
    later[0]()
    assert "more than 1 kinds of calls" in caplog.text


def test_a_mirrored_stream_that_is_over_is_under_way_no_more(calls):
    recorder = Recorder()
    ended = calls.ended(grpc=True, path="/b.R/Get", streaming=True, mirror=True)
    recorder(StreamBegan(ended.record))
    recorder(ended)
    assert not recorder.attempts.streams
