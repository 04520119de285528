from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from meshlib.dataplane import (
    Deliver,
    Engine,
    Failure,
    Options,
    Outcome,
    Request,
    Response,
    Serve,
)
from meshlib.dataplane.filters.jwt_authn import FILTER
from meshlib.dataplane.filters.tokens import KeysWanted, Refused, Verified
from meshlib.dataplane.steps import AwaitTurn, Turn
from meshlib.model import (
    ROUTER,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    PathPrefix,
    Route,
    RouteConfiguration,
    RouteMatch,
    Struct,
    VirtualHost,
    gather,
)
from meshlib.model.authn import (
    AllowMissing,
    AllowMissingOrFailed,
    ClaimToHeader,
    JwtAuthn,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRule,
    LocalJwks,
    RemoteJwks,
    RequireAll,
    RequireAny,
    RequireProvider,
)
from meshlib.testing import FakeClock, always, get, rpc

A = JwtProvider(name="a", issuer="issuer-a", jwks=LocalJwks("{}"), payload_in_metadata="payload")
B = JwtProvider(name="b", issuer="issuer-b", jwks=LocalJwks("{}"))
NEEDS_A = RequireProvider("a")
CLAIMS = Struct(
    (
        ("admin", True),
        ("age", 7.0),
        ("deep", Struct((("er", "down"),))),
        ("iss", "issuer-a"),
        ("line", "a\nb"),
        ("list", ("x",)),
        ("sub", "me"),
    )
)


class Known:
    """Tokens are ``<issuer>/<anything>``; what is in ``bad`` is not believed."""

    def __init__(self) -> None:
        self.turn: Turn | None = None
        self.asked: list[tuple[str, str]] = []

    def issuer(self, text: str) -> str | Refused:
        return Refused("malformed") if text == "garbage" else text.partition("/")[0]

    def verify(self, provider: JwtProvider, text: str) -> Verified | Refused | KeysWanted:
        self.asked.append((provider.name, text))
        if self.turn is not None:
            return KeysWanted(self.turn)
        if text.endswith("/bad"):
            return Refused("Jwt verification fails")
        if text.endswith("/elsewhere"):
            return Refused("Audiences in Jwt are not allowed", forbidden=True)
        return Verified(CLAIMS, "cGF5bG9hZA")


@pytest.fixture
def tokens() -> Known:
    return Known()


def served(
    tokens: Known | None, requires: JwtRequirement | None, *providers: JwtProvider, **fields: Any
) -> Engine:
    """A server that lets in whom the rule for ``/`` lets in; ``/open`` asks for nothing."""
    rules = (
        JwtRule(RouteMatch(path=PathPrefix("/open"))),
        JwtRule(RouteMatch(path=PathPrefix("/")), requires),
    )
    config = JwtAuthn(providers=providers or (A, B), rules=rules, **fields)
    host = VirtualHost(
        name="here", domains=("*",), routes=(Route(name="all", action=NonForwardingAction()),)
    )
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(HttpFilter(name=FILTER, config=config), ROUTER),
    )
    engine = Engine(
        clock=FakeClock(), dice=always(0), options=Options(complete=True, tokens=tokens)
    )
    engine.apply(gather(listeners=[Listener(name="inbound", http=http)]))
    return engine


def run(engine: Engine, request: Request) -> tuple[Outcome, Request | None]:
    """What the caller gets, and what the handler saw."""
    steps: Generator[Any, Any, Outcome] = engine.inbound(request, ())
    seen, effect = None, next(steps)
    while not isinstance(effect, Deliver):
        answer: object = None
        if isinstance(effect, Serve):
            seen, answer = effect.request, Response(200)
        effect = steps.send(answer)
    with pytest.raises(StopIteration):
        steps.send(None)
    return effect.outcome, seen


def bearing(*texts: str, path: str = "/", **headers: str) -> Request:
    said = [("authorization", f"Bearer {text}") for text in texts]
    return get("reviews:9080", path, headers=(*said, *headers.items()))


def status(engine: Engine, request: Request) -> int:
    outcome, _ = run(engine, request)
    assert isinstance(outcome, Response)
    return outcome.status


def test_a_good_token_is_taken_note_of_and_not_handed_on(tokens: Known) -> None:
    outcome, seen = run(served(tokens, NEEDS_A), bearing("issuer-a/1", accept="x"))
    assert outcome == Response(200)
    assert seen is not None
    assert seen.dynamic_metadata is not None
    assert seen.dynamic_metadata.get(FILTER, "payload") == CLAIMS
    assert seen.headers == (("accept", "x"),)


def test_a_token_is_handed_on_where_that_is_asked_for(tokens: Known) -> None:
    keeps = JwtProvider(name="a", issuer="issuer-a", jwks=LocalJwks("{}"), forward=True)
    _, seen = run(served(tokens, NEEDS_A, keeps), bearing("issuer-a/1"))
    assert seen is not None
    assert seen.headers == (("authorization", "Bearer issuer-a/1"),)


@pytest.mark.parametrize(
    ("request_", "words", "error"),
    [
        (bearing(), "Jwt is missing", ""),
        (bearing("issuer-a/bad"), "Jwt verification fails", ', error="invalid_token"'),
        (bearing("issuer-c/1"), "Jwt issuer is not configured", ', error="invalid_token"'),
        (bearing("garbage"), "malformed", ', error="invalid_token"'),
        (
            bearing("issuer-a/1", path="/?access_token=issuer-a/2"),
            "there is more than one Jwt",
            ', error="invalid_t',
        ),
    ],
)
def test_without_a_good_token_nobody_comes_in(
    tokens: Known, request_: Request, words: str, error: str
) -> None:
    outcome, seen = run(served(tokens, NEEDS_A), request_)
    assert seen is None
    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.body.decode()) == (401, words)
    challenge = outcome.header("www-authenticate") or ""
    assert challenge.startswith('Bearer realm="http://reviews:9080/"' + error)


def test_a_good_token_for_another_audience_is_forbidden(tokens: Known) -> None:
    assert status(served(tokens, NEEDS_A), bearing("issuer-a/elsewhere")) == 403


def test_a_grpc_call_is_refused_by_its_own_statuses(tokens: Known) -> None:
    engine = served(tokens, NEEDS_A)
    outcome, _ = run(engine, rpc("reviews:9080", "/a.B/C"))
    assert isinstance(outcome, Failure)
    assert (outcome.grpc_status, outcome.detail) == (16, "Jwt is missing")


def test_a_token_is_verified_by_the_provider_of_its_issuer_alone(tokens: Known) -> None:
    engine = served(tokens, RequireAny((NEEDS_A, RequireProvider("b"))))
    assert status(engine, bearing("issuer-b/1")) == 200
    assert tokens.asked == [("b", "issuer-b/1")]


def test_a_token_of_another_provider_than_is_required_does_not_do(tokens: Known) -> None:
    assert status(served(tokens, NEEDS_A), bearing("issuer-b/1")) == 401
    both = RequireAll((NEEDS_A, RequireProvider("b")))
    assert status(served(tokens, both), bearing("issuer-a/1")) == 401


def test_a_missing_token_may_do_but_a_bad_one_never_does(tokens: Known) -> None:
    """ISTIO-SECURITY-2021-001: the token of an unknown issuer is not a missing one."""
    engine = served(tokens, RequireAny((NEEDS_A, AllowMissing())))
    assert status(engine, bearing()) == 200
    assert status(engine, bearing("issuer-a/1")) == 200
    assert status(engine, bearing("issuer-a/bad")) == 401
    assert status(engine, bearing("issuer-c/1")) == 401
    assert status(engine, bearing("garbage")) == 401


def test_where_failures_are_allowed_a_bad_token_is_taken_for_none(tokens: Known) -> None:
    engine = served(tokens, RequireAny((NEEDS_A, AllowMissingOrFailed())))
    outcome, seen = run(engine, bearing("issuer-a/bad"))
    assert outcome == Response(200)
    assert seen is not None
    assert seen.dynamic_metadata is None


def test_a_place_that_asks_for_nothing_lets_everybody_in(tokens: Known) -> None:
    engine = served(tokens, NEEDS_A)
    assert status(engine, bearing(path="/open/door")) == 200
    assert status(engine, bearing(path="/opener?x")) == 200
    assert status(engine, bearing(path="/closed")) == 401
    assert status(served(tokens, None), bearing()) == 200


def test_where_nobody_can_verify_tokens_none_is_believed() -> None:
    engine = served(None, RequireAny((NEEDS_A, AllowMissing())))
    assert status(engine, bearing("issuer-a/1")) == 401
    assert status(engine, bearing()) == 200


PLACES = JwtProvider(
    name="a",
    issuer="issuer-a",
    jwks=LocalJwks("{}"),
    from_headers=(JwtHeader(name="x-token", value_prefix="T "),),
    from_params=("token",),
    from_cookies=("sid",),
)


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (bearing(**{"x-token": "T issuer-a/1"}), 200),
        (bearing(**{"x-token": "issuer-a/1"}), 401),
        (bearing(path="/?token=issuer-a/1"), 200),
        (bearing(path="/?other=issuer-a/1"), 401),
        (bearing(cookie="a=b; sid=issuer-a/1"), 200),
        (bearing(cookie='sid="issuer-a/1"'), 200),
        (bearing(cookie='sid="issuer-a/1'), 401),
        (bearing(cookie="sid=issuer-a/1; sid=issuer-a/2"), 401),
        (bearing(cookie="sid="), 401),
        (bearing("issuer-a/1"), 401),
        (bearing(path="/?token=issuer-a/1", **{"x-token": "T issuer-a/2"}), 401),
        (bearing(path="/?token=issuer-a/1", cookie="sid=issuer-a/1"), 200),
    ],
)
def test_tokens_stand_where_the_provider_says(
    tokens: Known, request_: Request, wanted: int
) -> None:
    assert status(served(tokens, NEEDS_A, PLACES), request_) == wanted


def test_a_token_in_the_query_is_not_handed_on(tokens: Known) -> None:
    _, seen = run(served(tokens, NEEDS_A, PLACES), bearing(path="/x?a=1&token=issuer-a/1&b="))
    assert seen is not None
    assert seen.path == "/x?a=1&b="
    _, seen = run(served(tokens, NEEDS_A), bearing(path="/x?access_token=issuer-a/1"))
    assert seen is not None
    assert seen.path == "/x"


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ("a=b; sid=issuer-a/1; c=d", ("a=b; c=d",)),
        ('sid="issuer-a/1"; a=b', ("a=b",)),
        ("sid=issuer-a/1; sid=issuer-a/1", ()),
        ("sid=issuer-a/1", ()),
        ("a=issuer-a/1;sid=issuer-a/1", ("a=issuer-a/1",)),
        ("sid=; sid=issuer-a/1", ("sid=",)),
        ("sid=issuer-a/1; flag; ", ("flag",)),
    ],
)
def test_a_token_in_a_cookie_is_not_handed_on_and_other_cookies_are(
    tokens: Known, sent: str, left: tuple[str, ...]
) -> None:
    """Envoy leaves it there; a session that was asked for here is good elsewhere too."""
    _, seen = run(served(tokens, NEEDS_A, PLACES), bearing(cookie=sent, accept="x"))
    assert seen is not None
    assert seen.header("accept") == "x"
    assert tuple(value for name, value in seen.headers if name == "cookie") == left


def test_cookies_without_a_token_are_handed_on_as_they_came(tokens: Known) -> None:
    odd = bearing("issuer-a/1", cookie="a=1;b=2 ; ; sid=issuer-a/1")
    _, seen = run(served(tokens, NEEDS_A), odd)
    assert seen is not None
    assert seen.headers == (("cookie", "a=1;b=2 ; ; sid=issuer-a/1"),)


def test_a_cookie_is_handed_on_where_that_is_asked_for(tokens: Known) -> None:
    keeps = replace(PLACES, forward=True)
    _, seen = run(served(tokens, NEEDS_A, keeps), bearing(cookie="sid=issuer-a/1"))
    assert seen is not None
    assert seen.headers == (("cookie", "sid=issuer-a/1"),)


def test_a_parameter_that_is_no_place_of_tokens_is_left_alone(tokens: Known) -> None:
    only = JwtProvider(name="a", issuer="issuer-a", jwks=LocalJwks("{}"), from_cookies=("sid",))
    request = bearing(path="/x?access_token=mine", cookie="sid=issuer-a/1")
    _, seen = run(served(tokens, NEEDS_A, only), request)
    assert seen is not None
    assert seen.path == "/x?access_token=mine"


CLAIMED = JwtProvider(
    name="a",
    issuer="issuer-a",
    jwks=LocalJwks("{}"),
    forward_payload_header="x-payload",
    claim_to_headers=tuple(
        ClaimToHeader(header_name=f"x-{name.replace('.', '-')}", claim_name=name)
        for name in ("sub", "age", "admin", "deep.er", "list", "line", "none")
    ),
)


def test_claims_become_headers_and_what_the_caller_wrote_there_is_gone(tokens: Known) -> None:
    """CVE-2023-27487 and its kin: a header that the mesh writes, nobody else may write."""
    request = bearing("issuer-a/1", **{"x-sub": "root", "x-none": "spoofed", "x-payload": "e30"})
    _, seen = run(served(tokens, NEEDS_A, CLAIMED), request)
    assert seen is not None
    assert dict(seen.headers) == {
        "x-sub": "me",
        "x-age": "7",
        "x-admin": "true",
        "x-deep-er": "down",
        "x-payload": "cGF5bG9hZA",
    }


def test_without_a_token_nobody_may_write_the_headers_of_claims_either(tokens: Known) -> None:
    engine = served(tokens, RequireAny((NEEDS_A, AllowMissing())), CLAIMED)
    _, seen = run(engine, bearing(**{"x-sub": "root", "accept": "x"}))
    assert seen is not None
    assert seen.headers == (("accept", "x"),)
    _, seen = run(engine, bearing(path="/open", **{"x-sub": "root"}))
    assert seen is not None
    assert seen.headers == ()


def test_a_preflight_brings_no_token_and_needs_none(tokens: Known) -> None:
    said = {"origin": "https://shop", "access-control-request-method": "PUT"}
    request = bearing(**said)
    request.method = "OPTIONS"
    assert status(served(tokens, NEEDS_A, bypass_cors_preflight=True), request) == 200
    assert status(served(tokens, NEEDS_A), request) == 401
    request = bearing(origin="https://shop")
    request.method = "OPTIONS"
    assert status(served(tokens, NEEDS_A, bypass_cors_preflight=True), request) == 401


def test_it_is_counted_who_is_let_in_and_who_is_not(tokens: Known) -> None:
    engine = served(tokens, NEEDS_A, bypass_cors_preflight=True)
    asks = (("origin", "https://shop"), ("access-control-request-method", "PUT"))
    preflight = Request("reviews:9080", "OPTIONS", "/", headers=asks)
    for request in (
        bearing("issuer-a/1"),
        bearing(path="/open"),
        preflight,
        bearing(),
        bearing("issuer-a/bad"),
    ):
        run(engine, request)
    assert list(engine.access.values()) == [
        {"allowed": 3, "denied": 2, "cors_preflight_bypassed": 1}
    ]


def test_reasons_are_kept_back_where_that_is_asked_for(tokens: Known) -> None:
    outcome, _ = run(served(tokens, NEEDS_A, strip_failure_response=True), bearing())
    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.body, outcome.header("www-authenticate")) == (401, b"", None)


REMOTE = JwtProvider(
    name="a", issuer="issuer-a", jwks=RemoteJwks(uri="https://keys.example/", timeout=3.0)
)


@pytest.mark.parametrize(("come", "wanted"), [(True, 200), (False, 401)])
def test_a_call_waits_for_the_keys_of_its_issuer(tokens: Known, come: bool, wanted: int) -> None:
    """CVE-2026-31837: keys that cannot be had let nobody in."""
    tokens.turn = Turn()
    steps = served(tokens, NEEDS_A, REMOTE).inbound(bearing("issuer-a/1"), ())
    waiting = next(steps)
    assert waiting == AwaitTurn(tokens.turn, 3.0)
    if come:
        tokens.turn = None
    effect = steps.send(come)
    if isinstance(effect, Serve):
        effect = steps.send(Response(200))
    assert isinstance(effect, Deliver)
    assert isinstance(effect.outcome, Response)
    assert effect.outcome.status == wanted


def test_a_provider_without_an_issuer_takes_any(tokens: Known) -> None:
    anyone = JwtProvider(name="a", issuer="", jwks=LocalJwks("{}"))
    assert status(served(tokens, NEEDS_A, anyone), bearing("issuer-z/1")) == 200


def test_audiences_of_a_requirement_stand_for_those_of_the_provider() -> None:
    class Choosy(Known):
        def verify(self, provider: JwtProvider, text: str) -> Verified | Refused | KeysWanted:
            if provider.audiences == ("bank",):
                return Refused("Audiences in Jwt are not allowed", forbidden=True)
            return super().verify(provider, text)

    bank, shop = RequireProvider("a", ("bank",)), RequireProvider("a", ("shop",))
    for required, wanted in (
        (bank, 403),
        (shop, 200),
        (RequireAny((bank, shop)), 200),
        (RequireAll((bank, shop)), 401),
    ):
        assert status(served(Choosy(), required), bearing("issuer-a/1")) == wanted


def test_another_kind_of_authorization_is_no_token(tokens: Known) -> None:
    basic = get("reviews:9080", headers=(("authorization", "Basic issuer-a/1"),))
    assert status(served(tokens, NEEDS_A), basic) == 401
