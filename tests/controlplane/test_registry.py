"""Leases of workloads that register themselves, on a clock of the test's own."""

from dataclasses import replace

import pytest

from meshlib.controlplane.registry import FullError, RegistrationError, Registry, hosts_of, joined
from meshlib.controlplane.scope import Scope
from meshlib.controlplane.snapshots import compile_snapshot
from meshlib.testing.clock import FakeClock
from meshlib.xds.registration import Workload

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {selector: {app: greeter}, ports: [{name: grpc, port: 80}, {name: http, port: 81}]}
"""
CONFIGURED = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: greeter}
spec: {address: 10.0.0.1, ports: {grpc: 5000, http: 5000}, labels: {app: greeter}, weight: 7}
"""
HOST = "greeter.default.svc.cluster.local"
GREETER = Workload(id="a", address="10.0.0.1", port=5000, labels=(("app", "greeter"),))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def registry(clock):
    return Registry(clock, grace=10)


def endpoints(world, port=80):
    made = compile_snapshot(world, Scope()).endpoints[f"outbound|{port}||{HOST}"]
    return [
        (str(one.address), one.load_balancing_weight, group.locality.region)
        for group in made.endpoints
        for one in group.lb_endpoints
    ]


def test_a_lease_lives_as_long_as_its_stream_speaks(registry, clock):
    lease = registry.register(GREETER, "10.0.0.1")
    for _ in range(5):
        clock.jump(29)
        registry.heard(lease)
        assert registry.expire() == ()
    clock.jump(30)
    assert registry.expire() == (lease,)
    assert registry.workloads == ()


def test_a_lease_is_shown_with_its_age_and_its_end(registry, clock):
    registry.register(GREETER, "10.0.0.1")
    clock.jump(20)
    registry.register(GREETER, "10.0.0.1")  # what changed, or a stream anew
    clock.jump(1)
    (shown,) = registry.to_dicts()
    assert (shown["age_seconds"], shown["ends_in_seconds"]) == (21, 29)


def test_a_broken_stream_has_the_grace_to_come_back(registry, clock):
    lease = registry.register(GREETER, "10.0.0.1")
    registry.broke(lease)
    clock.jump(9.9)
    assert registry.expire() == ()
    again = registry.register(GREETER, "10.0.0.1")
    registry.broke(lease)  # the old stream's end is heard of late
    clock.jump(5)
    assert registry.expire() == ()
    assert again.state == "SERVING"


def test_a_member_that_restarts_on_its_port_takes_the_place_of_its_life_before(registry):
    registry.broke(registry.register(GREETER, "10.0.0.1"))
    registry.register(replace(GREETER, id="b", weight=3), "10.0.0.1")
    assert [(w.id, w.weight) for w in registry.workloads] == [("b", 3)]


def test_who_does_not_serve_keeps_its_lease_and_gets_no_calls(registry):
    registry.register(replace(GREETER, serving=False), "10.0.0.1")
    assert registry.workloads == ()
    assert [each["state"] for each in registry.to_dicts()] == ["NOT_SERVING"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"port": 0}, "port is missing"),
        ({"port": 70000}, "70000 is not a port"),
        ({"ports": (("grpc", 0),)}, "0 is not a port"),
        ({"ports": (("-", 80),)}, "name of a port"),
        ({"address": "0.0.0.0"}, "not an address that can be called"),
        ({"address": "no_name!"}, "neither an IP address nor a name"),
        ({"address": "127.0.0.1"}, "each caller's own"),
        ({"weight": 0}, "weight 0"),
        ({"labels": ()}, "labels"),
        ({"labels": (("app", "a\nb"),)}, "not printable"),
        ({"labels": tuple((f"l{n}", "") for n in range(101))}, "more than 100"),
        ({"namespace": "n" * 513}, "longer than 512"),
    ],
)
def test_what_makes_no_sense_is_not_let_in(registry, change, said):
    with pytest.raises(RegistrationError, match=said):
        registry.register(replace(GREETER, **change), "10.0.0.9")
    assert registry.leases == {}


def test_one_peer_may_not_fill_the_registry(registry, monkeypatch):
    monkeypatch.setattr("meshlib.controlplane.registry.LEASES_PER_PEER", 2)
    for id_ in "aba":
        registry.register(replace(GREETER, id=id_), "10.0.0.1")
    with pytest.raises(FullError, match=r"10\.0\.0\.1"):
        registry.register(replace(GREETER, id="c"), "10.0.0.1")
    registry.register(replace(GREETER, id="c"), "10.0.0.2")


def test_one_port_is_that_of_every_port_of_the_service(world_of):
    world = joined(world_of(SERVICE), (GREETER,))
    assert endpoints(world, 80) == endpoints(world, 81) == [("10.0.0.1:5000", 1, "")]
    named = replace(GREETER, port=0, ports=(("grpc", 6000),), locality="here/a", weight=4)
    assert endpoints(joined(world_of(SERVICE), (named,))) == [("10.0.0.1:6000", 4, "here")]


def test_what_registered_stands_in_for_nothing_that_was_configured(world_of):
    world = joined(world_of(SERVICE, CONFIGURED), (replace(GREETER, weight=1000),))
    assert endpoints(world) == [("10.0.0.1:5000", 7, "")]


def test_labels_and_namespace_say_of_which_services(world_of):
    world = world_of(SERVICE)
    assert hosts_of(world, GREETER) == (HOST,)
    assert hosts_of(world, replace(GREETER, namespace="other")) == ()
    assert hosts_of(world, replace(GREETER, labels=(("app", "other"),))) == ()
