"""Balancing as calls see it: through routes, retries and all."""

from dataclasses import replace
from typing import Any

import pytest

from meshlib.dataplane import Options
from meshlib.model import (
    Aggregate,
    Cluster,
    HashHeader,
    HealthStatus,
    LbPolicy,
    Maglev,
    RetryPolicy,
    RingHash,
    RouteAction,
    Snapshot,
    Static,
)
from meshlib.testing import (
    REVIEWS,
    VirtualMesh,
    assignment,
    endpoint,
    fails_with,
    get,
    ok,
    one_service,
    play,
)

TEN = [f"10.0.0.{n}:80" for n in range(10)]
USERS = [f"user-{n}" for n in range(40)]
STICKY = RouteAction(cluster="reviews", hash_policy=(HashHeader(header_name="x-user"),))


def meshed(snapshot: Snapshot, upstreams: Any) -> VirtualMesh:
    return VirtualMesh(snapshot, upstreams, options=Options(complete=True))


def called(mesh: VirtualMesh, user: str) -> list[str]:
    return play(mesh, get(REVIEWS, headers=(("x-user", user),))).attempts


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_a_user_stays_with_an_endpoint_and_users_spread(policy: LbPolicy) -> None:
    upstreams = {address: ok() for address in TEN}
    mesh = meshed(one_service(TEN, action=STICKY, lb_policy=policy), upstreams)
    homes = {user: called(mesh, user) for user in USERS}
    assert homes == {user: called(mesh, user) for user in USERS}
    assert len({home for (home,) in homes.values()}) > 5


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_users_of_one_that_is_gone_move_and_the_others_stay(policy: LbPolicy) -> None:
    upstreams = {address: ok() for address in TEN}
    mesh = meshed(one_service(TEN, action=STICKY, lb_policy=policy), upstreams)
    before = {user: called(mesh, user)[0] for user in USERS}
    gone = before[USERS[0]]
    sick = [
        replace(endpoint(a), health_status=HealthStatus.UNHEALTHY) if a == gone else endpoint(a)
        for a in TEN
    ]
    mesh.engine.apply(one_service(sick, action=STICKY, lb_policy=policy))
    after = {user: called(mesh, user)[0] for user in USERS}
    assert gone not in after.values()
    moved = [user for user in USERS if after[user] != before[user]]
    assert len(moved) <= list(before.values()).count(gone) + 8


@pytest.mark.parametrize("policy", [RingHash(), Maglev()])
def test_a_retry_of_a_sticky_call_goes_to_the_same_second_home(policy: LbPolicy) -> None:
    upstreams = {address: fails_with(503) for address in TEN}
    retry = RetryPolicy(retry_on=("5xx",), num_retries=2, previous_hosts=True)
    action = replace(STICKY, retry_policy=retry)
    mesh = meshed(one_service(TEN, action=action, lb_policy=policy), upstreams)
    for user in USERS[:10]:
        homes = called(mesh, user)
        assert len(set(homes)) == 3
        assert called(mesh, user) == homes


def test_a_call_to_an_aggregate_falls_over_to_the_next_cluster() -> None:
    first, second = TEN[:2], TEN[2:4]
    near = Cluster(name="near", discovery=Static(assignment(first, name="near")))
    far = Cluster(name="far", discovery=Static(assignment(second, name="far")))
    upstreams = {address: ok() for address in TEN}

    def snapshot(nearby: Cluster) -> Snapshot:
        made = one_service((), discovery=Aggregate(("near", "far")))
        return replace(made, clusters={**made.clusters, "near": nearby, "far": far})

    mesh = meshed(snapshot(near), upstreams)
    assert {play(mesh, get(REVIEWS)).attempts[0] for _ in range(10)} == set(first)
    sick = [endpoint(a, health_status=HealthStatus.UNHEALTHY) for a in first]
    mesh.engine.apply(
        snapshot(Cluster(name="near", discovery=Static(assignment(sick, name="near"))))
    )
    assert {play(mesh, get(REVIEWS)).attempts[0] for _ in range(10)} == set(second)
