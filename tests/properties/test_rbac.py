"""Who may pass, judged twice: by the engine, and by the simplest words for the same rules."""

import re
from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.dataplane.filters.rbac_rules import Judge
from meshlib.dataplane.message import Connection, Peer, Request
from meshlib.dataplane.routing.paths import normalizer
from meshlib.model import (
    Contains,
    Exact,
    HeaderMatcher,
    HttpConnectionManager,
    Metadata,
    MetadataMatcher,
    Prefix,
    Present,
    Range,
    Rds,
    SafeRegex,
    Struct,
    Suffix,
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
    RbacAction,
    RbacRules,
    RemoteIp,
    RequestedServerName,
    UriTemplate,
    UrlPath,
)
from meshlib.xds.regex import fullmatch

ONE, TWO = "spiffe://mesh/ns/a/sa/one", "spiffe://mesh/ns/a/sa/two"
TEMPLATES = {
    "/a/*": "/a/[^/]+",
    "/*/b": "/[^/]+/b",
    "/**": "/.*",
    "/a/**": "/a/.*",
    "/{x}/*.json": r"/[^/]+/[^/]+\.json",
}


# The oracle: three answers, None for "nobody can know", and nothing clever.


def negated(answer):
    return None if answer is None else not answer


def all_of(answers):
    return False if False in answers else None if None in answers else True


def text(matcher, value):
    if isinstance(matcher, SafeRegex):
        return re.fullmatch(matcher.regex, value) is not None
    wanted = matcher.value
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    match matcher:
        case Exact():
            return value == wanted
        case Prefix():
            return value.startswith(wanted)
        case Suffix():
            return value.endswith(wanted)
        case Contains():
            return wanted in value


def header(matcher, request):
    name = {"host": ":authority"}.get(matcher.name, matcher.name)
    if request.is_grpc and (name.startswith("grpc-") or name.endswith("-bin") or name == ":scheme"):
        return None
    pseudo = {":method": request.method, ":path": request.path, ":authority": request.authority}
    pseudo |= {":scheme": request.scheme}
    values = [pseudo[name]] if name in pseudo else [v for k, v in request.headers if k == name]
    if not values and matcher.treat_missing_header_as_empty:
        values = [""]
    if isinstance(matcher.match, Present):
        return (bool(values) is matcher.match.present) is not matcher.invert_match
    if not values:
        return False
    return any(text(matcher.match, value) for value in values) is not matcher.invert_match


def within(range_, address):
    if not address:
        return None
    ip = ip_address(address.rpartition(":")[0].strip("[]"))
    return ip in ip_network(f"{range_.address_prefix}/{range_.prefix_len}", strict=False)


def known_as(peer, action_denies):
    if action_denies:
        return {*peer.uri_sans, *peer.dns_sans, peer.subject}
    return set(peer.uri_sans) or set(peer.dns_sans) or {peer.subject}


def metadata(matcher, request):
    found = request.dynamic_metadata.get(matcher.filter, matcher.path[0])
    fits = {
        Present: lambda: matcher.match.present and found is not None,
        Range: lambda: (
            isinstance(found, float) and matcher.match.start <= found < matcher.match.end
        ),
        Exact: lambda: isinstance(found, str) and text(matcher.match, found),
    }[type(matcher.match)]()
    return fits is not matcher.invert


def holds(rule, request, doubt):  # noqa: C901, PLR0911, PLR0912 - a line or two for each rule
    port = request.connection.local_address.rpartition(":")[2]
    path = request.path.partition("?")[0]
    peer = request.connection.peer
    match rule:
        case AnyRule():
            return True
        case AndRules(rules):
            return all_of([holds(one, request, doubt) for one in rules])
        case OrRules(rules):
            return negated(all_of([negated(holds(one, request, doubt)) for one in rules]))
        case NotRule(inner):
            return negated(holds(inner, request, not doubt))
        case HeaderRule(matcher):
            return header(matcher, request)
        case UrlPath(matcher):
            return text(matcher, path)
        case UriTemplate(template):
            return re.fullmatch(TEMPLATES[template], path) is not None
        case DestinationIp(range_):
            return within(range_, request.connection.local_address)
        case DirectRemoteIp(range_) | RemoteIp(range_):
            return within(range_, request.source)
        case DestinationPort(number):
            return int(port) == number if port else None
        case DestinationPortRange(start, end):
            return start <= int(port) < end if port else None
        case RequestedServerName(matcher):
            return text(matcher, request.connection.server_name)
        case MetadataRule(matcher):
            return metadata(matcher, request)
        case Authenticated(None):
            return peer.secure
        case Authenticated(matcher):
            names = known_as(peer, doubt)
            return peer.secure and any(text(matcher, name) for name in names)


def lets_pass(rules, request):
    """What is in doubt is as bad as it can be."""
    doubt = rules.action is RbacAction.DENY
    for policy in rules.policies:
        sides = (policy.permissions, policy.principals)
        found = all_of([holds(OrRules(side), request, doubt) for side in sides])
        if doubt if found is None else found:
            return rules.action is not RbacAction.DENY
    return rules.action is not RbacAction.ALLOW


WORDS = st.sampled_from(["one", "two", "One", "/a", "/a/b", "o", "/ns/a/"])
TEXTS = st.one_of(
    *(st.builds(kind, WORDS, st.booleans()) for kind in (Exact, Prefix, Suffix, Contains)),
    st.builds(SafeRegex, st.sampled_from(["o.*", "/a/[a-z]", "one|two", ".*sa/one"])),
)
NAMES = st.sampled_from(
    ["x-a", "x-b", ":method", ":path", ":authority", "host", ":scheme", "grpc-x", "x-bin"]
)
RANGES = st.sampled_from(
    [CidrRange("127.0.0.0", 8), CidrRange("10.0.0.0", 8), CidrRange("127.0.0.1", 32)]
) | st.sampled_from([CidrRange("::1", 128), CidrRange("::", 0), CidrRange("0.0.0.0", 0)])
HEADERS = st.builds(
    HeaderMatcher,
    name=NAMES,
    match=TEXTS | st.builds(Present, st.booleans()),
    invert_match=st.booleans(),
    treat_missing_header_as_empty=st.booleans(),
)
METADATA = st.builds(
    MetadataMatcher,
    filter=st.sampled_from(["some", "none"]),
    path=st.sampled_from([("text",), ("number",)]),
    match=st.builds(Present, st.booleans()) | st.just(Range(0, 6)) | st.just(Exact("one")),
    invert=st.booleans(),
)
FACTS = st.one_of(
    st.builds(AnyRule),
    st.builds(HeaderRule, HEADERS),
    st.builds(UrlPath, TEXTS),
    st.sampled_from(sorted(TEMPLATES)).map(UriTemplate),
    st.builds(DestinationIp, RANGES),
    st.builds(DestinationPort, st.sampled_from([80, 443])),
    st.just(DestinationPortRange(80, 81)),
    st.builds(RequestedServerName, TEXTS),
    st.builds(MetadataRule, METADATA),
    st.builds(Authenticated, st.none() | TEXTS | st.builds(Exact, st.sampled_from([ONE, TWO]))),
    st.builds(DirectRemoteIp, RANGES),
    st.builds(RemoteIp, RANGES),
)
MANY = {"min_size": 1, "max_size": 2}
RULES = st.recursive(
    FACTS,
    lambda inner: st.one_of(
        st.builds(NotRule, inner),
        st.lists(inner, **MANY).map(lambda rules: AndRules(tuple(rules))),
        st.lists(inner, **MANY).map(lambda rules: OrRules(tuple(rules))),
    ),
    max_leaves=4,
)
SIDES = st.lists(RULES, **MANY).map(tuple)
POLICIES = st.lists(st.tuples(SIDES, SIDES), max_size=3).map(
    lambda sides: tuple(
        Policy(name=str(number), permissions=permissions, principals=principals)
        for number, (permissions, principals) in enumerate(sides)
    )
)
ACCESS = st.builds(RbacRules, action=st.sampled_from(RbacAction), policies=POLICIES)
PEERS = st.sampled_from(
    [
        Peer(),
        Peer(secure=True, uri_sans=(ONE,)),
        Peer(secure=True, uri_sans=(TWO,), dns_sans=(ONE,), subject="one"),
        Peer(secure=True, dns_sans=("one", "two")),
        Peer(secure=True, subject="one"),
    ]
)
PLACES = st.sampled_from(["", "127.0.0.1:80", "127.0.0.2:443", "[::1]:80", "10.1.2.3:81"])
VALUES = st.lists(
    st.tuples(
        st.sampled_from(["x-a", "x-b", "x-bin", "grpc-x"]), st.sampled_from(["one", "two", "", "o"])
    ),
    max_size=4,
)
NOTED = st.sampled_from(
    [Struct(), Struct((("text", "one"),)), Struct((("number", 5.0), ("text", "two")))]
)
REQUESTS = st.builds(
    Request,
    target=st.just("one:80"),
    method=st.sampled_from(["GET", "one"]),
    path=st.sampled_from(["/a/b", "/a", "/", "/a/b?/x", "/one/two.json", "/a/b/c"]),
    authority=st.sampled_from(["one", "two", "One:80"]),
    headers=VALUES.map(tuple),
    is_grpc=st.booleans(),
    source=PLACES,
    dynamic_metadata=NOTED.map(lambda noted: Metadata((("some", noted),))),
    connection=st.builds(
        Connection, peer=PEERS, local_address=PLACES, server_name=st.sampled_from(["", "one"])
    ),
)


def judged(rules, request):
    judge = Judge(rules, fullmatch)
    return judge.lets_pass(judge.policy(request))


@settings(max_examples=600, deadline=None)
@given(ACCESS, REQUESTS)
def test_the_engine_lets_pass_whom_the_rules_let_pass(rules: RbacRules, request: Request) -> None:
    assert judged(rules, request) is lets_pass(rules, request)


@settings(max_examples=300, deadline=None)
@given(ACCESS, st.lists(REQUESTS, min_size=2, max_size=6))
def test_who_was_judged_before_decides_nothing(rules: RbacRules, requests: list[Request]) -> None:
    judge = Judge(rules, fullmatch)
    for request in (*requests, *requests):
        assert judge.lets_pass(judge.policy(request)) is lets_pass(rules, request)


@settings(max_examples=100, deadline=None)
@given(ACCESS, REQUESTS, st.randoms())
def test_the_order_of_headers_decides_nothing(rules, request, luck) -> None:
    shuffled = list(request.headers)
    luck.shuffle(shuffled)
    assert judged(rules, request) is judged(rules, replace(request, headers=tuple(shuffled)))


@settings(max_examples=100, deadline=None)
@given(ACCESS, REQUESTS)
def test_a_header_said_twice_is_said_once(rules: RbacRules, request: Request) -> None:
    twice = replace(request, headers=(*request.headers, *request.headers))
    assert judged(rules, request) is judged(rules, twice)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["one", "two", "bad", ""]), max_size=4), st.booleans())
def test_one_more_value_never_gets_past_a_denial(values: list[str], is_grpc: bool) -> None:
    bad = HeaderRule(HeaderMatcher(name="x-a", match=Exact("bad")))
    policy = Policy(name="p", permissions=(bad,), principals=(AnyRule(),))
    rules = RbacRules(action=RbacAction.DENY, policies=(policy,))
    headers = tuple(("x-a", value) for value in values)
    request = Request("a:80", "GET", "/", headers=headers, is_grpc=is_grpc)
    assert judged(rules, request) is ("bad" not in values)


@settings(max_examples=100, deadline=None)
@given(ACCESS, REQUESTS)
def test_what_nobody_can_see_never_lets_somebody_in(rules: RbacRules, request: Request) -> None:
    """A caller whose addresses are hidden passes only where one would with whatever addresses."""
    connection = replace(request.connection, local_address="")
    if not judged(rules, replace(request, source="", connection=connection)):
        return
    for place in ("127.0.0.1:80", "10.0.0.1:443", "[::1]:81"):
        seen = replace(request.connection, local_address=place)
        assert judged(rules, replace(request, source=place, connection=seen))


TIDY = normalizer(HttpConnectionManager(routes=Rds(""), normalize_path=True, merge_slashes=True))


@settings(max_examples=100, deadline=None)
@given(ACCESS, REQUESTS, st.data())
def test_how_a_path_is_spelled_decides_nothing(rules, request, data) -> None:
    """Unreserved characters may be written as percent and number, slashes twice, dots between."""
    path, mark, query = request.path.partition("?")
    spelled = "".join(
        f"%{ord(one):02x}" if one.isalpha() and data.draw(st.booleans()) else one for one in path
    )
    slashes = data.draw(st.sampled_from(["/", "//", "/./", "/x/../", "/x/%2e%2E/"]))
    assert TIDY is not None
    tidied = TIDY(slashes + spelled.removeprefix("/") + mark + query)
    assert tidied is not None
    assert judged(rules, replace(request, path=tidied)) is judged(rules, request)


HOSTS = [
    HeaderRule(HeaderMatcher(name=":authority", match=Exact("one.example", ignore_case=True))),
    HeaderRule(HeaderMatcher(name="host", match=Prefix("one.example:", ignore_case=True))),
]


@given(st.data(), st.sampled_from(["", ":80", ":65535"]), st.sampled_from(RbacAction))
def test_how_a_host_is_spelled_decides_nothing(data, port, action) -> None:
    """By the two rules for a host that Istio makes of one."""
    host = "".join(data.draw(st.sampled_from([c, c.upper()])) for c in "one.example")
    policy = Policy(name="p", permissions=(OrRules(tuple(HOSTS)),), principals=(AnyRule(),))
    rules = RbacRules(action=action, policies=(policy,))
    for is_grpc in (False, True):
        request = Request("x:1", "GET", "/", host + port, is_grpc=is_grpc)
        assert judged(rules, request) is (action is not RbacAction.DENY)
