"""Rules of AuthorizationPolicies → RBAC, each key by the attribute that Istio reads for it."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, zip_longest

from ... import model
from ...model import rbac
from ...model.uri_template import PCHARS
from ..manifests.authorization_policy import AuthorizationPolicy, Condition, Operation, Rule, Source
from ..manifests.manifest import Manifest
from .claims import JWT, PAYLOAD, claim_matcher
from .trust_domains import TrustDomains

ANYTHING = model.SafeRegex(".+")
EXPERIMENTAL = "experimental."
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_ESCAPE_DIGITS = re.compile("%([0-9A-Fa-f]{2})")
_LETTERED = re.compile("%(?:[0-9][A-Fa-f]|[A-Fa-f][0-9A-Fa-f])")
_OPERATOR = re.compile(r"(\{\*\*?\})")
_KEYED = re.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])+)")

Make = Callable[[str], rbac.Rule]


def policies_of(
    manifest: Manifest[AuthorizationPolicy], trust: TrustDomains, prefix: str = "", suffix: str = ""
) -> Iterator[rbac.Policy]:
    """One for each rule; an ALLOW without rules is one that never matches."""
    name = f"{prefix}ns[{manifest.namespace}]-policy[{manifest.name}]-rule"
    nothing = (rbac.NotRule(rbac.AnyRule()),)
    if not manifest.spec.rules_:
        yield rbac.Policy(name=f"{name}[0]{suffix}", permissions=nothing, principals=nothing)
    for index, rule in enumerate(manifest.spec.rules_):
        parts = _Parts(manifest.namespace, trust)
        yield rbac.Policy(
            name=f"{name}[{index}]{suffix}",
            permissions=tuple(parts.permissions(rule)),
            principals=tuple(parts.principals(rule)),
            source=str(manifest.place_of("rules", index)),
        )


class _Parts:
    """The two sides of a rule: what is done, and who does it."""

    def __init__(self, namespace: str, trust: TrustDomains) -> None:
        self._namespace = namespace
        self._trust = trust

    def permissions(self, rule: Rule) -> Iterator[rbac.Rule]:
        common = [*self._conditions(rule.when, principal=False)]
        for to in rule.to or (None,):
            yield _all([*(_operation(to.operation) if to is not None else ()), *common])

    def principals(self, rule: Rule) -> Iterator[rbac.Rule]:
        common = [*self._conditions(rule.when, principal=True)]
        for each in rule.from_ or (None,):
            yield _all([*(self._source(each.source) if each is not None else ()), *common])

    def _source(self, source: Source) -> Iterator[rbac.Rule]:
        yield from _either(source.service_accounts, source.not_service_accounts, self._account)
        yield from _either(
            self._trust.expanded(source.principals),
            self._trust.expanded(source.not_principals),
            _principal,
        )
        yield from _either(
            source.request_principals, source.not_request_principals, _request_principal
        )
        yield from _either(source.namespaces, source.not_namespaces, _namespace)
        yield from _either(source.trust_domains, source.not_trust_domains, _trust_domain)
        yield from _either(source.remote_ip_blocks, source.not_remote_ip_blocks, _remote_ip)
        yield from _either(source.ip_blocks, source.not_ip_blocks, _source_ip)

    def _account(self, account: str) -> rbac.Rule:
        """``namespace/name``, or the name of one in the policy's own namespace."""
        namespace, _, name = account.rpartition("/")
        inside, own = re.escape(namespace or self._namespace), re.escape(name)
        regex = f"spiffe://.+/ns/{inside}/(.+/|)sa/{own}(/.+)?"
        return rbac.Authenticated(model.SafeRegex(regex))

    def _conditions(
        self, conditions: Sequence[Condition], *, principal: bool
    ) -> Iterator[rbac.Rule]:
        for condition in conditions:
            if _is_of_principal(condition.key) is principal:
                yield from self._condition(condition)

    def _condition(self, condition: Condition) -> Iterator[rbac.Rule]:
        key, values, others = condition.key, condition.values, condition.not_values
        if key == "source.principal":
            values, others = self._trust.expanded(values), self._trust.expanded(others)
        whole = _WHOLE.get(key)
        if whole is not None or (key.startswith("request.auth.claims[")):
            make_all = whole or _claim(key)
            yield from (make_all(values),) if values else ()
            yield from (rbac.NotRule(make_all(others)),) if others else ()
            return
        make = self._account if key == "source.serviceAccount" else _EACH.get(key) or _keyed(key)
        if key.startswith(EXPERIMENTAL):
            yield from (_experimental(key, values),) if values else ()
            yield from (rbac.NotRule(_experimental(key, others)),) if others else ()
            return
        yield from _either(values, others, make)


def _operation(operation: Operation) -> Iterator[rbac.Rule]:
    yield from _either(operation.hosts, operation.not_hosts, _host)
    yield from _either(operation.methods, operation.not_methods, _header(":method"))
    yield from _either(operation.paths, operation.not_paths, _path)
    yield from _either(operation.ports, operation.not_ports, _port)


def _all(parts: list[rbac.Rule]) -> rbac.Rule:
    return rbac.AndRules(tuple(parts) or (rbac.AnyRule(),))


def _either(values: Iterable[str], others: Iterable[str], make: Make) -> Iterator[rbac.Rule]:
    """One of the values, and none of the others."""
    if wanted := tuple(map(make, values)):
        yield rbac.OrRules(wanted)
    if unwanted := tuple(map(make, others)):
        yield rbac.NotRule(rbac.OrRules(unwanted))


def _is_of_principal(key: str) -> bool:
    return key.startswith(("source.", "remote.", "request."))


# --- values ---


def _text(value: str, before: str = "", *, ignore_case: bool = False) -> model.StringMatcher:
    """``*`` is anything, ``*x`` a suffix, ``x*`` a prefix; ``before`` stands before each."""
    if value == "*":
        return ANYTHING
    if value.startswith("*"):
        if before:
            return model.SafeRegex(f"{before}.*{re.escape(value[1:])}")
        return model.Suffix(value[1:], ignore_case)
    if value.endswith("*"):
        return model.Prefix(before + value[:-1], ignore_case)
    return model.Exact(before + value, ignore_case)


def _header(name: str, *, ignore_case: bool = False) -> Make:
    def make(value: str) -> rbac.Rule:
        match = model.Present() if value == "*" else _text(value, ignore_case=ignore_case)
        return rbac.HeaderRule(model.HeaderMatcher(name=name, match=match))

    return make


_host = _header(":authority", ignore_case=True)


def _path(value: str) -> rbac.Rule:
    if _LETTERED.search(value):
        in_any_case = _template_in_any_case if "{" in value else _glob_in_any_case
        return rbac.UrlPath(model.SafeRegex(in_any_case(value)))
    if "{" in value:
        return rbac.UriTemplate(value.replace("{*}", "*").replace("{**}", "**"))
    return rbac.UrlPath(_text(value))


def _glob_in_any_case(value: str) -> str:
    first, last = value.startswith("*"), value.endswith("*")
    made = _in_any_case(value[first : len(value) - last])
    return f"{'.*' * first}{made}{'.*' * last}"


def _template_in_any_case(value: str) -> str:
    """What the template would match, were its escapes in the case that the request has."""
    operators = {"{*}": f"[{PCHARS}]+", "{**}": f"[{PCHARS}/]*"}
    pieces = _OPERATOR.split(value)
    return "".join(operators.get(piece) or _in_any_case(piece) for piece in pieces)


def _in_any_case(text: str) -> str:
    """``%2f`` is ``%2F``: requests may write either, and no normalization makes them one."""
    parts = [re.escape(part) for part in _ESCAPE.split(text)]
    escapes = [f"%(?i:{found})" for found in _ESCAPE_DIGITS.findall(text)]
    return "".join(chain.from_iterable(zip_longest(parts, escapes, fillvalue="")))


def _port(value: str) -> rbac.Rule:
    return rbac.DestinationPort(int(value))


def _principal(value: str) -> rbac.Rule:
    return rbac.Authenticated(_text(value, "spiffe://"))


def _namespace(value: str) -> rbac.Rule:
    if "*" not in value:
        return rbac.Authenticated(model.Contains(f"/ns/{value}/"))
    return rbac.Authenticated(model.SafeRegex(f".*/ns/{_globbed(value, '.*')}/.*"))


def _trust_domain(value: str) -> rbac.Rule:
    if "*" not in value:
        return rbac.Authenticated(model.Prefix(f"spiffe://{value}/"))
    return rbac.Authenticated(model.SafeRegex(f"spiffe://{_globbed(value, '[^/]*')}/.*"))


def _globbed(value: str, star: str) -> str:
    return star.join(map(re.escape, value.split("*")))


def _range(value: str) -> rbac.CidrRange:
    network = ipaddress.ip_network(value, strict=False)
    return rbac.CidrRange(str(network.network_address), network.prefixlen)


def _source_ip(value: str) -> rbac.Rule:
    return rbac.DirectRemoteIp(_range(value))


def _remote_ip(value: str) -> rbac.Rule:
    return rbac.RemoteIp(_range(value))


def _destination_ip(value: str) -> rbac.Rule:
    return rbac.DestinationIp(_range(value))


def _sni(value: str) -> rbac.Rule:
    return rbac.RequestedServerName(_text(value))


# --- what a token says ---


def _metadata(filter_name: str, path: Iterable[str], match: model.ValueMatch) -> rbac.Rule:
    return rbac.MetadataRule(
        model.MetadataMatcher(filter=filter_name, path=tuple(path), match=match)
    )


def _request_principal(value: str) -> rbac.Rule:
    """``issuer/subject``; a star at either end leaves the other part open."""
    issuer, slash, subject = value.rpartition("/")
    if not slash:
        issuer, subject = value, ""
    if value == "*":
        parts: tuple[model.StringMatcher, ...] = (ANYTHING, ANYTHING)
    elif value.startswith("*"):
        parts = (
            (_text(issuer), model.Exact(subject)) if slash else (ANYTHING, model.Suffix(value[1:]))
        )
    elif value.endswith("*"):
        parts = (
            (model.Exact(issuer), _text(subject)) if slash else (model.Prefix(value[:-1]), ANYTHING)
        )
    else:
        parts = (model.Exact(issuer), model.Exact(subject))
    return rbac.AndRules(
        tuple(
            _metadata(JWT, (PAYLOAD, claim), match)
            for claim, match in zip(("iss", "sub"), parts, strict=True)
        )
    )


def _claim(key: str) -> Callable[[Sequence[str]], rbac.Rule]:
    """A claim that is one text, or a list of which one item matches."""
    found = _KEYED.fullmatch(key)
    assert found is not None, "checked when it was read"
    path = found[2][1:-1].split("][")

    def make(values: Sequence[str]) -> rbac.Rule:
        texts = tuple(map(_text, values))
        return rbac.MetadataRule(
            claim_matcher(path, texts[0] if len(texts) == 1 else model.OrMatch(texts))
        )

    return make


def _experimental(key: str, values: Sequence[str]) -> rbac.Rule:
    """``experimental.envoy.filters.a.b[c]``: dynamic metadata of any filter; ``[v]`` is a list."""
    found = _KEYED.fullmatch(key.removeprefix(EXPERIMENTAL))
    assert found is not None, "checked when it was read"
    rules: list[model.StringMatcher] = []
    is_list = True
    for value in values:
        inner = value[1:-1] if value.startswith("[") and value.endswith("]") else None
        is_list = is_list and inner is not None
        rules.append(_text(value if inner is None else inner))
    match: model.ValueMatch = rules[0] if len(rules) == 1 else model.OrMatch(tuple(rules))
    path = found[2][1:-1].split("][")
    return _metadata(found[1], path, model.ListMatch(match) if is_list else match)


def _keyed(key: str) -> Make:
    """``request.headers[name]``."""
    return _header(key.removeprefix("request.headers[").removesuffix("]").lower())


_WHOLE: dict[str, Callable[[Sequence[str]], rbac.Rule]] = {
    "request.auth.audiences": _claim("claims[aud]"),
    "request.auth.presenter": _claim("claims[azp]"),
}
_EACH: dict[str, Make] = {
    "source.ip": _source_ip,
    "remote.ip": _remote_ip,
    "source.namespace": _namespace,
    "source.principal": _principal,
    "source.trustDomain": _trust_domain,
    "request.auth.principal": _request_principal,
    "destination.ip": _destination_ip,
    "destination.port": _port,
    "connection.sni": _sni,
}
