"""Callers who would blind those who look at metrics."""

from meshlib.dataplane import Response, StreamBegan
from meshlib.exposition import exposed
from meshlib.telemetry.metrics import Recorder
from meshlib.telemetry.metrics.istio import istio_metrics
from meshlib.telemetry.peers import PeerFacts, Peers


def everybody(text):
    return PeerFacts(workload=text)


def test_callers_with_ever_new_names_take_no_room_of_what_is_called_from_here(calls):
    recorder = Recorder(peers=Peers(decode=everybody), most=20)
    for number in range(100):
        hostile = calls.ended(inbound=True)
        hostile.record.request.meter.peer = f"attacker-{number}"
        recorder(hostile)
    recorder(calls.ended())
    text = exposed(istio_metrics(recorder))
    assert sum(line.startswith("istio_requests_total") for line in text.splitlines()) == 22
    told = [line for line in text.splitlines() if 'reporter="source"' in line]
    assert all('destination_service_name="reviews"' in line for line in told)
    assert told
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
    assert not recorder.streams
