"""Who may call a handler, written beside it."""

from collections.abc import Generator
from typing import Any

import pytest

import meshlib
from meshlib.dataplane import Deliver, Engine, Options, Request, Response, Serve
from meshlib.dataplane.filters.jwt_authn import FILTER
from meshlib.dataplane.message import Connection, Peer
from meshlib.model import (
    ROUTER,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    Route,
    RouteConfiguration,
    Struct,
    VirtualHost,
    gather,
)
from meshlib.model.authn import JwtAuthn
from meshlib.model.rbac import AnyRule, Policy, Rbac, RbacAction, RbacRules
from meshlib.testing import FakeClock, always, get

CART = "cluster.local/ns/shop/sa/cart"


def calling(spiffe_id: str = "", **claims: Any) -> Request:
    request = get("here:80")
    if spiffe_id:
        peer = Peer(secure=True, spiffe_id=spiffe_id, uri_sans=(spiffe_id,))
        request.connection = Connection(peer=peer)
    if claims:
        noted = Struct((("payload", Struct(tuple(sorted(claims.items())))),))
        return request.noted(FILTER, noted)
    return request


def by(account: str, **claims: Any) -> Request:
    return calling(f"spiffe://{account}", **claims)


def an_engine(*configs: Any) -> Engine:
    host = VirtualHost(
        name="here", domains=("*",), routes=(Route(name="all", action=NonForwardingAction()),)
    )
    filters = tuple(
        HttpFilter(name=str(number), config=config) for number, config in enumerate(configs)
    )
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(*filters, ROUTER),
    )
    engine = Engine(clock=FakeClock(), dice=always(0), options=Options(complete=True))
    if configs:
        engine.apply(gather(listeners=[Listener(name="inbound", http=http)]))
    return engine


def passes(request: Request, engine: Engine | None = None, **named: Any) -> bool:
    @meshlib.allow(**named)
    def handler() -> None: ...

    marks = handler.__meshlib_filters__  # type: ignore[attr-defined]
    steps: Generator[Any, Any, Any] = (engine or an_engine()).inbound(request, marks)
    effect = next(steps)
    if isinstance(effect, Serve):
        steps.close()
        return True
    assert isinstance(effect, Deliver)
    assert isinstance(effect.outcome, Response)
    assert (effect.outcome.status, effect.outcome.body) == (403, b"RBAC: access denied")
    return False


@pytest.mark.parametrize(
    ("named", "caller", "wanted"),
    [
        ("cluster.local/ns/shop/sa/cart", CART, True),
        ("spiffe://cluster.local/ns/shop/sa/cart", CART, True),
        ("cluster.local/ns/shop/*", CART, True),
        ("*/sa/cart", CART, True),
        ("*", CART, True),
        ("*", "", False),
        ("cluster.local/ns/shop/sa/car", CART, False),
        ("cluster.local/ns/shop/sa/c.rt", CART, False),
        ("other.domain/ns/shop/sa/cart", CART, False),
    ],
)
def test_a_handler_is_called_by_who_is_named(named: str, caller: str, wanted: bool) -> None:
    request = by(caller) if caller else calling()
    assert passes(request, principals=[named]) is wanted


@pytest.mark.parametrize(
    ("namespace", "wanted"), [("shop", True), ("sho", False), ("cluster", False), ("cart", False)]
)
def test_a_namespace_is_that_of_the_callers_id(namespace: str, wanted: bool) -> None:
    assert passes(by(CART), namespaces=[namespace]) is wanted
    assert not passes(by("x/ns/other/sa/ns/shop/sa/x"), namespaces=["shop"])


TOKEN: dict[str, Any] = {
    "iss": "https://issuer/",
    "sub": "jason",
    "groups": ("a", "b"),
    "tier": "gold",
}


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        ("https://issuer//jason", True),
        ("https://issuer//*", True),
        ("*/jason", True),
        ("*", True),
        ("https://issuer//anna", False),
        ("https://other/jason", False),
    ],
)
def test_a_token_names_its_issuer_and_subject(named: str, wanted: bool) -> None:
    assert passes(calling(**TOKEN), request_principals=[named]) is wanted
    assert not passes(by(CART), request_principals=[named])


def test_claims_are_one_text_or_one_item_of_a_list() -> None:
    assert passes(calling(**TOKEN), claims={"groups": "b"})
    assert passes(calling(**TOKEN), claims={"groups": ["c", "a"], "tier": "go*"})
    assert not passes(calling(**TOKEN), claims={"groups": "c"})
    assert not passes(calling(**TOKEN), claims={"groups": "a", "tier": "silver"})
    assert not passes(by(CART), claims={"groups": "a"})


def test_of_each_kind_one_has_to_fit() -> None:
    named: dict[str, Any] = {"principals": ["x/ns/y/sa/z", CART], "claims": {"tier": "gold"}}
    assert passes(by(CART, **TOKEN), **named)
    assert not passes(by(CART), **named)
    assert not passes(calling(**TOKEN), **named)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"principals": []},
        {"principals": CART},
        {"principals": [""]},
        {"principals": ["cart"]},
        {"principals": ["a/*/b"]},
        {"principals": [7]},
        {"namespaces": ["a.b"]},
        {"namespaces": ["*"]},
        {"request_principals": ["jason"]},
        {"request_principals": ["a*b/jason"]},
        {"claims": {"groups": []}},
        {"claims": {"groups": ["a\n"]}},
    ],
)
def test_a_name_that_is_none_is_an_error_at_once(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        meshlib.allow(**wrong)


# --- and the configuration ---

ALL = (AnyRule(),)


def policy(action: RbacAction) -> Rbac:
    return Rbac(
        rules=RbacRules(
            action=action, policies=(Policy(name="all", permissions=ALL, principals=ALL),)
        )
    )


def test_a_configured_policy_that_allows_wins() -> None:
    engine = an_engine(policy(RbacAction.ALLOW))
    assert passes(calling(), engine, principals=[CART])


@pytest.mark.parametrize(
    "config",
    [
        Rbac(rules=RbacRules(action=RbacAction.DENY)),
        policy(RbacAction.LOG),
        Rbac(shadow_rules=policy(RbacAction.ALLOW).rules),
        JwtAuthn(),
    ],
)
def test_what_does_not_allow_does_not_open_a_handler(config: Any) -> None:
    engine = an_engine(config)
    assert not passes(calling(), engine, principals=[CART])
    assert passes(by(CART), engine, principals=[CART])


def test_what_is_denied_stays_denied() -> None:
    engine = an_engine(policy(RbacAction.DENY))
    assert not passes(by(CART), engine, principals=[CART])
