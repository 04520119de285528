"""What was judged otherwise than Envoy judges it, each as small as it could be made."""

from ...model import MetadataMatcher, Present
from ...model.rbac import (
    AnyRule,
    MetadataRule,
    Policy,
    Rbac,
    RbacAction,
    RbacRules,
    Rule,
    UriTemplate,
)
from .access import TOLD, AccessCase, Caller
from .case import Sent

LOG = RbacRules(action=RbacAction.LOG)


def _allow(rule: Rule) -> Rbac:
    policy = Policy(name="p", permissions=(rule,), principals=(AnyRule(),))
    return Rbac(rules=RbacRules(policies=(policy,)))


def _case(rbac: Rbac, path: str = "/", *headers: tuple[str, str]) -> AccessCase:
    return AccessCase(0, rbac, Caller(), (Sent("GET", "one.example", path, headers),))


def _missing(*, invert: bool) -> MetadataRule:
    absent = Present(present=False)
    return MetadataRule(MetadataMatcher(filter=TOLD, path=("text",), match=absent, invert=invert))


ACCESS_FOUND: tuple[AccessCase, ...] = (
    # A shadow of LOG leaves no hint for access logs; one that is enforced does.
    _case(Rbac(shadow_rules=LOG)),
    _case(Rbac(rules=LOG, shadow_rules=LOG)),
    # A path may hold an asterisk.
    _case(_allow(UriTemplate("/a/{y=**}")), "/a/b*"),
    _case(_allow(UriTemplate("/a/*")), "/a/*"),
    # That metadata be absent holds for none, there or not.
    _case(_allow(_missing(invert=False))),
    _case(_allow(_missing(invert=False)), "/", ("x-text", "one")),
    _case(_allow(_missing(invert=True))),
    _case(_allow(_missing(invert=True)), "/", ("x-text", "one")),
)
