"""Policies and requests at random: who asks, from where, and for what."""

from collections.abc import Callable
from dataclasses import dataclass

from ...model import (
    Contains,
    Exact,
    HeaderMatcher,
    ListMatch,
    MetadataMatcher,
    OrMatch,
    Prefix,
    Present,
    Range,
    SafeRegex,
    StringMatcher,
    Suffix,
    ValueMatch,
)
from ...model.rbac import (
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
    Rule,
    UriTemplate,
    UrlPath,
)
from .case import Sent
from .luck import Luck
from .matches import header_matcher, string_matcher

__all__ = ["NAMES", "PORT", "TOLD", "AccessCase", "Caller", "access_case"]

PORT = 15006
"""Stands for the port that the requests come to, wherever that is."""
TOLD = "some"
"""What ``x-text`` and ``x-number`` say is the metadata of this filter: ``text`` and ``number``."""
NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "one": (("spiffe://mesh.example/ns/a/sa/one",), (), ""),
    "two": (("spiffe://mesh.example/ns/a/sa/two",), (), ""),
    "dotted": (("spiffe://mesh.example/ns/a.b/sa/one",), (), ""),
    "many": (("https://one.example/", "spiffe://mesh.example/ns/b/sa/one"), (), ""),
    "host": ((), ("host.example", "other.example"), ""),
    "derived": (("spiffe://mesh.example/ns/b/sa/two",), ("7q2.sid.invalid",), ""),
    "subject": ((), (), "one"),
}
"""Certificates: URIs, DNS names and the common name."""

ADDRESSES = ("127.0.0.1", "127.0.0.3", "127.0.1.1", "127.1.0.9")
PLACES = ("127.0.0.1", "127.0.0.2", "127.9.0.1")
SERVER_NAMES = ("", "one.example", "two.example")
POLICY_NAMES = ("one", "two words", "\u00dcn\u00ef", "Z", "A", "ns[a]-policy[b]-rule[0]")
PATHS = (
    *("/", "/a", "/a/", "/a/b", "/a/b/", "/A/b", "/a/b/c", "/a/x.json", "/a//b", "/ab"),
    *("/a%2Fb", "/a/%2e%2e/b", "/a;x=1/b", "/a/b=c", "/a/b|c", '/a/"b"', "/a/b*", "/a/$(x)/b"),
    *("/a/b/c/d/e.json", "/v1/a.b/c", "/v1/axb/c", "/a/~b", "/a/\\b", "/a/b@c:d"),
)
QUERIES = ("", "", "", "?", "?a=b", "?x=/a/b", "?/c")
TEMPLATES = (
    *("/", "/a", "/a/", "/*", "/*/b", "/a/*", "/a/*/", "/a/**", "/**", "/a/*/c", "/**/b", "/**/"),
    *("/{x}", "/{x=a}/b", "/a/{x=*}", "/{x=a/*}/c", "/{x=**}", "/a/{y=**}", "/{x}/{y}", "/**.json"),
    *("/a/*.json", "/a/{x}.json", "/v1/a.b/*", "/a/$(x)/*", "/*/**", "/{x=a/**}/c/d/e.json"),
)
PATH_TEXTS = ("/a", "/a/b", "/", "b", ".json", "/A", "//", "%2F", "?")
PATH_REGEXES = ("/a.*", "/[a-z]+", ".*b", "/a/[^/]+", "/v1/a.b/c")
RANGES = (
    *(("127.0.0.1", 32), ("127.0.0.0", 24), ("127.0.0.3", 23), ("127.0.0.0", 8), ("0.0.0.0", 0)),
    *(("10.0.0.0", 8), ("::1", 128), ("::", 0), ("127.0.0.2", 31)),
)
METHODS = ("GET", "GET", "POST", "PUT", "DELETE")
AUTHORITIES = ("one.example", "one.two", "one.example:80", "two", "two.example")
"""As our policies see them: without capitals and a dot at the end, which Envoy would keep. Nor has
a path an escape in small letters.
"""
TEXTS = ("one", "two", "One", "twone", "5")
NUMBERS = ("5", "-3", "7.5", "x")
PRINCIPALS: tuple[StringMatcher, ...] = (
    Exact("spiffe://mesh.example/ns/a/sa/one"),
    Exact("SPIFFE://mesh.example/ns/a/sa/ONE", ignore_case=True),
    Exact("spiffe://mesh.example/ns/b/sa/one"),
    Prefix("spiffe://mesh.example/ns/a/"),
    Prefix("spiffe://mesh.example/ns/a"),
    Suffix("/sa/one"),
    Suffix("/sa/two"),
    Contains("/ns/b/"),
    Exact("host.example"),
    Suffix("other.example"),
    Exact("CN=one"),
    SafeRegex("spiffe://[^/]+/ns/a.b/.*"),
    SafeRegex(".*one"),
    SafeRegex(".+"),
)


@dataclass(frozen=True, slots=True)
class Caller:
    """From which address to which, with which of the certificates ("": without TLS)."""

    source: str = ADDRESSES[0]
    destination: str = PLACES[0]
    certificate: str = ""
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class AccessCase:
    seed: int
    rbac: Rbac
    caller: Caller
    requests: tuple[Sent, ...]


def access_case(seed: int, requests: int) -> AccessCase:
    luck = Luck(seed)
    certificate = luck.one(("", *NAMES, *NAMES))
    caller = Caller(
        luck.one(ADDRESSES),
        luck.one(PLACES),
        certificate,
        luck.one(SERVER_NAMES) if certificate else "",
    )
    return AccessCase(seed, _rbac(luck), caller, tuple(_request(luck) for _ in range(requests)))


def _rbac(luck: Luck) -> Rbac:
    return Rbac(
        rules=luck.maybe(lambda: _rules(luck), 0.9, None),
        shadow_rules=luck.maybe(lambda: _rules(luck), 0.4, None),
        shadow_rules_stat_prefix=luck.one(("", "dry_run_")),
    )


def _rules(luck: Luck) -> RbacRules:
    names = list(POLICY_NAMES)
    found = []
    for _ in range(luck.one((0, 1, 1, 2, 2, 3, 4))):
        name = names.pop(luck.number(0, len(names) - 1))
        found.append(_policy(luck, name))
    actions = (*(RbacAction.ALLOW, RbacAction.DENY) * 3, RbacAction.LOG)
    policies = tuple(sorted(found, key=lambda policy: policy.name))
    return RbacRules(action=luck.one(actions), policies=policies)


def _policy(luck: Luck, name: str) -> Policy:
    return Policy(
        name=name,
        permissions=tuple(_permission(luck, 3) for _ in range(luck.number(1, 2))),
        principals=tuple(_principal(luck, 3) for _ in range(luck.number(1, 2))),
    )


def _permission(luck: Luck, depth: int) -> Rule:
    kind = luck.number(0, 12 if depth else 8)
    if kind >= 9:
        members = tuple(_permission(luck, depth - 1) for _ in range(luck.number(1, 3)))
        return _tree(luck, members)
    if kind == 0:
        return UriTemplate(luck.one(TEMPLATES))
    if kind == 1:
        return DestinationIp(CidrRange(*luck.one(RANGES)))
    if kind == 2:
        return _ports(luck) if luck.chance(0.5) else DestinationPort(luck.one((PORT, 80)))
    if kind == 3:
        return RequestedServerName(_text(luck, SERVER_NAMES[1:], ("one.*", ".*")))
    if kind == 4:
        return UriTemplate(luck.one(TEMPLATES))
    return _of_both(luck)


def _principal(luck: Luck, depth: int) -> Rule:
    kind = luck.number(0, 12 if depth else 8)
    if kind >= 9:
        members = tuple(_principal(luck, depth - 1) for _ in range(luck.number(1, 3)))
        return _tree(luck, members)
    if kind <= 2:
        return Authenticated(luck.maybe(lambda: luck.one(PRINCIPALS), 0.85, None))
    if kind == 3:
        return DirectRemoteIp(CidrRange(*luck.one(RANGES)))
    if kind == 4:
        return RemoteIp(CidrRange(*luck.one(RANGES)))
    return _of_both(luck)


def _of_both(luck: Luck) -> Rule:
    kind = luck.number(0, 9)
    if kind <= 3:
        return HeaderRule(_header(luck))
    if kind <= 6:
        return UrlPath(_text(luck, PATH_TEXTS, PATH_REGEXES))
    if kind == 7:
        return AnyRule()
    return MetadataRule(_metadata(luck))


def _tree(luck: Luck, members: tuple[Rule, ...]) -> Rule:
    kind = luck.number(0, 2)
    if kind == 0:
        return AndRules(members)
    return OrRules(members) if kind == 1 else NotRule(members[0])


def _ports(luck: Luck) -> DestinationPortRange:
    return DestinationPortRange(luck.one((0, PORT)), luck.one((65536, PORT + 1)))


def _text(luck: Luck, texts: tuple[str, ...], regexes: tuple[str, ...]) -> StringMatcher:
    folded = luck.chance(0.3)
    if luck.chance(0.2):
        return SafeRegex(luck.one(regexes))
    kinds: tuple[Callable[[str, bool], StringMatcher], ...] = (Exact, Prefix, Suffix, Contains)
    return luck.one(kinds)(luck.one(texts), folded)


def _header(luck: Luck) -> HeaderMatcher:
    if luck.chance(0.75):
        return header_matcher(luck)
    name, texts = luck.one(
        (
            (":method", ("GET", "POST", "get")),
            (":authority", ("one.example", "one.example:")),
            ("Host", ("one.example", "two")),
            (":path", PATH_TEXTS),
            (":scheme", ("http", "https")),
        )
    )
    return HeaderMatcher(
        name=name, match=_text(luck, texts, (".*e",)), invert_match=luck.chance(0.25)
    )


def _metadata(luck: Luck) -> MetadataMatcher:
    text = string_matcher(luck)
    matches: tuple[ValueMatch, ...] = (
        *(text, text, Range(0, 6), Present(), Present(present=False), True, None),
        *(ListMatch(text), OrMatch((text, Range(-5, 8)))),
    )
    return MetadataMatcher(
        filter=luck.one((TOLD, TOLD, TOLD, "other")),
        path=luck.one((("text",), ("text",), ("number",), ("text", "below"), ("gone",))),
        match=luck.one(matches),
        invert=luck.chance(0.25),
    )


def _request(luck: Luck) -> Sent:
    headers: list[tuple[str, str]] = []
    for name in ("x-a", "x-b", "x-c"):
        values = (*TEXTS, "", "one,two")
        headers += [(name, luck.one(values)) for _ in range(luck.one((0, 0, 1, 1, 2, 3)))]
    if luck.chance(0.3):
        headers.append(("user-agent", luck.one(("one", "curl/8"))))
    if luck.chance(0.6):
        headers.append(("x-text", luck.one(TEXTS)))
    if luck.chance(0.4):
        headers.append(("x-number", luck.one(NUMBERS)))
    if luck.chance(0.2):
        headers.append(("x-forwarded-for", "10.1.2.3"))
    path = luck.one(PATHS) + luck.one(QUERIES)
    return Sent(luck.one(METHODS), luck.one(AUTHORITIES), path, tuple(headers))
