from dataclasses import replace

import pytest

from meshlib.dataplane import Cause, Failure, Response
from meshlib.model import (
    ALWAYS,
    NEVER,
    FilterOverride,
    HttpFilter,
    LocalDescriptor,
    LocalRateLimit,
    PathPrefix,
    Percentage,
    RateLimit,
    RequestHeader,
    Route,
    RouteAction,
    RouteMatch,
    TokenBucket,
)
from meshlib.testing import REVIEWS, A, always, get, one_service, play, play_alike, rpc, said

NAME = "envoy.filters.http.local_ratelimit"
FOUR_IN_FOUR = TokenBucket(max_tokens=4, tokens_per_fill=4, fill_interval=4.0)
ONE_A_SECOND = TokenBucket(max_tokens=1, fill_interval=1.0)
PLENTY = TokenBucket(max_tokens=100, fill_interval=1.0)
BY_USER = RateLimit(actions=(RequestHeader(header_name="x-user", descriptor_key="user"),))


def limit(bucket=ONE_A_SECOND, **fields) -> LocalRateLimit:
    return LocalRateLimit(
        **{"token_bucket": bucket, "filter_enabled": ALWAYS, "filter_enforced": ALWAYS, **fields}
    )


def limited(bucket=ONE_A_SECOND, **fields) -> tuple[HttpFilter, ...]:
    return (HttpFilter(name=NAME, config=limit(bucket, **fields)),)


def as_user(name: str):
    return get(REVIEWS, headers=(("x-user", name),))


def statuses(mesh, *requests) -> list[str]:
    return [said(play(mesh, request).outcome) for request in requests]


def test_calls_beyond_the_tokens_are_refused(filtered) -> None:
    calls = play_alike(lambda: filtered(limited(FOUR_IN_FOUR)), *[get(REVIEWS)] * 5)
    assert [said(call.outcome) for call in calls] == ["200"] * 4 + ["429"]
    refused = calls[-1].outcome
    assert isinstance(refused, Response)
    assert refused.body == b"local_rate_limited"
    assert refused.header("x-envoy-ratelimited") == "true"
    assert refused.header("retry-after") == "1"
    assert calls[-1].attempts == []


def test_a_refusal_is_flagged(filtered) -> None:
    mesh = filtered(limited(FOUR_IN_FOUR))
    statuses(mesh, *[get(REVIEWS)] * 5)
    assert mesh.events[-1].record.report(mesh.events[-1].outcome).flags == ("RL",)


def test_tokens_come_back_steadily_as_real_envoys_do(filtered) -> None:
    mesh = filtered(limited(FOUR_IN_FOUR))
    statuses(mesh, *[get(REVIEWS)] * 4)
    mesh.clock.jump(0.9)
    assert statuses(mesh, get(REVIEWS)) == ["429"]
    mesh.clock.jump(0.1)
    assert statuses(mesh, get(REVIEWS), get(REVIEWS)) == ["200", "429"]
    mesh.clock.jump(100)
    assert statuses(mesh, *[get(REVIEWS)] * 5) == ["200"] * 4 + ["429"]


@pytest.mark.parametrize(("exhausted", "code"), [(False, 14), (True, 8)])
def test_a_refused_grpc_call_has_a_status(filtered, exhausted, code) -> None:
    mesh = filtered(limited(rate_limited_as_resource_exhausted=exhausted))
    play(mesh, rpc(REVIEWS))
    refused = play(mesh, rpc(REVIEWS)).outcome
    assert isinstance(refused, Failure)
    assert (refused.cause, refused.grpc_status) == (Cause.RATE_LIMITED, code)
    assert ("retry-after", "1") in refused.trailers


def test_the_status_may_be_another_but_no_success(filtered) -> None:
    mesh = filtered(limited(status=503))
    assert statuses(mesh, get(REVIEWS), get(REVIEWS)) == ["200", "503"]
    mesh = filtered(limited(status=200))
    assert statuses(mesh, get(REVIEWS), get(REVIEWS)) == ["200", "429"]


def test_the_caller_hears_of_the_limit_where_that_is_asked_for(filtered) -> None:
    mesh = filtered(limited(FOUR_IN_FOUR, headers="draft_version_03"))
    heard = []
    for _ in range(5):
        play(mesh, get(REVIEWS))
        record = mesh.events[-1].record
        heard.append([value for _, value in record.respond(())])
    assert [heard[0], heard[3], heard[4]] == [["4", "3", "0"], ["4", "0", "1"], ["4", "0", "1"]]


def test_what_is_not_enforced_refuses_nothing(filtered) -> None:
    mesh = filtered(limited(filter_enforced=NEVER))
    assert statuses(mesh, *[get(REVIEWS)] * 3) == ["200"] * 3


def test_a_share_of_the_calls_is_limited(filtered) -> None:
    config = limited(filter_enabled=Percentage(numerator=50))
    lucky, unlucky = filtered(config, dice=always(0.6)), filtered(config, dice=always(0.4))
    assert statuses(lucky, *[get(REVIEWS)] * 3) == ["200"] * 3
    assert statuses(unlucky, *[get(REVIEWS)] * 3) == ["200", "429", "429"]


def test_a_listener_has_one_bucket_for_all_of_its_routes(filtered) -> None:
    routes = tuple(
        Route(match=RouteMatch(path=PathPrefix(path)), action=RouteAction(cluster="reviews"))
        for path in ("/a", "/b")
    )
    mesh = filtered(limited(), routes=routes)
    assert statuses(mesh, get(REVIEWS, "/a"), get(REVIEWS, "/b")) == ["200", "429"]


def test_a_route_has_a_bucket_of_its_own(filtered) -> None:
    own = FilterOverride(name=NAME, config=limit())
    routes = tuple(
        Route(
            name=path,
            match=RouteMatch(path=PathPrefix(path)),
            action=RouteAction(cluster="reviews"),
            overrides=(own,),
        )
        for path in ("/a", "/b")
    )
    off = HttpFilter(name=NAME, config=LocalRateLimit())
    mesh = filtered((off,), routes=routes)
    asked = [get(REVIEWS, path) for path in ("/a", "/b", "/a", "/b")]
    assert statuses(mesh, *asked) == ["200", "200", "429", "429"]


def test_tokens_spent_stay_spent_over_configurations(filtered, filters_on) -> None:
    mesh = filtered(limited())
    assert statuses(mesh, get(REVIEWS)) == ["200"]
    mesh.apply(filters_on(one_service((A, "10.0.0.9:1")), limited()))
    assert statuses(mesh, get(REVIEWS)) == ["429"]
    mesh.apply(filters_on(one_service((A,)), limited(PLENTY)))
    assert statuses(mesh, get(REVIEWS)) == ["200"]


def test_a_descriptor_has_a_bucket_of_its_own(filtered) -> None:
    jason = LocalDescriptor(entries=(("user", "jason"),), token_bucket=ONE_A_SECOND)
    mesh = filtered(limited(PLENTY, descriptors=(jason,), rate_limits=(BY_USER,)))
    asked = [as_user(name) for name in ("jason", "jason", "anna", "anna")]
    assert statuses(mesh, *asked) == ["200", "429", "200", "200"]


def test_an_entry_without_value_gives_each_value_a_bucket(filtered) -> None:
    anybody = LocalDescriptor(entries=(("user", ""),), token_bucket=ONE_A_SECOND)
    mesh = filtered(limited(PLENTY, descriptors=(anybody,), rate_limits=(BY_USER,)))
    asked = [as_user(name) for name in ("jason", "anna", "jason", "anna")]
    assert statuses(mesh, *asked, get(REVIEWS)) == ["200", "200", "429", "429", "200"]


def test_the_least_recently_used_values_are_forgotten(filtered) -> None:
    anybody = LocalDescriptor(entries=(("user", ""),), token_bucket=ONE_A_SECOND)
    config = limited(
        PLENTY, descriptors=(anybody,), rate_limits=(BY_USER,), max_dynamic_descriptors=2
    )
    mesh = filtered(config)
    asked = [as_user(name) for name in ("a", "b", "a", "c", "a", "b")]
    assert statuses(mesh, *asked) == ["200", "200", "429", "200", "429", "200"]


@pytest.mark.parametrize(("always_too", "third"), [(True, "429"), (False, "200")])
def test_the_default_tokens_count_as_well_unless_told_not_to(filtered, always_too, third) -> None:
    jason = LocalDescriptor(entries=(("user", "jason"),), token_bucket=PLENTY)
    config = limited(
        replace(ONE_A_SECOND, max_tokens=2),
        descriptors=(jason,),
        rate_limits=(BY_USER,),
        always_consume_default_token_bucket=always_too,
    )
    assert statuses(filtered(config), *[as_user("jason")] * 3) == ["200", "200", third]


def test_the_routes_rate_limits_of_this_stage_describe_the_call(filtered) -> None:
    anybody = LocalDescriptor(entries=(("user", ""),), token_bucket=ONE_A_SECOND)
    asked = [as_user("jason"), as_user("jason")]
    for stage, status in ((0, "200"), (1, "429")):
        action = RouteAction(cluster="reviews", rate_limits=(replace(BY_USER, stage=1),))
        config = limited(PLENTY, descriptors=(anybody,), stage=stage)
        assert statuses(filtered(config, action=action), *asked) == ["200", status]


def test_what_the_limit_makes_of_calls_is_counted(filtered) -> None:
    for enforced, third in ((ALWAYS, "limited"), (NEVER, "unenforced")):
        mesh = filtered(limited(FOUR_IN_FOUR, filter_enforced=enforced))
        statuses(mesh, *[get(REVIEWS)] * 5)
        (found,) = mesh.engine.rate_limits.values()
        assert {name: count for name, count in found.items() if count} == {"ok": 4, third: 1}
