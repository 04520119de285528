from dataclasses import replace

import pytest

from meshlib.dataplane import Response
from meshlib.model import (
    CORS,
    Cors,
    Exact,
    FilterOverride,
    Percentage,
    Prefix,
    Route,
    RouteAction,
)
from meshlib.testing import REVIEWS, get, play, play_alike, rpc, scripted

ORIGIN = "https://shop.example"
POLICY = Cors(
    allow_origins=(Exact(ORIGIN), Prefix("https://dev.")),
    allow_methods="GET,POST",
    allow_headers="x-a",
    expose_headers="x-b",
    max_age="86400",
    allow_credentials=True,
)


@pytest.fixture
def with_policy(filtered):
    def make(policy=POLICY, **fields):
        override = FilterOverride(name=CORS.name, config=policy)
        route = Route(action=RouteAction(cluster="reviews"), overrides=(override,))
        return filtered((CORS,), routes=(route,), **fields)

    return make


def preflight(origin=ORIGIN, asked="PUT"):
    headers = (
        ("origin", origin),
        ("access-control-request-method", asked),
        ("access-control-request-headers", "x-q"),
    )
    return replace(get(REVIEWS, headers=headers), method="OPTIONS")


def seen(mesh, request) -> dict[str, str]:
    """The headers that the caller sees of an answer of the upstream's."""
    play(mesh, request)
    record = mesh.events[-1].record
    return dict(record.respond((("x-c", "1"),))) if record.respond is not None else {}


def test_a_preflight_is_answered(with_policy) -> None:
    (call,) = play_alike(with_policy, preflight())
    assert call.attempts == []
    assert call.outcome == Response(
        200,
        (
            ("access-control-allow-origin", ORIGIN),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "x-a"),
            ("access-control-expose-headers", "x-b"),
            ("access-control-max-age", "86400"),
            ("content-length", "0"),
        ),
    )


def test_a_star_allows_what_was_asked_for(with_policy) -> None:
    policy = Cors(allow_origins=(Exact("*"),), allow_methods="*", allow_headers="*")
    answer = play(with_policy(policy), preflight("https://any.example")).outcome
    assert isinstance(answer, Response)
    assert dict(answer.headers) == {
        "access-control-allow-origin": "https://any.example",
        "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "x-q",
        "content-length": "0",
    }


def test_a_preflight_of_another_origin_is_passed_on_unless_told_not_to(with_policy) -> None:
    other = preflight("https://evil.example")
    assert len(play(with_policy(), other).attempts) == 1
    kept = replace(POLICY, forward_not_matching_preflights=False)
    call = play(with_policy(kept), other)
    assert call.attempts == []
    assert isinstance(call.outcome, Response)
    assert call.outcome.header("access-control-allow-origin") is None


def test_an_answer_is_marked_for_the_origin(with_policy) -> None:
    request = get(REVIEWS, headers=(("origin", "https://dev.example"),))
    assert seen(with_policy(), request) == {
        "x-c": "1",
        "access-control-allow-origin": "https://dev.example",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-b",
    }


@pytest.mark.parametrize(
    "request_made",
    [
        get(REVIEWS),
        get(REVIEWS, headers=(("origin", ""),)),
        get(REVIEWS, headers=(("origin", "https://evil.example"),)),
        rpc(REVIEWS, headers=(("origin", ORIGIN),)),
    ],
)
def test_other_answers_are_not_marked(with_policy, request_made) -> None:
    assert seen(with_policy(), request_made) == {}


def test_options_without_a_method_asked_for_are_no_preflight(with_policy) -> None:
    request = replace(get(REVIEWS, headers=(("origin", ORIGIN),)), method="OPTIONS")
    assert len(play(with_policy(), request).attempts) == 1


def test_a_share_of_the_requests_falls_under_it(with_policy) -> None:
    half = replace(POLICY, filter_enabled=Percentage(numerator=50))
    mesh = with_policy(half, dice=scripted([0.6, 0.4]))
    request = get(REVIEWS, headers=(("origin", ORIGIN),))
    assert seen(mesh, request) == {}
    assert seen(mesh, request) != {}


def test_without_a_policy_there_is_no_filter(filtered) -> None:
    mesh = filtered((CORS,))
    route = mesh.engine.listeners[REVIEWS].router.table.find(get(REVIEWS))
    assert route.only_destination.filters == ()
