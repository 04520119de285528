"""One service, one rule, and what becomes of it."""

import pytest

from meshlib.controlplane import Scope, compile_snapshot

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80}, {name: grpc, port: 81}]}
"""
HOST = "reviews.default.svc.cluster.local"


def indented(text, by):
    return "".join(f"{' ' * by}{line}\n" for line in text.strip("\n").splitlines())


def virtual_service(http, name="rules", hosts="hosts: [reviews]", namespace="default"):
    head = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    meta = f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n"
    return head + meta + (f"  {hosts}\n" if hosts else "") + "  http:\n" + indented(http, 4)


def destination_rule(policy, name="rule", extra=""):
    head = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
    meta = f"metadata: {{name: {name}}}\nspec:\n  host: reviews\n"
    said = f"  trafficPolicy:\n{indented(policy, 4)}" if policy else ""
    return head + meta + indented(extra, 2) + said


@pytest.fixture
def snapshot_of(world_of):
    def compiled(*texts, scope=None):
        made = compile_snapshot(world_of(SERVICE + "".join(texts)), scope or Scope())
        made.check()
        return made

    return compiled


@pytest.fixture
def routes_of(snapshot_of):
    """``routes_of(http, …)``: the routes of "reviews" on port 80."""

    def compiled(http, *more, scope=None):
        made = snapshot_of(virtual_service(http), *more, scope=scope)
        return made.routes[f"outbound|80||{HOST}"].virtual_hosts[0].routes

    return compiled


@pytest.fixture
def cluster_of(snapshot_of):
    """``cluster_of(policy, …)``: the cluster of "reviews" under this traffic policy."""

    def compiled(policy, *more, port=80, subset="", scope=None):
        made = snapshot_of(destination_rule(policy), *more, scope=scope)
        return made.clusters[f"outbound|{port}|{subset}|{HOST}"]

    return compiled


@pytest.fixture(name="virtual_service")
def virtual_service_fixture():
    return virtual_service


@pytest.fixture(name="destination_rule")
def destination_rule_fixture():
    return destination_rule
