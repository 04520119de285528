"""``envoy.extensions.filters.http.rbac.v3`` ⇄ :class:`Rbac`.

A rule that is not understood is an error: to leave it out would let somebody in.
"""

from typing import Any

from ...model.rbac import Policy, Rbac, RbacAction, RbacRules
from ..protos import message_class
from .rbac_rule import PERMISSION, PRINCIPAL
from .wire import Fields, FilterCodec, Reader

EXPRESSIONS = ("condition", "checked_condition", "cel_config")
POLICY = "envoy.config.rbac.v3.Policy"
TREES = ("matcher", "shadow_matcher")
PREFIXES = ("rules_stat_prefix", "shadow_rules_stat_prefix")


def _encode(rbac: Rbac) -> Fields:
    return {
        "rules": None if rbac.rules is None else _encode_rules(rbac.rules),
        "shadow_rules": None if rbac.shadow_rules is None else _encode_rules(rbac.shadow_rules),
        **{name: getattr(rbac, name) for name in PREFIXES},
    }


def _decode(reader: Reader) -> Rbac:
    before = len(reader.report.readers)
    for tree in TREES:
        if reader.has(tree):
            reader.refuse(tree)
    if reader.flag("track_per_rule_stats"):
        reader.drop("track_per_rule_stats")
    rules = reader.optional_child("rules")
    shadow = reader.optional_child("shadow_rules")
    made = Rbac(
        rules=None if rules is None else _decode_rules(rules),
        shadow_rules=None if shadow is None else _decode_rules(shadow),
        **{name: reader.text(name) for name in PREFIXES},
    )
    for inner in (reader, *reader.report.readers[before:]):
        inner.refuse_unread()
    return made


def _encode_rules(rules: RbacRules) -> Fields:
    return {
        "action": rules.action.value,
        "policies": {policy.name: _encode_policy(policy) for policy in rules.policies},
    }


def _decode_rules(reader: Reader) -> RbacRules:
    audit = reader.optional_child("audit_logging_options")
    if audit is not None:
        _decode_audit(audit)
    policies = reader.entries("policies")
    return RbacRules(
        action=RbacAction(reader.enum("action")),
        policies=tuple(
            _decode_policy(name, reader.item("policies", name, policies[name]))
            for name in sorted(policies)
        ),
    )


def _decode_audit(reader: Reader) -> None:
    """Nobody audits: a logger that must be there is an error, else all of it has no effect."""
    for logger in reader.children("logger_configs"):
        if not logger.flag("is_optional"):
            logger.problem("is not supported, and not optional", "audit_logger")
        logger.skip("audit_logger")
    reader.drop()


def _encode_policy(policy: Policy) -> Any:
    # Older protobuf takes messages, not dicts, as values of a map.
    return message_class(POLICY)(
        permissions=[PERMISSION.encode(rule) for rule in policy.permissions],
        principals=[PRINCIPAL.encode(rule) for rule in policy.principals],
    )


def _decode_policy(name: str, reader: Reader) -> Policy:
    for expression in EXPRESSIONS:
        if reader.has(expression):
            reader.refuse(expression)
    permissions, principals = reader.children("permissions"), reader.children("principals")
    if not permissions:
        reader.problem("must not be empty", "permissions")
    if not principals:
        reader.problem("must not be empty", "principals")
    return Policy(
        name=name,
        permissions=tuple(map(PERMISSION.decode, permissions)),
        principals=tuple(map(PRINCIPAL.decode, principals)),
    )


def _encode_per_route(rbac: Rbac) -> Fields:
    return {"rbac": _encode(rbac)}


def _decode_per_route(reader: Reader) -> Rbac:
    """Without ``rbac`` nothing is asked of the calls of this place."""
    return _decode(reader.child("rbac"))


RBAC = FilterCodec("envoy.extensions.filters.http.rbac.v3.RBAC", _encode, _decode)
RBAC_PER_ROUTE = FilterCodec(
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute", _encode_per_route, _decode_per_route
)
