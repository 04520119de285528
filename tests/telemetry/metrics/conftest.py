"""Calls as recorders hear of them."""

from types import SimpleNamespace

import pytest

from meshlib.dataplane import CallEnded, CallRecord, Connection, Peer, Request, Response
from meshlib.dataplane.message import Meter

CLUSTER = "outbound|9080||reviews.default.svc.cluster.local"


class Calls:
    """Makes ends of calls, and hands them to a recorder."""

    def __init__(self):
        self.told = []

    def ended(
        self,
        outcome=None,
        seconds=0.01,
        *,
        cluster=CLUSTER,
        inbound=False,
        grpc=False,
        path="/",
        target="reviews:9080",
        secure=False,
        headers=(),
        meter=None,
        streaming=False,
        **record,
    ):
        named = SimpleNamespace(name=cluster) if cluster else None
        peer = Peer(secure=secure, spiffe_id="spiffe://cluster.local/ns/default/sa/productpage")
        request = Request(
            target,
            "POST" if grpc else "GET",
            path,
            is_grpc=grpc,
            streaming=streaming,
            headers=headers,
            connection=Connection(peer=peer if secure else Peer()),
            meter=meter or Meter(),
        )
        record = CallRecord(
            request, 0.0, inbound=inbound, cluster=None if inbound else named, **record
        )
        return CallEnded(record, outcome or Response(200), seconds)


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def samples():
    """Every sample of some metrics: name, and labels, to value."""

    def of(metrics):
        return {
            (metric.name, sample.labels): sample.value
            for metric in metrics
            for sample in metric.samples
        }

    return of


@pytest.fixture
def only():
    """The one sample of the metric with this name: its labels and value."""

    def of(metrics, name):
        (metric,) = (one for one in metrics if one.name == name)
        (sample,) = metric.samples
        return dict(sample.labels), sample.value

    return of
