"""Access control before the handler: verdicts, what is told of them, what is counted."""

import pytest

from meshlib.dataplane import Cause, Connection, Deliver, Engine, Failure, Peer, Response, Serve
from meshlib.dataplane.filters.rbac_rules import MEMO_SIZE, Judge
from meshlib.errors import ConfigError
from meshlib.model import (
    ROUTER,
    Exact,
    FilterOverride,
    HeaderMatcher,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    MetadataMatcher,
    NonForwardingAction,
    PathPrefix,
    Prefix,
    Present,
    Route,
    RouteConfiguration,
    RouteMatch,
    Suffix,
    VirtualHost,
    gather,
)
from meshlib.model.rbac import (
    AndRules,
    AnyRule,
    Authenticated,
    CidrRange,
    DestinationIp,
    DestinationPort,
    DestinationPortRange,
    DirectRemoteIp,
    HeaderRule,
    MetadataRule,
    NotRule,
    OrRules,
    Policy,
    Rbac,
    RbacAction,
    RbacRules,
    RemoteIp,
    RequestedServerName,
    UriTemplate,
    UrlPath,
)
from meshlib.testing import FakeClock, always, get, rpc

NAME = "envoy.filters.http.rbac"
ANY = AnyRule()
DENIED = Exact("denied")
ONE = "spiffe://mesh.example/ns/a/sa/one"
ADMIN = UrlPath(Prefix("/admin"))


def rules(action: RbacAction, *permissions, principals=(ANY,), name="p") -> RbacRules:
    policy = Policy(name=name, permissions=permissions, principals=principals)
    return RbacRules(action=action, policies=(policy,))


def allowing(*permissions, **fields) -> Rbac:
    return Rbac(rules=rules(RbacAction.ALLOW, *permissions, **fields))


def denying(*permissions, **fields) -> Rbac:
    return Rbac(rules=rules(RbacAction.DENY, *permissions, **fields))


@pytest.fixture
def guarded():
    """An engine whose calls come in through these filters."""

    def make(*configs: Rbac, routes=None) -> Engine:
        served = routes or (Route(name="all", action=NonForwardingAction()),)
        table = RouteConfiguration(
            name="t", virtual_hosts=(VirtualHost(name="v", domains=("*",), routes=served),)
        )
        filters = [
            HttpFilter(name=NAME if not number else f"{NAME}/{number}", config=config)
            for number, config in enumerate(configs)
        ]
        http = HttpConnectionManager(routes=table, http_filters=(*filters, ROUTER))
        engine = Engine(clock=FakeClock(), dice=always(0.0))
        engine.apply(gather(listeners=[Listener(name="inbound", http=http)]))
        return engine

    return make


def judged(engine: Engine, request):
    """What the handler gets; or the answer in its place, with the record."""
    effect = next(engine.inbound(request))
    if isinstance(effect, Serve):
        return effect.request
    assert isinstance(effect, Deliver)
    return effect.outcome, effect.record


def passes(engine: Engine, request) -> bool:
    return not isinstance(judged(engine, request), tuple)


def noted(engine: Engine, request, namespace=NAME):
    metadata = judged(engine, request).dynamic_metadata
    found = dict(metadata.filter_metadata) if metadata is not None else {}
    return dict(found[namespace].fields) if namespace in found else {}


def test_who_is_denied_learns_no_more_than_that(guarded):
    outcome, record = judged(guarded(denying(ADMIN)), get("a:80", "/admin?x"))
    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.body) == (403, b"RBAC: access denied")
    assert record.flags == ("UAEX",)
    assert record.details == "rbac_access_denied_matched_policy[p]"
    assert not any("p" in value for name, value in outcome.headers if name.startswith("x-"))


def test_a_denied_rpc_ends_with_permission_denied(guarded):
    outcome, record = judged(guarded(allowing(ADMIN)), rpc("a:80"))
    assert outcome == Failure(Cause.UNAUTHORIZED, "RBAC: access denied", 7)
    assert record.details == "rbac_access_denied_matched_policy[none]"


def test_the_name_of_a_policy_is_one_word_in_logs(guarded):
    _, record = judged(guarded(denying(ANY, name="two\r\n words")), get("a:80"))
    assert record.details == "rbac_access_denied_matched_policy[two_words]"


def test_policies_are_tried_by_name(guarded):
    policies = tuple(Policy(name=n, permissions=(ANY,), principals=(ANY,)) for n in "ba")
    engine = guarded(Rbac(rules=RbacRules(action=RbacAction.DENY, policies=policies)))
    _, record = judged(engine, get("a:80"))
    assert record.details == "rbac_access_denied_matched_policy[a]"


def test_no_policy_at_all_denies_where_policies_allow(guarded):
    assert not passes(guarded(Rbac(rules=RbacRules())), get("a:80"))
    assert passes(guarded(Rbac(rules=RbacRules(action=RbacAction.DENY))), get("a:80"))
    assert passes(guarded(Rbac(rules=RbacRules(action=RbacAction.LOG))), get("a:80"))


def test_without_rules_all_pass_and_nothing_is_counted(guarded):
    engine = guarded(Rbac())
    assert passes(engine, get("a:80"))
    assert engine.access == {}


def test_one_filter_after_the_other_has_to_let_a_call_pass(guarded):
    engine = guarded(denying(ADMIN), allowing(UrlPath(Prefix("/a"))))
    assert passes(engine, get("a:80", "/a"))
    assert not passes(engine, get("a:80", "/admin"))
    assert not passes(engine, get("a:80", "/b"))


def test_a_route_has_rules_of_its_own(guarded):
    open_ = Route(
        name="open",
        match=RouteMatch(path=PathPrefix("/open")),
        action=NonForwardingAction(),
        overrides=(FilterOverride(name=NAME, config=Rbac()),),
    )
    engine = guarded(
        Rbac(rules=RbacRules()), routes=(open_, Route(name="all", action=NonForwardingAction()))
    )
    assert passes(engine, get("a:80", "/open"))
    assert not passes(engine, get("a:80", "/other"))


def test_shadow_rules_decide_nothing_and_say_what_they_would(guarded):
    shadow = rules(RbacAction.DENY, ADMIN)
    engine = guarded(Rbac(shadow_rules=shadow, shadow_rules_stat_prefix="dry_"))
    assert noted(engine, get("a:80", "/admin")) == {
        "dry_shadow_effective_policy_id": "p",
        "dry_shadow_engine_result": "denied",
    }
    assert noted(engine, get("a:80", "/")) == {"dry_shadow_engine_result": "allowed"}
    (found,) = engine.access.values()
    assert found == {"allowed": 0, "denied": 0, "shadow_allowed": 1, "shadow_denied": 1}


def test_filters_of_one_kind_note_beside_each_other(guarded):
    shadow = rules(RbacAction.ALLOW, ADMIN)
    engine = guarded(
        Rbac(shadow_rules=shadow, shadow_rules_stat_prefix="one_"),
        Rbac(shadow_rules=shadow, shadow_rules_stat_prefix="two_"),
    )
    assert noted(engine, get("a:80", "/")) == {
        "one_shadow_engine_result": "denied",
        "two_shadow_engine_result": "denied",
    }


def test_log_lets_all_pass_and_leaves_a_hint(guarded):
    engine = guarded(Rbac(rules=rules(RbacAction.LOG, ADMIN)))
    hint = {"access_log_hint": True}
    assert noted(engine, get("a:80", "/admin"), "envoy.common") == hint
    assert noted(engine, get("a:80", "/"), "envoy.common") == {"access_log_hint": False}


def test_verdicts_are_counted_where_the_filter_stands(guarded):
    engine = guarded(denying(ADMIN))
    for path in ("/", "/", "/admin"):
        judged(engine, get("a:80", path))
    assert engine.access == {
        f"t/{NAME}": {"allowed": 2, "denied": 1, "shadow_allowed": 0, "shadow_denied": 0}
    }


BY_ADDRESS = [
    DestinationPort(80),
    DestinationPortRange(80, 81),
    DestinationIp(CidrRange("10.0.0.0", 8)),
]
BY_CALLER = [
    DirectRemoteIp(CidrRange("10.0.0.0", 8)),
    RemoteIp(CidrRange("10.0.0.0", 8)),
]
HERE = Connection(local_address="10.0.0.1:80")


@pytest.mark.parametrize("rule", [*BY_ADDRESS, *BY_CALLER], ids=str)
def test_what_is_known_is_compared(guarded, rule):
    request = get("a:80", source="10.0.0.2:4000", connection=HERE)
    elsewhere = get(
        "a:80", source="11.0.0.2:4000", connection=Connection(local_address="11.0.0.1:81")
    )
    assert passes(guarded(allowing(rule)), request)
    assert not passes(guarded(allowing(rule)), elsewhere)
    assert not passes(guarded(denying(rule)), request)
    assert passes(guarded(denying(rule)), elsewhere)


@pytest.mark.parametrize("rule", [*BY_ADDRESS, *BY_CALLER], ids=str)
def test_what_nobody_can_know_speaks_against_the_caller(guarded, rule):
    """Also where the rule is turned around, and around again."""
    trees = [
        rule,
        NotRule(rule),
        NotRule(NotRule(rule)),
        AndRules((ANY, NotRule(OrRules((rule,))))),
    ]
    for tree in trees:
        assert not passes(guarded(allowing(tree)), get("a:80"))
        assert not passes(guarded(denying(tree)), get("a:80"))


@pytest.mark.parametrize("name", [":scheme", "te", "content-type", "grpc-timeout", "x-key-bin"])
def test_what_grpc_hides_speaks_against_the_caller(guarded, name):
    there = HeaderRule(HeaderMatcher(name=name, match=Present()))
    for rule in (there, NotRule(there)):
        assert not passes(guarded(allowing(rule)), rpc("a:80"))
        assert not passes(guarded(denying(rule)), rpc("a:80"))
    seen = get("a:80", headers=((name, "x"),))
    assert passes(guarded(allowing(there)), seen)
    assert not passes(guarded(denying(there)), seen)


def test_a_caller_is_known_by_what_counts(guarded):
    one = Authenticated(Exact(ONE))
    engine = guarded(allowing(ANY, principals=(one,)))

    def calls(**peer) -> bool:
        return passes(engine, get("a:80", connection=Connection(peer=Peer(**peer))))

    assert calls(secure=True, uri_sans=(ONE,))
    assert calls(secure=True, uri_sans=("https://x", ONE))
    assert not calls(secure=False, uri_sans=(ONE,))
    assert not calls(secure=True)
    host = guarded(allowing(ANY, principals=(Authenticated(Exact("host")),)))
    named = Peer(secure=True, dns_sans=("host",))
    assert passes(host, get("a:80", connection=Connection(peer=named)))
    subject = Peer(secure=True, subject="host")
    assert passes(host, get("a:80", connection=Connection(peer=subject)))


def test_what_filters_found_out_is_a_principal(guarded):
    rule = MetadataRule(MetadataMatcher(filter=NAME, path=("shadow_engine_result",), match=DENIED))
    shadow = Rbac(shadow_rules=rules(RbacAction.DENY, ADMIN))
    engine = guarded(shadow, denying(ANY, principals=(rule,)))
    assert passes(engine, get("a:80", "/"))
    assert not passes(engine, get("a:80", "/admin"))


def test_sets_of_rules_hold_as_a_whole(guarded):
    one, two = UrlPath(Prefix("/a")), UrlPath(Suffix("b"))
    for path, both, either in (("/ab", True, True), ("/a", False, True), ("/", False, False)):
        assert passes(guarded(allowing(AndRules((one, two)))), get("a:80", path)) is both
        assert passes(guarded(allowing(OrRules((one, two)))), get("a:80", path)) is either
        assert passes(guarded(allowing(one, two)), get("a:80", path)) is either
        assert passes(guarded(allowing(AndRules((one,)))), get("a:80", path)) is either


def test_anybody_authenticated_is_somebody_with_a_certificate(guarded):
    engine = guarded(allowing(ANY, principals=(Authenticated(),)))
    assert passes(engine, get("a:80", connection=Connection(peer=Peer(secure=True))))
    assert not passes(engine, get("a:80"))


def test_the_name_that_was_asked_for_is_a_permission(guarded):
    engine = guarded(allowing(RequestedServerName(Exact("one"))))
    assert passes(engine, get("a:80", connection=Connection(server_name="one")))
    assert not passes(engine, get("a:80"))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (UriTemplate("x"), "path template 'x': must begin with '/'"),
        (DestinationIp(CidrRange("10.0.0.0", 33)), "33"),
        (AndRules(()), "must not be empty"),
        (OrRules(()), "must not be empty"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_whole(guarded, rule, why):
    with pytest.raises(ConfigError, match=why):
        guarded(allowing(rule))


def test_a_policy_for_nobody_is_refused(guarded):
    with pytest.raises(ConfigError, match="must not be empty"):
        guarded(denying(ANY, principals=()))


def test_what_is_remembered_of_requests_is_bounded():
    policy = Policy(name="p", permissions=(ADMIN,), principals=(ANY,))
    judge = Judge(RbacRules(policies=(policy,)), str.__eq__)
    for number in range(MEMO_SIZE + 5):
        assert judge.policy(get("a:80", f"/{number}")) is None
        assert judge.policy(get("a:80", f"/admin/{number}?x")) == "p"
    assert len(judge._memo) <= MEMO_SIZE
