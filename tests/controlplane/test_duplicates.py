"""Workloads of one service at one address."""

from meshlib.controlplane import findings_of

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: twice}
spec: {selector: {app: twice}, ports: [{name: http, port: 80}, {name: other, port: 82}]}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: NAME}
spec: {address: 10.0.0.7, PORTS labels: {app: twice, version: NAME}}
"""
ELSEWHERE = "ports: {http: 5000, other: 5001},"


def entry(name, ports=""):
    return ENTRY.replace("NAME", name).replace("PORTS", ports)


def test_two_workloads_of_a_service_at_one_address_are_said_once(world_of):
    (finding,) = findings_of(world_of(SERVICE, entry("one"), entry("two")))
    assert (finding.code, finding.severity) == ("ML1003", "warning")
    assert str(finding.place) == "c.yaml:5:17"
    assert "10.0.0.7:80 is an endpoint of twice.default.svc.cluster.local" in finding.message
    assert "WorkloadEntry default/one at b.yaml" in finding.message


def test_two_workloads_at_two_ports_of_one_machine_are_sound(world_of):
    assert findings_of(world_of(SERVICE, entry("one"), entry("two", ELSEWHERE))) == ()
