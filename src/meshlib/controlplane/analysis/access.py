"""AuthorizationPolicies and RequestAuthentications: what of them does not do what it seems to."""

from collections.abc import Iterator

from ..compile.services import registry
from ..manifests.authorization_policy import AuthorizationPolicy, Operation, Rule
from ..manifests.finding import (
    AVOIDABLE,
    NO_KEYS,
    NOT_ACTED_ON,
    NOT_REQUIRED,
    UNKNOWN_HOST,
    UNKNOWN_PROVIDER,
    Finding,
)
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..manifests.request_authentication import RequestAuthentication
from ..manifests.service import Service
from ..world import World
from .matchers import dead


def check(world: World) -> Iterator[Finding]:
    yield from _providers(world)
    for policy in world.authorization_policies:
        yield from _waypoints(policy)
        yield from _provider(policy, world)
        yield from _paths(policy, world)
        yield from _hosts(policy, world)
        yield from dead(policy, world)
    for tokens in world.request_authentications:
        yield from _waypoints(tokens)
        yield from _not_required(tokens, world)
        yield from _no_keys(tokens)


def _waypoints(
    manifest: Manifest[AuthorizationPolicy] | Manifest[RequestAuthentication],
) -> Iterator[Finding]:
    if manifest.spec.is_for_waypoints:
        path = "targetRef" if manifest.spec.target_ref is not None else "targetRefs"
        said = "is for gateways and waypoints alone: nobody here enforces it"
        yield Finding(NOT_ACTED_ON, "warning", manifest.place_of(path), str(manifest), said)


def _provider(policy: Manifest[AuthorizationPolicy], world: World) -> Iterator[Finding]:
    asked = policy.spec.provider
    providers = world.mesh_config.extension_providers
    known = {one.name for one in providers if one.authorizer is not None}
    if asked is not None and asked.name not in known:
        place = policy.place_of("provider", "name")
        said = f"no extensionProvider {asked.name!r} that can be asked is in the MeshConfig"
        yield Finding(UNKNOWN_PROVIDER, "error", place, str(policy), said)


def _providers(world: World) -> Iterator[Finding]:
    """Whether the services that are asked are there."""
    manifest = world.mesh_manifest
    if manifest is None:
        return
    known = {(service.host, port.number) for service in registry(world) for port in service.ports}
    for index, one in enumerate(world.mesh_config.extension_providers):
        said = one.authorizer
        if said is None:
            continue
        host = said.service.rpartition("/")[2].lower()
        place = manifest.place_of("extensionProviders", index)
        if (host, said.port) not in known:
            text = f"no service {host}:{said.port} is known: what it is asked about is denied"
            yield Finding(UNKNOWN_HOST, "warning", place, str(manifest), text)
        if said.clear_route_cache:
            text = "clearRouteCache has no effect: a server's route is not chosen again"
            yield Finding(NOT_ACTED_ON, "info", place, str(manifest), text)


def _paths(policy: Manifest[AuthorizationPolicy], world: World) -> Iterator[Finding]:
    """What is not to match by a path does not match other spellings of that path."""
    if world.mesh_config.merge_slashes or policy.spec.action not in ("ALLOW", "DENY"):
        return
    field = "notPaths" if policy.spec.action == "ALLOW" else "paths"
    for path, operation in operations(policy.spec):
        if operation.not_paths if field == "notPaths" else operation.paths:
            yield Finding(
                AVOIDABLE,
                "warning",
                policy.place_of(*path, field),
                str(policy),
                f"{policy.spec.action} by {field} can be got around by other spellings of a path",
                "set pathNormalization MERGE_SLASHES in the MeshConfig, or name what is allowed",
            )


def operations(policy: AuthorizationPolicy) -> Iterator[tuple[Path, Operation]]:
    for index, rule in enumerate(policy.rules_):
        for number, to in enumerate(rule.to or ()):
            yield ("rules", index, "to", number, "operation"), to.operation


def _hosts(policy: Manifest[AuthorizationPolicy], world: World) -> Iterator[Finding]:
    """Python's gRPC does not tell a server what it was called by."""
    if not _is_for_grpc(policy, world):
        return
    for path, operation in operations(policy.spec):
        field = "hosts" if operation.hosts else "notHosts" if operation.not_hosts else ""
        if field:
            place = policy.place_of(*path, field)
            said = f"{field} cannot be judged by a gRPC server in Python: it speaks against callers"
            yield Finding(AVOIDABLE, "warning", place, str(policy), said)


def _is_for_grpc(policy: Manifest[AuthorizationPolicy], world: World) -> bool:
    labels = policy.spec.labels.items()
    everywhere = policy.namespace == world.mesh_config.root_namespace
    return any(
        port.protocol == "GRPC"
        for service in registry(world)
        if everywhere or service.namespace == policy.namespace
        if isinstance(service.manifest.spec, Service)
        and labels <= service.manifest.spec.selector.items()
        for port in service.ports
    )


def _not_required(tokens: Manifest[RequestAuthentication], world: World) -> Iterator[Finding]:
    root = world.mesh_config.root_namespace
    homes = {tokens.namespace, root}
    for policy in world.authorization_policies:
        is_heard = policy.namespace in homes or tokens.namespace == root
        if is_heard and any(map(_asks_for_a_token, policy.spec.rules_)):
            return
    if tokens.spec.jwt_rules and not tokens.spec.is_for_waypoints:
        yield Finding(
            NOT_REQUIRED,
            "warning",
            tokens.place,
            str(tokens),
            "no AuthorizationPolicy asks for a token: who has none is let in",
            "add an AuthorizationPolicy with requestPrincipals",
        )


def _no_keys(tokens: Manifest[RequestAuthentication]) -> Iterator[Finding]:
    """Served all the same, as Istio does: no token of such an issuer is believed then."""
    for index, rule in enumerate(tokens.spec.jwt_rules):
        field, said = "jwksUri", ""
        if rule.jwks:
            field, said = "jwks", _flaw_of(rule.jwks)
        elif rule.jwks_uri.lower().startswith("http:"):
            said = "keys are fetched by https alone"
        if said:
            place = tokens.place_of("jwtRules", index, field)
            text = f"{said}: no token of {rule.issuer!r} is let in"
            yield Finding(NO_KEYS, "warning", place, str(tokens), text)


def _flaw_of(jwks: str) -> str:
    from ...identity.jwks import KeySetError, parse_keys  # heavy, and seldom needed

    try:
        parse_keys(jwks)
    except KeySetError as error:
        return str(error)
    return ""


def _asks_for_a_token(rule: Rule) -> bool:
    return any(
        each.source.request_principals or each.source.not_request_principals
        for each in rule.from_ or ()
    ) or any(condition.key.startswith("request.auth.") for condition in rule.when)
