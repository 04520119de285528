"""AuthorizationPolicies → the filters that a workload's calls meet: CUSTOM, DENY, ALLOW, AUDIT."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ... import model
from ...model.authn import ExtAuthz
from ...model.rbac import Policy, Rbac, RbacAction, RbacRules
from ..manifests.authorization_policy import Action, AuthorizationPolicy
from ..manifests.manifest import Manifest
from .access_rules import policies_of
from .trust_domains import TrustDomains

Manifests = Sequence[Manifest[AuthorizationPolicy]]

RBAC = "envoy.filters.http.rbac"
EXT_AUTHZ = "envoy.filters.http.ext_authz"
DRY_RUN = "istio.io/dry-run"
CUSTOM_PREFIX = "istio_ext_authz_"
BAD_CUSTOM = "-deny-due-to-bad-CUSTOM-action"
SHADOW_POLICY = "shadow_effective_policy_id"

ACTIONS: dict[Action, RbacAction] = {
    "DENY": RbacAction.DENY,
    "ALLOW": RbacAction.ALLOW,
    "AUDIT": RbacAction.LOG,
}
"""In the order in which calls meet them, after CUSTOM."""


def access_filters(
    manifests: Manifests, trust: TrustDomains, providers: Mapping[str, ExtAuthz]
) -> Iterator[model.HttpFilter]:
    """Names of filters are unique: gRPC refuses a listener where one comes twice (gRFC A39)."""
    yield from _custom(_of(manifests, "CUSTOM"), trust, providers)
    for action, decided in ACTIONS.items():
        chosen = _of(manifests, action)
        if chosen:
            made = _rbac(chosen, decided, trust)
            yield model.HttpFilter(name=f"{RBAC}.{action.lower()}", config=made)


def is_dry_run(manifest: Manifest[AuthorizationPolicy]) -> bool:
    return manifest.annotations.get(DRY_RUN, "").lower() == "true"


def _of(manifests: Manifests, action: Action) -> Manifests:
    return [one for one in manifests if one.spec.action == action]


def _rbac(manifests: Manifests, action: RbacAction, trust: TrustDomains) -> Rbac:
    kind = "deny" if action is RbacAction.DENY else "allow"
    return Rbac(
        rules=_rules([one for one in manifests if not is_dry_run(one)], action, trust),
        shadow_rules=_rules([one for one in manifests if is_dry_run(one)], action, trust),
        shadow_rules_stat_prefix=f"istio_dry_run_{kind}_",
    )


def _rules(manifests: Manifests, action: RbacAction, trust: TrustDomains) -> RbacRules | None:
    if not manifests:
        return None
    return _gathered(
        action, (policy for manifest in manifests for policy in policies_of(manifest, trust))
    )


def _gathered(action: RbacAction, policies: Iterable[Policy]) -> RbacRules:
    return RbacRules(
        action=action, policies=tuple(sorted(policies, key=lambda policy: policy.name))
    )


def _custom(
    manifests: Manifests, trust: TrustDomains, providers: Mapping[str, ExtAuthz]
) -> Iterator[model.HttpFilter]:
    """Where nobody can be asked, or two would have to be, what would be asked about is denied.

    What a policy of the kind means is then not known, and one must not be taken for the other.
    """
    by_provider: dict[str, list[Manifest[AuthorizationPolicy]]] = {}
    for manifest in manifests:
        assert manifest.spec.provider is not None, "checked when it was read"
        by_provider.setdefault(manifest.spec.provider.name, []).append(manifest)
    for name in sorted(by_provider):
        asked = providers.get(name) if len(by_provider) == 1 else None
        suffix = "" if asked is not None else BAD_CUSTOM
        prefix = f"istio-ext-authz-{name}-"
        rules = _gathered(
            RbacAction.DENY,
            (
                policy
                for manifest in by_provider[name]
                for policy in policies_of(manifest, trust, prefix, suffix)
            ),
        )
        if asked is None:
            yield model.HttpFilter(name=f"{RBAC}.custom.{name}", config=Rbac(rules=rules))
            continue
        shadow = Rbac(shadow_rules=rules, shadow_rules_stat_prefix=CUSTOM_PREFIX)
        yield model.HttpFilter(name=f"{RBAC}.custom", config=shadow)
        yield model.HttpFilter(name=EXT_AUTHZ, config=_when_matched(asked, name))


def _when_matched(asked: ExtAuthz, provider: str) -> ExtAuthz:
    """Only what a CUSTOM policy matches is asked about: its filter notes the policy's name."""
    matched = model.MetadataMatcher(
        filter=RBAC,
        path=(CUSTOM_PREFIX + SHADOW_POLICY,),
        match=model.Prefix(f"istio-ext-authz-{provider}"),
    )
    return replace(asked, filter_enabled_metadata=matched)
