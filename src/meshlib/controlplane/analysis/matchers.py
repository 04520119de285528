"""Values of AuthorizationPolicies that nothing can ever match: a DENY by them is silently dead."""

from collections.abc import Callable, Iterable, Iterator

from ...dataplane.routing.paths import Normalizer, normalizer
from ...model import HttpConnectionManager, RouteConfiguration
from ..manifests.authorization_policy import AuthorizationPolicy, Rule
from ..manifests.finding import NEVER_MATCHES, Finding, Severity
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..world import World

Why = Callable[[str], str]
"""Why a value never matches, or ""."""
CLOSED = {"ALLOW": "notPaths", "DENY": "paths", "CUSTOM": "paths"}
"""Where a path that never matches lets in what it was to keep out."""


def dead(policy: Manifest[AuthorizationPolicy], world: World) -> Iterator[Finding]:
    normalize = _normalizer(world)
    for index, rule in enumerate(policy.spec.rules_):
        for path, value, why in _values(rule):
            if said := why(value):
                yield _never(policy, ("rules", index, *path), value, said)
        for path, value in _paths(rule):
            said = _path(value) or _spelled_otherwise(value, normalize)
            if said:
                opens = CLOSED.get(policy.spec.action) == path[-2]
                yield _never(policy, ("rules", index, *path), value, said, opens=opens)


def _never(
    policy: Manifest[AuthorizationPolicy], path: Path, value: str, why: str, *, opens: bool = False
) -> Finding:
    severity: Severity = "error" if opens else "warning"
    text = f"{value!r} never matches: {why}"
    return Finding(NEVER_MATCHES, severity, policy.place_of(*path), str(policy), text)


def _normalizer(world: World) -> Normalizer | None:
    """What is done to paths where policies judge by them."""
    mesh = world.mesh_config
    return normalizer(
        HttpConnectionManager(
            routes=RouteConfiguration(name=""),
            normalize_path=mesh.normalize_path or mesh.normalize_guarded,
            merge_slashes=mesh.merge_slashes,
            path_with_escaped_slashes_action=mesh.path_with_escaped_slashes_action,
        )
    )


def _paths(rule: Rule) -> Iterator[tuple[Path, str]]:
    for number, to in enumerate(rule.to or ()):
        for field, values in (("paths", to.operation.paths), ("notPaths", to.operation.not_paths)):
            for index, value in enumerate(values):
                yield ("to", number, "operation", field, index), value


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


def _spelled_otherwise(value: str, normalize: Normalizer | None) -> str:
    """Of the parts that stand in for others, a letter stands there instead."""
    if normalize is None or value == "*":
        return ""
    example = value.replace("{**}", "x").replace("{*}", "x")
    example = f"/x{example[1:]}" if example.startswith("*") else example
    example = f"{example[:-1]}x" if example.endswith("*") else example
    found = normalize(example)
    if found is None:
        return "a request with such a path is refused"
    return f"a request with such a path is judged by {found!r}" if found != example else ""


KEYS: dict[str, Why] = {
    "source.principal": _principal,
    "source.namespace": _segment,
    "source.trustDomain": _segment,
    "request.auth.principal": _request_principal,
}
