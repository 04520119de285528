from dataclasses import replace

import pytest

from meshlib.dataplane import Cause, Failure, RateLimitVerdict, Response
from meshlib.model import (
    Cluster,
    DestinationCluster,
    GenericKey,
    GlobalRateLimit,
    HttpFilter,
    RateLimit,
    RouteAction,
    Static,
    gather,
)
from meshlib.testing import REVIEWS, assignment, get, play, play_alike, rpc, said

NAME = "envoy.filters.http.ratelimit"
CONFIG = GlobalRateLimit(domain="shop", cluster="limits")
LIMITS = (RateLimit(actions=(GenericKey(descriptor_value="all"), DestinationCluster())),)
SERVER = "10.9.9.9:8081"
YES, NO, SILENCE = RateLimitVerdict(True), RateLimitVerdict(False), RateLimitVerdict(None)


@pytest.fixture
def asking(filtered, scripted_service):
    """A mesh that asks a service which gives these verdicts, and the service."""

    def make(*verdicts, config=CONFIG, limits=LIMITS, servers=(SERVER,), **fields):
        action = RouteAction(cluster="reviews", rate_limits=limits)
        mesh = filtered((HttpFilter(name=NAME, config=config),), action=action, **fields)
        snapshot = mesh.engine.snapshot
        discovery = Static(assignment(servers, name="limits"))
        server = Cluster(name="limits", discovery=discovery)
        mesh.apply(
            gather(
                listeners=snapshot.listeners.values(),
                clusters=[*snapshot.clusters.values(), server],
                endpoints=snapshot.endpoints.values(),
            )
        )
        service = mesh.runtime.services = scripted_service(*verdicts)
        return mesh, service

    return make


def test_the_service_is_asked_with_the_descriptors_of_the_route(asking) -> None:
    mesh, service = asking(YES)
    call = play(mesh, get(REVIEWS))
    (asked,) = service.asked
    assert (asked.endpoint.key, asked.domain, asked.timeout) == (SERVER, "shop", 0.02)
    assert asked.descriptors == ((("generic_key", "all"), ("destination_cluster", "reviews")),)
    assert said(call.outcome) == "200"


def test_a_call_over_the_limit_is_refused(asking) -> None:
    verdict = RateLimitVerdict(False, response_headers=(("x-why", "quota"),), body=b"no more")
    (call,) = play_alike(lambda: asking(verdict)[0], get(REVIEWS))
    assert call.attempts == []
    refused = call.outcome
    assert isinstance(refused, Response)
    assert (refused.status, refused.body) == (429, b"no more")
    assert refused.header("x-envoy-ratelimited") == "true"
    assert refused.header("x-why") == "quota"


@pytest.mark.parametrize(("exhausted", "code"), [(False, 14), (True, 8)])
def test_a_grpc_call_over_the_limit_has_a_status(asking, exhausted, code) -> None:
    mesh, _ = asking(NO, config=replace(CONFIG, rate_limited_as_resource_exhausted=exhausted))
    refused = play(mesh, rpc(REVIEWS)).outcome
    assert isinstance(refused, Failure)
    assert (refused.cause, refused.grpc_status) == (Cause.RATE_LIMITED, code)


def test_without_an_answer_the_call_goes_on(asking) -> None:
    mesh, _ = asking(SILENCE)
    assert said(play(mesh, get(REVIEWS)).outcome) == "200"


def test_without_an_answer_the_call_fails_where_that_is_asked_for(asking) -> None:
    deny = replace(CONFIG, failure_mode_deny=True, status_on_error=503)
    mesh, _ = asking(RateLimitVerdict(None, detail="gone"), config=deny)
    assert said(play(mesh, get(REVIEWS)).outcome) == "503"
    assert mesh.events[-1].record.flags == ("RLSE",)
    failed = play(mesh, rpc(REVIEWS)).outcome
    assert isinstance(failed, Failure)
    assert (failed.grpc_status, failed.detail) == (14, "rate limit service unavailable: gone")


def test_nobody_to_ask_is_no_answer(asking) -> None:
    deny = replace(CONFIG, failure_mode_deny=True)
    mesh, service = asking(YES, config=deny, servers=())
    assert said(play(mesh, get(REVIEWS)).outcome) == "500"
    assert service.asked == []


def test_the_service_adds_headers_to_the_request_and_the_response(asking) -> None:
    verdict = RateLimitVerdict(
        True, request_headers=(("x-tier", "gold"),), response_headers=(("x-left", "9"),)
    )
    mesh, _ = asking(verdict)
    call = play(mesh, get(REVIEWS, headers=(("x-a", "1"),)))
    assert call.trace[0]["headers"] == {"x-a": "1", "x-tier": "gold"}
    assert mesh.events[-1].record.respond(()) == (("x-left", "9"),)


def test_the_caller_hears_of_the_limit_where_that_is_asked_for(asking) -> None:
    verdict = RateLimitVerdict(True, limit="10, 10;w=60", remaining=3, reset=7.9)
    mesh, _ = asking(verdict, config=replace(CONFIG, headers="draft_version_03"))
    play(mesh, get(REVIEWS))
    assert mesh.events[-1].record.respond(()) == (
        ("x-ratelimit-limit", "10, 10;w=60"),
        ("x-ratelimit-remaining", "3"),
        ("x-ratelimit-reset", "7"),
    )


def test_no_longer_than_the_callers_deadline_is_waited(asking) -> None:
    mesh, service = asking(YES)
    play(mesh, rpc(REVIEWS, deadline=0.005))
    assert service.asked[0].timeout == 0.005


def test_a_route_without_rate_limits_asks_nobody(asking) -> None:
    mesh, service = asking(NO, limits=())
    assert said(play(mesh, get(REVIEWS)).outcome) == "200"
    assert service.asked == []


def test_a_caller_who_leaves_lets_go_of_the_service(asking) -> None:
    mesh, _ = asking(YES)
    steps = mesh.engine.outbound(get(REVIEWS))
    asked = next(steps)
    assert asked.endpoint.active == 1
    steps.close()
    assert asked.endpoint.active == 0


def test_verdicts_are_counted(asking) -> None:
    mesh, _ = asking(YES, YES, NO, SILENCE)
    for _ in range(4):
        play(mesh, get(REVIEWS))
    (found,) = mesh.engine.rate_limits.values()
    told = {name: count for name, count in found.items() if count}
    assert told == {"ok": 2, "limited": 1, "error": 1, "failure_mode_allowed": 1}
