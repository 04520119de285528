"""Rules of access control, compiled to tests of a request.

What nobody can know of a call (a port that its library hides) is a doubt, and speaks against the
caller: it counts as a match where matches deny, and as none where they allow. A negation turns
that around for what is in it, so each test is compiled for the doubt of its place.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import ConfigError
from ...model.rbac import (
    AndRules,
    AnyRule,
    Authenticated,
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
    Rule,
    UriTemplate,
    UrlPath,
)
from ...model.uri_template import TemplateError
from ..message import Peer, Request
from ..routing.ip_ranges import Place, place_of, range_test
from ..routing.matchers import Regex, header_condition, metadata_condition, text_test
from ..routing.uri_template import template_test
from .rbac_facts import (
    authority,
    facts_of,
    local_address,
    path,
    remote,
    server_name,
    source,
    values_of,
)

Test = Callable[[Request], bool]
MEMO_SIZE = 1024
HOST = frozenset({":authority", "host"})
HIDDEN_BY_GRPC = frozenset({":scheme", "te", "content-type"})


@dataclass(frozen=True, slots=True)
class Ground:
    """``doubt``: what is said of a rule that nobody can judge."""

    regex: Regex
    doubt: bool


class Judge:
    """The policies of one configuration.

    Which of them holds is remembered by all that they ask of a request, as most requests have
    that in common with some other.
    """

    __slots__ = ("_facts", "_memo", "_policies", "allows", "logs")

    def __init__(self, rules: RbacRules, regex: Regex) -> None:
        self.allows = rules.action is not RbacAction.DENY
        self.logs = rules.action is RbacAction.LOG
        ground = Ground(regex, doubt=rules.action is RbacAction.DENY)
        policies = sorted(rules.policies, key=lambda policy: policy.name)
        self._policies = tuple((each.name, policy_test(each, ground)) for each in policies)
        self._facts = facts_of(rules)
        self._memo: dict[tuple[Hashable, ...], str | None] = {}

    def policy(self, request: Request) -> str | None:
        """The name of the first one that holds."""
        facts = self._facts
        if facts is None:
            return self._search(request)
        key = tuple([fact(request) for fact in facts])
        try:
            return self._memo[key]
        except KeyError:
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            found = self._memo[key] = self._search(request)
            return found

    def _search(self, request: Request) -> str | None:
        for name, test in self._policies:
            if test(request):
                return name
        return None

    def lets_pass(self, policy: str | None) -> bool:
        return self.logs or (policy is not None) is self.allows


def policy_test(policy: Policy, ground: Ground) -> Test:
    permitted = _any(policy.permissions, ground)
    known = _any(policy.principals, ground)
    return lambda request: permitted(request) and known(request)


def rule_test(rule: Rule, ground: Ground) -> Test:
    test: Test = TESTS[type(rule)](rule, ground)
    return test


def _any(rules: Sequence[Rule], ground: Ground) -> Test:
    tests = _tests(rules, ground)
    if len(tests) == 1:
        return tests[0]

    def check(request: Request) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs more than what it would ask
            if test(request):
                return True
        return False

    return check


def _all(rules: Sequence[Rule], ground: Ground) -> Test:
    tests = _tests(rules, ground)
    if len(tests) == 1:
        return tests[0]

    def check(request: Request) -> bool:
        for test in tests:  # noqa: SIM110
            if not test(request):
                return False
        return True

    return check


def _tests(rules: Sequence[Rule], ground: Ground) -> tuple[Test, ...]:
    """No rules at all would always or never hold, which nobody means."""
    if not rules:
        raise ConfigError("rbac: a set of rules must not be empty")
    return tuple([rule_test(rule, ground) for rule in rules])


def _always(_rule: AnyRule, _ground: Ground) -> Test:
    return lambda _request: True


def _not(rule: NotRule, ground: Ground) -> Test:
    test = rule_test(rule.rule, replace(ground, doubt=not ground.doubt))
    return lambda request: not test(request)


def _header(rule: HeaderRule, ground: Ground) -> Test:
    """Each value stands for itself (CVE-2026-26308), also of gRPC, which gRFC A41 has joined.

    The host of a call may be unknown: grpcio does not show it, and HTTP/1.0 need not say one. What
    else grpcio does not show its servers, or shows as bytes, nobody can judge there; A41 refuses
    such rules, which may be good ones for HTTP.
    """
    name = rule.header.name.lower()
    test = header_condition(rule.header, ground.regex, values_of(name)).test
    if name in HOST:
        return lambda request: test(request) if authority(request)[0] else ground.doubt
    if name not in HIDDEN_BY_GRPC and not name.startswith("grpc-") and not name.endswith("-bin"):
        return test
    doubt = ground.doubt
    return lambda request: doubt if request.is_grpc else test(request)


def _url_path(rule: UrlPath, ground: Ground) -> Test:
    test = text_test(rule.path, ground.regex)
    return lambda request: test(path(request))


def _uri_template(rule: UriTemplate, _ground: Ground) -> Test:
    try:
        test = template_test(rule.path_template)
    except TemplateError as error:
        raise ConfigError(f"rbac: path template {rule.path_template!r}: {error}") from None
    return lambda request: test(path(request))


def _server_name(rule: RequestedServerName, ground: Ground) -> Test:
    test = text_test(rule.name, ground.regex)
    return lambda request: test(server_name(request))


def _metadata(rule: MetadataRule, ground: Ground) -> Test:
    return metadata_condition(rule.metadata, ground.regex).test


def _local(request: Request) -> Place:
    return place_of(local_address(request))


def _peer(request: Request) -> Place:
    return place_of(source(request))


def _remote(request: Request) -> Place:
    return place_of(remote(request))


def _address(rule: DestinationIp | DirectRemoteIp | RemoteIp, ground: Ground) -> Test:
    try:
        test = range_test(rule.range)
    except ValueError as error:
        raise ConfigError(f"rbac: {error}") from None
    read, doubt = PLACES[type(rule)], ground.doubt

    def check(request: Request) -> bool:
        place = read(request)
        return test(place) if place.version else doubt

    return check


def _port(rule: DestinationPort | DestinationPortRange, ground: Ground) -> Test:
    if isinstance(rule, DestinationPort):
        ports = range(rule.port, rule.port + 1)
    else:
        ports = range(rule.start, rule.end)
    doubt = ground.doubt

    def check(request: Request) -> bool:
        port = _local(request).port
        return doubt if port is None else port in ports

    return check


def _authenticated(rule: Authenticated, ground: Ground) -> Test:
    """By whichever name a peer is known; to be let in it must be by that which counts.

    Envoy tries all of a certificate's names. A DNS name that looks like an identity would let
    somebody in by that (CVE-2022-21656), whom gRFC A41 does not: where there are URIs, only they
    are names.
    """
    if rule.principal_name is None:
        return lambda request: request.connection.peer.secure
    test = text_test(rule.principal_name, ground.regex)
    names = _all_names if ground.doubt else _best_names

    def check(request: Request) -> bool:
        peer = request.connection.peer
        return peer.secure and any(map(test, names(peer)))

    return check


def _all_names(peer: Peer) -> tuple[str, ...]:
    return (*peer.uri_sans, *peer.dns_sans, peer.subject)


def _best_names(peer: Peer) -> tuple[str, ...]:
    return peer.uri_sans or peer.dns_sans or (peer.subject,)


PLACES = {DestinationIp: _local, DirectRemoteIp: _peer, RemoteIp: _remote}
TESTS: dict[type[Rule], Callable[[Any, Ground], Test]] = {
    AnyRule: _always,
    AndRules: lambda rule, ground: _all(rule.rules, ground),
    OrRules: lambda rule, ground: _any(rule.rules, ground),
    NotRule: _not,
    HeaderRule: _header,
    UrlPath: _url_path,
    UriTemplate: _uri_template,
    DestinationIp: _address,
    DestinationPort: _port,
    DestinationPortRange: _port,
    RequestedServerName: _server_name,
    MetadataRule: _metadata,
    Authenticated: _authenticated,
    DirectRemoteIp: _address,
    RemoteIp: _address,
}
