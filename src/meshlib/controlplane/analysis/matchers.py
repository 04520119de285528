"""Values of AuthorizationPolicies that nothing can ever match: a DENY by them is silently dead."""

from collections.abc import Callable, Iterable, Iterator

from ..manifests.authorization_policy import AuthorizationPolicy, Rule
from ..manifests.finding import NEVER_MATCHES, Finding
from ..manifests.manifest import Manifest
from ..manifests.marks import Path

Why = Callable[[str], str]
"""Why a value never matches, or ""."""


def dead(policy: Manifest[AuthorizationPolicy]) -> Iterator[Finding]:
    for index, rule in enumerate(policy.spec.rules_):
        for path, value, why in _values(rule):
            said = why(value)
            if said:
                place = policy.place_of("rules", index, *path)
                text = f"{value!r} never matches: {said}"
                yield Finding(NEVER_MATCHES, "warning", place, str(policy), text)


def _values(rule: Rule) -> Iterator[tuple[Path, str, Why]]:
    for number, each in enumerate(rule.from_ or ()):
        source = each.source
        for field, values, why in (
            ("principals", source.principals, _principal),
            ("notPrincipals", source.not_principals, _principal),
            ("requestPrincipals", source.request_principals, _request_principal),
            ("notRequestPrincipals", source.not_request_principals, _request_principal),
            ("namespaces", source.namespaces, _segment),
            ("notNamespaces", source.not_namespaces, _segment),
            ("trustDomains", source.trust_domains, _segment),
            ("notTrustDomains", source.not_trust_domains, _segment),
        ):
            yield from _each(("from", number, "source", field), values, why)
    for number, to in enumerate(rule.to or ()):
        operation = to.operation
        for field, values, why in (
            ("hosts", operation.hosts, _host),
            ("notHosts", operation.not_hosts, _host),
            ("methods", operation.methods, _method),
            ("notMethods", operation.not_methods, _method),
            ("paths", operation.paths, _path),
            ("notPaths", operation.not_paths, _path),
        ):
            yield from _each(("to", number, "operation", field), values, why)
    for number, condition in enumerate(rule.when):
        if found := KEYS.get(condition.key):
            yield from _each(("when", number, "values"), condition.values, found)
            yield from _each(("when", number, "notValues"), condition.not_values, found)


def _each(path: Path, values: Iterable[str], why: Why) -> Iterator[tuple[Path, str, Why]]:
    for index, value in enumerate(values):
        yield (*path, index), value, why


def _principal(value: str) -> str:
    if "spiffe://" in value:
        return "a principal is written without spiffe://"
    if value != value.strip():
        return "no identity begins or ends with a space"
    return ""


def _request_principal(value: str) -> str:
    if "/" in value or "*" in value:
        return ""
    return "it is issuer/subject, and no token has an empty subject"


def _segment(value: str) -> str:
    return "it has a slash" if "/" in value else ""


def _host(value: str) -> str:
    return "a host has neither scheme nor path" if "/" in value else ""


def _method(value: str) -> str:
    return "methods are in upper case" if value != value.upper() else ""


def _path(value: str) -> str:
    if not value.startswith(("/", "*")):
        return "a path begins with a slash"
    if "?" in value or "#" in value:
        return "paths are compared without query and fragment"
    return ""


KEYS: dict[str, Why] = {
    "source.principal": _principal,
    "source.namespace": _segment,
    "source.trustDomain": _segment,
    "request.auth.principal": _request_principal,
}
