"""Access control as stock gRPC servers take it (gRFC A41); what they cannot judge denies."""

from dataclasses import replace

from ...model.rbac import (
    AndRules,
    AnyRule,
    DestinationPortRange,
    HeaderRule,
    MetadataRule,
    NotRule,
    OrRules,
    Policy,
    Rbac,
    RbacAction,
    RbacRules,
    Rule,
    UriTemplate,
)
from .downgrade import Downgrade, Report

NOBODY = Rbac(rules=RbacRules(action=RbacAction.ALLOW))
"""No policy lets anybody in."""


def grpc_access(rbac: Rbac, inside: str, report: Report) -> Rbac | None:
    """``None``: nothing is left of it."""
    if rbac.shadow_rules is not None:
        report(Downgrade(inside, "shadow_rules are without effect for gRPC clients"))
    rules = rbac.rules
    if rules is None:
        return None
    if rules.action is RbacAction.LOG:
        report(Downgrade(inside, "action LOG is without effect for gRPC clients"))
        return None
    doubt = rules.action is RbacAction.DENY
    policies = tuple(_policy(policy, doubt, inside, report) for policy in rules.policies)
    return Rbac(rules=replace(rules, policies=policies), rules_stat_prefix=rbac.rules_stat_prefix)


def _policy(policy: Policy, doubt: bool, inside: str, report: Report) -> Policy:
    def judged(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(_judged(rule, doubt) for rule in rules)

    made = replace(
        policy, permissions=judged(policy.permissions), principals=judged(policy.principals)
    )
    if made != policy:
        said = f"policy {policy.name}: what gRPC clients cannot judge speaks against the caller"
        report(Downgrade(inside, said))
    return made


def _judged(rule: Rule, doubt: bool) -> Rule:
    """``doubt``: what is said of a rule that nobody can judge; a negation turns it around."""
    match rule:
        case AndRules(members):
            return AndRules(tuple(_judged(one, doubt) for one in members))
        case OrRules(members):
            return OrRules(tuple(_judged(one, doubt) for one in members))
        case NotRule(inner):
            return NotRule(_judged(inner, not doubt))
        case MetadataRule() | UriTemplate() | DestinationPortRange():
            return _said(doubt)
        case HeaderRule(header) if header.name.startswith((":scheme", "grpc-")):
            return _said(doubt)
        case _:
            return rule


def _said(doubt: bool) -> Rule:
    return AnyRule() if doubt else NotRule(AnyRule())
