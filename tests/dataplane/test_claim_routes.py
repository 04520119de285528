"""Routes by what a verified token says: found once more when the token has been read."""

from dataclasses import replace

import pytest

from meshlib.dataplane import Deliver, Engine, Options, Request, Response, Serve
from meshlib.dataplane.filters.jwt_authn import FILTER
from meshlib.dataplane.filters.tokens import Refused, Verified
from meshlib.model import (
    ALWAYS,
    FAULT,
    ROUTER,
    DirectResponseAction,
    Exact,
    Fault,
    FaultAbort,
    FilterOverride,
    HeaderMatcher,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    ListMatch,
    MetadataMatcher,
    NonForwardingAction,
    OrMatch,
    Present,
    Route,
    RouteConfiguration,
    RouteMatch,
    Struct,
    VirtualHost,
    gather,
)
from meshlib.model.authn import (
    AllowMissing,
    ClaimToHeader,
    JwtAuthn,
    JwtProvider,
    JwtRule,
    LocalJwks,
    RequireAny,
    RequireProvider,
)
from meshlib.testing import FakeClock, always, get, said

PROVIDER = JwtProvider(
    name="a",
    issuer="us",
    jwks=LocalJwks("{}"),
    payload_in_metadata="payload",
    claim_to_headers=(ClaimToHeader(header_name="x-group", claim_name="team"),),
    clear_route_cache=True,
)
ADMINS = Exact("admins")
IN_GROUP = MetadataMatcher(
    filter=FILTER,
    path=("payload", "groups"),
    match=OrMatch((ListMatch(ADMINS), ADMINS)),
)
HAS_GROUP = MetadataMatcher(filter=FILTER, path=("payload", "groups"), match=Present())
EVERYBODY = Route(name="all", action=NonForwardingAction())
OF_ADMINS = Route(
    name="admins",
    match=RouteMatch(dynamic_metadata=(IN_GROUP,)),
    action=DirectResponseAction(status=202),
)


class Groups:
    """A token is the comma-separated groups of its bearer."""

    def issuer(self, text: str) -> str | Refused:
        return "us"

    def verify(self, provider: JwtProvider, text: str) -> Verified | Refused:
        if text == "forged":
            return Refused("Jwt verification fails")
        groups = text if "," not in text else tuple(text.split(","))
        return Verified(Struct((("groups", groups), ("team", text))), "")


def serving(*routes: Route, provider: JwtProvider = PROVIDER) -> Engine:
    rule = JwtRule(RouteMatch(), RequireAny((RequireProvider("a"), AllowMissing())))
    guard = HttpFilter(name=FILTER, config=JwtAuthn(providers=(provider,), rules=(rule,)))
    host = VirtualHost(name="here", domains=("*",), routes=routes)
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(guard, FAULT, ROUTER),
    )
    options = Options(complete=True, tokens=Groups())
    engine = Engine(clock=FakeClock(), dice=always(0), options=options)
    engine.apply(gather(listeners=[Listener(name="inbound", http=http)]))
    return engine


def of(text: str) -> Request:
    return get("here:80", headers=(("authorization", f"Bearer {text}"),))


def found(engine: Engine, request: Request) -> tuple[str, str]:
    """What the caller gets of a handler that answers 200, and the route of the call."""
    steps = engine.inbound(request)
    effect = next(steps)
    if isinstance(effect, Serve):
        effect = steps.send(Response(200))
    assert isinstance(effect, Deliver)
    assert list(steps) == []
    route = effect.record.route
    return said(effect.outcome), "" if route is None else route.config.name


@pytest.mark.parametrize("groups", ["admins", "shop,admins"])
def test_a_claim_of_a_verified_token_chooses_the_route(groups) -> None:
    assert found(serving(OF_ADMINS, EVERYBODY), of(groups)) == ("202", "admins")


@pytest.mark.parametrize("request_", [get("here:80"), of("shop"), of("shop,admin")])
def test_without_the_claim_the_next_route_holds(request_) -> None:
    assert found(serving(OF_ADMINS, EVERYBODY), request_) == ("200", "all")


def test_the_claims_of_a_forged_token_lead_nowhere() -> None:
    assert found(serving(OF_ADMINS, EVERYBODY), of("forged"))[0].startswith("401")


def test_what_no_filter_may_reroute_stays_where_it_was() -> None:
    engine = serving(OF_ADMINS, EVERYBODY, provider=replace(PROVIDER, clear_route_cache=False))
    assert found(engine, of("admins")) == ("200", "all")


def test_behind_the_token_the_filters_of_the_new_route_are_met() -> None:
    abort = Fault(abort=FaultAbort(http_status=418, percentage=ALWAYS))
    overrides = (FilterOverride(name=FAULT.name, config=abort),)
    engine = serving(replace(OF_ADMINS, overrides=overrides), EVERYBODY)
    assert found(engine, of("admins"))[0].startswith("418")
    assert found(engine, of("shop")) == ("200", "all")
    engine = serving(OF_ADMINS, replace(EVERYBODY, overrides=overrides))
    assert found(engine, of("admins")) == ("202", "admins")
    assert found(engine, of("shop"))[0].startswith("418")


def test_a_table_that_asks_for_claims_only_has_no_route_without() -> None:
    engine = serving(OF_ADMINS)
    assert found(engine, of("admins")) == ("202", "admins")
    for request in (get("here:80"), of("shop")):
        outcome, route = found(engine, request)
        assert (outcome[:3], route) == ("404", "")
    assert found(engine, of("forged"))[0].startswith("401")


def test_a_header_made_of_a_claim_chooses_the_route_too() -> None:
    match = RouteMatch(headers=(HeaderMatcher(name="x-group", match=ADMINS),))
    engine = serving(replace(OF_ADMINS, match=match), EVERYBODY)
    assert found(engine, of("admins")) == ("202", "admins")
    forged = get("here:80", headers=(("x-group", "admins"),))
    assert found(engine, forged) == ("200", "all")


def test_who_may_not_have_a_claim_loses_the_route_when_it_is_read() -> None:
    match = RouteMatch(dynamic_metadata=(replace(HAS_GROUP, invert=True),))
    engine = serving(replace(OF_ADMINS, match=match), EVERYBODY)
    assert found(engine, get("here:80")) == ("202", "admins")
    assert found(engine, of("shop")) == ("200", "all")
