"""Callers are told who serves them, as istiod tells it."""

import pytest

from meshlib.controlplane import Scope, compile_snapshot
from meshlib.controlplane.registry import joined
from meshlib.xds.registration import Workload

HOST = "reviews.default.svc.cluster.local"
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}
"""
OUTSIDE = """\
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [outside.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.1.0.1, labels: {app: stock, version: v9}}
  - {address: 10.1.0.2}
"""


def entry(name, labels, *, annotations="{}"):
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
        f"metadata: {{name: {name}, annotations: {annotations}}}\n"
        f"spec: {{address: 10.0.0.1, labels: {{{labels}}}}}\n"
    )


def told(snapshot, host=HOST):
    (group,) = snapshot.endpoints[f"outbound|80||{host}"].endpoints
    return [one.metadata.get("istio", "workload") for one in group.lb_endpoints]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (entry("r1", "app: reviews"), "r1;default;reviews;;Kubernetes"),
        (entry("r1", "app: reviews, version: v2"), "r1;default;reviews;v2;Kubernetes"),
        (
            entry("r1", 'app: reviews, "service.istio.io/workload-name": reviews-v2'),
            "reviews-v2;default;reviews;;Kubernetes",
        ),
        (
            entry(
                "r1", "app: reviews", annotations='{"istio.io/autoRegistrationGroup": reviews-vm}'
            ),
            "reviews-vm;default;reviews;;Kubernetes",
        ),
        (
            entry(
                "r1",
                'app: reviews, "service.istio.io/canonical-name": opinions,'
                ' "service.istio.io/canonical-revision": "7", "topology.istio.io/cluster": west',
            ),
            "r1;default;opinions;7;west",
        ),
    ],
)
def test_a_workload_entry_is_told_by_its_labels(snapshot_of, manifest, said):
    assert told(snapshot_of(manifest)) == [said]


def test_an_endpoint_of_a_service_entry_is_told_by_its_labels_or_not_at_all(snapshot_of):
    assert told(snapshot_of(OUTSIDE), "outside.example") == [";shop;stock;v9;Kubernetes", None]


def test_a_member_that_registers_is_told_by_its_labels(world_of):
    labels = (("app", "reviews"), ("version", "v3"))
    member = Workload(id="1", address="10.0.0.9", port=80, labels=labels)
    made = compile_snapshot(joined(world_of(SERVICE), (member,)), Scope())
    assert told(made) == ["reviews;default;reviews;v3;Kubernetes"]
