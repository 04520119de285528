"""Ways past policies that others have had, each tried here.

Named after what was found in Envoy, Istio and gRPC; the request is what a hostile caller sends.
"""

from dataclasses import replace

import pytest

from meshlib.dataplane import Connection, Deliver, Engine, Options, Peer, Request, Serve
from meshlib.model import (
    ROUTER,
    Contains,
    Exact,
    HeaderMatcher,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    Prefix,
    Present,
    Route,
    RouteConfiguration,
    SafeRegex,
    Suffix,
    VirtualHost,
    gather,
)
from meshlib.model.rbac import (
    AndRules,
    AnyRule,
    Authenticated,
    CidrRange,
    DirectRemoteIp,
    HeaderRule,
    NotRule,
    OrRules,
    Policy,
    Rbac,
    RbacAction,
    RbacRules,
    RemoteIp,
    RequestedServerName,
    Rule,
    UriTemplate,
    UrlPath,
)
from meshlib.testing import FakeClock, always, get, rpc
from meshlib.xds.regex import finditer, fullmatch

ANY = AnyRule()
ONE = "spiffe://mesh.example/ns/a.b/sa/one"


def engine(action: RbacAction, permission: Rule = ANY, principal: Rule = ANY) -> Engine:
    """With the path normalized as Istio has it by default, and slashes merged."""
    policy = Policy(name="p", permissions=(permission,), principals=(principal,))
    rbac = Rbac(rules=RbacRules(action=action, policies=(policy,)))
    served = Route(name="all", action=NonForwardingAction())
    table = RouteConfiguration(
        name="t", virtual_hosts=(VirtualHost(name="v", domains=("*",), routes=(served,)),)
    )
    http = HttpConnectionManager(
        routes=table,
        http_filters=(HttpFilter(name="rbac", config=rbac), ROUTER),
        normalize_path=True,
        merge_slashes=True,
    )
    made = Engine(
        clock=FakeClock(),
        dice=always(0.0),
        options=Options(regex=fullmatch, finditer=finditer),
    )
    made.apply(gather(listeners=[Listener(name="inbound", http=http)]))
    return made


def passes(made: Engine, request: Request) -> bool:
    """Does the handler get the call?"""
    effect = next(made.inbound(request))
    assert isinstance(effect, Serve | Deliver)
    return isinstance(effect, Serve)


def allows(rule: Rule, request: Request) -> bool:
    return passes(engine(RbacAction.ALLOW, rule), request)


def denies(rule: Rule, request: Request) -> bool:
    return not passes(engine(RbacAction.DENY, rule), request)


def lets_in(principal: Rule, request: Request) -> bool:
    return passes(engine(RbacAction.ALLOW, principal=principal), request)


def keeps_out(principal: Rule, request: Request) -> bool:
    return not passes(engine(RbacAction.DENY, principal=principal), request)


def known(**peer) -> Request:
    return get("a:80", connection=Connection(peer=Peer(secure=True, **peer)))


ADMIN = UrlPath(Exact("/admin"))
BELOW = UrlPath(Prefix("/admin"))


@pytest.mark.parametrize("path", ["/admin?", "/admin?x=/open", "/admin#", "/admin#x", "/admin?#"])
def test_cve_2020_8595_an_exact_path_is_that_without_query_and_fragment(path):
    assert denies(ADMIN, get("a:80", path))
    assert denies(UriTemplate("/admin"), get("a:80", path))
    assert not allows(NotRule(ADMIN), get("a:80", path))


def test_cve_2021_39156_a_fragment_hides_nothing():
    user = UrlPath(Exact("/user"))
    assert denies(user, get("a:80", "/user#x"))
    assert not allows(NotRule(user), get("a:80", "/user#x"))


@pytest.mark.parametrize(
    "path",
    [
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/%61dmin",
        "/x/%2E./admin",
        "///admin",
    ],
)
def test_cve_2021_31920_a_path_is_judged_as_it_is_routed(path):
    assert denies(ADMIN, get("a:80", path))
    assert not allows(NotRule(ADMIN), get("a:80", path))


def test_cve_2021_31920_the_handler_gets_the_path_that_was_judged():
    effect = next(engine(RbacAction.DENY, ADMIN).inbound(get("a:80", "/x/../open//y")))
    assert isinstance(effect, Serve)
    assert effect.request.path == "/open/y"


@pytest.mark.parametrize("host", ["Secret.Example", "SECRET.example", "secret.example:443"])
def test_cve_2021_39155_a_host_is_one_in_any_case_and_with_any_port(host):
    """By the two rules that a host of an AuthorizationPolicy comes to."""
    secret = OrRules(
        (
            HeaderRule(HeaderMatcher(name=":authority", match=Exact("secret.example", True))),
            HeaderRule(HeaderMatcher(name=":authority", match=Prefix("secret.example:", True))),
        )
    )
    assert denies(secret, get("a:80", authority=host))
    assert denies(secret, rpc("a:80", authority=host))
    assert not allows(NotRule(secret), get("a:80", authority=host))


def test_a_header_host_is_not_the_host_of_a_call():
    """gRFC A41: the two names are one, and what counts is what the call was routed by."""
    for name in ("host", "Host", ":authority"):
        rule = HeaderRule(HeaderMatcher(name=name, match=Exact("good")))
        for spoof in ("host", ":authority"):
            request = get("a:80", authority="evil", headers=((spoof, "good"),))
            assert not allows(rule, request)


@pytest.mark.parametrize("name", [":method", ":path", ":scheme"])
def test_a_header_cannot_stand_for_what_is_none(name):
    rule = HeaderRule(HeaderMatcher(name=name, match=Contains("good")))
    assert not allows(rule, get("a:80", "/bad", headers=((name, "/good"),)))


@pytest.mark.parametrize(
    "values",
    [("bad", "good"), ("good", "bad"), ("", "bad"), ("bad", "bad"), ("good", "bad", "good")],
)
@pytest.mark.parametrize("call", [get, rpc])
def test_cve_2026_26308_each_value_of_a_header_is_judged(values, call):
    headers = tuple(("x-role", value) for value in values)
    bad = HeaderRule(HeaderMatcher(name="x-role", match=Exact("bad")))
    assert denies(bad, call("a:80", headers=headers))
    assert not allows(NotRule(bad), call("a:80", headers=headers))


@pytest.mark.parametrize("call", [get, rpc])
def test_cve_2026_26308_values_do_not_make_up_a_good_one(call):
    headers = (("x-role", "a"), ("x-role", "b"))
    joined = HeaderRule(HeaderMatcher(name="x-role", match=Exact("a,b")))
    assert not allows(joined, call("a:80", headers=headers))


@pytest.mark.parametrize("call", [get, rpc])
def test_cve_2021_32777_all_values_are_good_where_that_is_asked(call):
    """ "Any" is what a rule says; "all" is that, and that no value is another."""
    good = HeaderMatcher(name="x-role", match=Exact("good"))
    other = HeaderMatcher(name="x-role", match=SafeRegex("(|[^g].*|g[^o].*)"))
    every = AndRules((HeaderRule(good), NotRule(HeaderRule(other))))
    assert allows(every, call("a:80", headers=(("x-role", "good"), ("x-role", "good"))))
    assert not allows(every, call("a:80", headers=(("x-role", "good"), ("x-role", "bad"))))
    assert not allows(every, call("a:80"))


def test_a_missing_header_is_not_another_value():
    not_bad = HeaderRule(HeaderMatcher(name="x-role", match=Exact("bad"), invert_match=True))
    assert not allows(not_bad, get("a:80"))
    assert allows(not_bad, get("a:80", headers=(("x-role", "good"),)))
    assert not allows(not_bad, get("a:80", headers=(("x-role", "good"), ("x-role", "bad"))))


def test_cve_2023_35944_the_scheme_is_the_connections_own():
    secure = HeaderRule(HeaderMatcher(name=":scheme", match=Exact("https")))
    request = replace(get("a:80"), scheme="http", headers=(("x-forwarded-proto", "https"),))
    assert not allows(secure, request)


@pytest.mark.parametrize(
    "name", ["x-envoy-original-path", "x-forwarded-for", "x-original-uri", "x-rewrite-url"]
)
def test_cve_2023_27487_no_header_of_the_caller_changes_what_is_judged(name):
    assert denies(BELOW, get("a:80", "/admin/x", headers=((name, "/open"),)))


@pytest.mark.parametrize("rule", [DirectRemoteIp, RemoteIp])
@pytest.mark.parametrize("name", ["x-forwarded-for", "x-real-ip", "x-envoy-external-address"])
def test_2024_006_an_address_is_that_of_the_connection(rule, name):
    inside = rule(CidrRange("10.0.0.0", 8))
    outside = get("a:80", source="203.0.113.9:1", headers=((name, "10.0.0.1"),))
    assert not lets_in(inside, outside)
    hidden = get("a:80", source="10.0.0.1:1", headers=((name, "203.0.113.9"),))
    assert keeps_out(inside, hidden)


def test_an_address_of_ipv4_is_the_same_by_a_socket_for_both():
    inside = DirectRemoteIp(CidrRange("10.0.0.0", 8))
    mapped = get("a:80", source="[::ffff:10.0.0.1]:1")
    assert keeps_out(inside, mapped)
    assert lets_in(inside, mapped)


def test_cve_2020_16844_a_principal_by_its_end_matches_and_only_that():
    one = Authenticated(Suffix("/ns/a.b/sa/one"))
    assert keeps_out(one, known(uri_sans=(ONE,)))
    assert lets_in(one, known(uri_sans=(ONE,)))
    assert not keeps_out(one, known(uri_sans=(f"{ONE}x",)))
    assert not lets_in(one, known(uri_sans=(f"{ONE}x",)))


def test_cve_2026_39350_a_dot_in_a_name_is_a_dot():
    assert not lets_in(Authenticated(Exact(ONE)), known(uri_sans=(ONE.replace("a.b", "axb"),)))
    assert not lets_in(
        Authenticated(Prefix("spiffe://mesh.example/ns/a.b/")),
        known(uri_sans=(ONE.replace("a.b", "axb"),)),
    )
    assert not allows(UriTemplate("/v1/a.b/*"), get("a:80", "/v1/axb/c"))
    assert allows(UriTemplate("/v1/a.b/*"), get("a:80", "/v1/a.b/c"))
    assert not allows(RequestedServerName(Exact("a.b")), _asking_for("axb"))


def _asking_for(server_name: str) -> Request:
    return get("a:80", connection=Connection(server_name=server_name))


def test_a_prefix_of_a_principal_is_of_its_text_alone():
    """Who means a namespace has to end it: policies of ours do."""
    namespace = Authenticated(Prefix("spiffe://mesh.example/ns/a.b/"))
    assert not lets_in(namespace, known(uri_sans=("spiffe://mesh.example/ns/a.bc/sa/one",)))


def test_cve_2022_21656_a_dns_name_that_looks_like_an_identity_is_none():
    one = Authenticated(Exact(ONE))
    liar = known(uri_sans=("spiffe://mesh.example/ns/x/sa/x",), dns_sans=(ONE,), subject=ONE)
    assert not lets_in(one, liar)
    assert keeps_out(one, liar)
    assert not lets_in(NotRule(one), liar)


def test_a_name_without_a_verified_certificate_is_none():
    """Also where it is denied by name: who is nobody must be kept out otherwise."""
    claimed = get("a:80", connection=Connection(peer=Peer(uri_sans=(ONE,))))
    assert not lets_in(Authenticated(Exact(ONE)), claimed)
    assert not lets_in(Authenticated(), claimed)
    assert keeps_out(NotRule(Authenticated()), claimed)


@pytest.mark.parametrize("value", ["\x00", "\r\nx: y", "\udcff", "é" * 9, "%00"])
def test_what_is_no_text_is_compared_all_the_same(value):
    headers = (("x-a", value),)
    for matcher in (Exact("a"), Prefix("a"), Contains("a", True), SafeRegex("a.*")):
        rule = HeaderRule(HeaderMatcher(name="x-a", match=matcher))
        assert not allows(rule, get("a:80", headers=headers))
    present = HeaderRule(HeaderMatcher(name="x-a", match=Present()))
    assert denies(present, get("a:80", headers=headers))


def test_cve_2026_33186_a_method_without_its_slash_is_denied_like_the_method():
    """The middleware refuses such calls before; the engine does not take one for another."""
    method = UrlPath(Exact("/pkg.Service/Method"))
    assert denies(method, rpc("a:80", "pkg.Service/Method"))
    assert not allows(NotRule(method), rpc("a:80", "pkg.Service/Method"))


def test_an_expression_that_explodes_elsewhere_takes_its_time_here():
    """RE2: linear in the text, whatever the expression."""
    rule = HeaderRule(HeaderMatcher(name="x-a", match=SafeRegex("(a+)+$")))
    assert denies(rule, get("a:80", headers=(("x-a", "a" * 50_000),)))
    assert not denies(rule, get("a:80", headers=(("x-a", "a" * 50_000 + "!"),)))


def test_cve_2019_15226_ten_thousand_headers_hide_none():
    bad = HeaderRule(HeaderMatcher(name="x-role", match=Exact("bad")))
    many = tuple((f"x-{number}", "v") for number in range(10_000))
    assert denies(bad, get("a:80", headers=(*many, ("x-role", "bad"))))


def test_policies_that_allow_nobody_let_nobody_in():
    assert not allows(NotRule(ANY), get("a:80"))
    assert not lets_in(NotRule(ANY), known(uri_sans=(ONE,)))
