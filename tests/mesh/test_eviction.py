"""Who reads the metrics of a member hears for a while of clusters that are gone."""

import meshlib
from meshlib.dataplane import RetryDenied
from meshlib.telemetry.metrics.eviction import KEPT
from meshlib.testing import FakeClock

RATINGS = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "ratings"},
    "spec": {
        "hosts": ["ratings.default.svc.cluster.local"],
        "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "127.0.0.1"}],
    },
}
THERE = "outbound|9080||ratings.default.svc.cluster.local"
GONE = "outbound|9080||reviews.default.svc.cluster.local"


def denied(mesh):
    lines = mesh.metrics().splitlines()
    return [line for line in lines if line.startswith("meshlib_retries_denied_total{")]


def test_a_cluster_is_told_of_as_long_as_it_is_there_and_a_while_longer():
    with meshlib.Mesh("productpage", config=[RATINGS]) as mesh:
        clock = mesh._seen._evict._clock = FakeClock()
        for cluster in (THERE, GONE):
            mesh._engine.around.observe(RetryDenied(cluster, "overflow"))
        assert len(denied(mesh)) == 2
        clock.jump(KEPT)
        (left,) = denied(mesh)
    assert THERE in left
