from dataclasses import replace

from meshlib.dataplane import ConfigApplied
from meshlib.dataplane.upstream.dns import names_of, resolved
from meshlib.model import Address, Endpoint, LogicalDns, StrictDns
from meshlib.testing import REVIEWS, VirtualMesh, assignment, get, one_service, play

V1 = Endpoint(address=Address("v1.local", 80), load_balancing_weight=3)


def test_each_address_takes_over_what_is_said_of_its_name() -> None:
    found = resolved(assignment([V1, "10.0.0.9:80"]), {"v1.local": ("10.0.0.1", "fd00::1")})
    (locality,) = found.endpoints
    assert locality.lb_endpoints == (
        replace(V1, address=Address("10.0.0.1", 80), hostname="v1.local"),
        replace(V1, address=Address("fd00::1", 80), hostname="v1.local"),
        Endpoint(address=Address("10.0.0.9", 80)),
    )


def test_a_hostname_of_its_own_stays() -> None:
    named = replace(V1, hostname="reviews")
    found = resolved(assignment([named]), {"v1.local": ("10.0.0.1",)})
    assert [one.hostname for one in found.endpoints[0].lb_endpoints] == ["reviews"]


def test_what_is_not_known_stays_as_it_is_written() -> None:
    written = assignment([V1], ["10.0.0.9:80"])
    assert resolved(written, {}) is written
    assert resolved(written, {"v1.local": (), "10.0.0.9": ("10.0.0.9",)}) == written
    assert names_of(written) == {"v1.local", "10.0.0.9"}


def a_mesh(discovery: StrictDns | LogicalDns) -> VirtualMesh:
    return VirtualMesh(one_service(discovery=discovery))


def learn(mesh: VirtualMesh, *addresses: str) -> None:
    mesh.runtime.commit(mesh.engine.resolved("reviews", {"v1.local": addresses}))


def called(mesh: VirtualMesh) -> set[str]:
    return {address for _ in range(4) for address in play(mesh, get(REVIEWS)).attempts}


def test_calls_go_to_all_addresses_of_a_strict_name() -> None:
    mesh = a_mesh(StrictDns(assignment([V1])))
    assert called(mesh) == {"v1.local:80"}
    learn(mesh, "10.0.0.1", "10.0.0.2")
    assert called(mesh) == {"10.0.0.1:80", "10.0.0.2:80"}


def test_a_logical_name_is_one_endpoint_whatever_it_stands_for() -> None:
    mesh = a_mesh(LogicalDns(assignment([V1])))
    learn(mesh, "10.0.0.1", "10.0.0.2")
    assert called(mesh) == {"v1.local:80"}


def test_new_addresses_are_no_new_configuration() -> None:
    mesh = a_mesh(StrictDns(assignment([V1])))
    before = mesh.engine.snapshot
    learn(mesh, "10.0.0.1")
    assert [type(event) for event in mesh.events] == [ConfigApplied]
    assert mesh.engine.snapshot == before
    assert mesh.engine.snapshot is not before, "channels to old addresses are let go of"


def test_addresses_outlive_configurations() -> None:
    strict = StrictDns(assignment([V1]))
    mesh = a_mesh(strict)
    learn(mesh, "10.0.0.1")
    mesh.apply(one_service(discovery=strict, connect_timeout=1.0))
    assert called(mesh) == {"10.0.0.1:80"}
    mesh.engine.renew()
    assert called(mesh) == {"10.0.0.1:80"}
