"""Who may do what: access by policies, before anything else happens to a call."""

from collections.abc import Mapping

from ...model import Struct
from ...model.rbac import Rbac, RbacRules
from ..events import CallRecord
from ..message import Cause, Outcome, Request
from ..steps import Steps
from .access_counts import RbacCounts
from .chain import FACTORIES, Filter, Service, Site
from .local_reply import local_reply
from .rbac_rules import Judge

NAMESPACE = "envoy.filters.http.rbac"
LOGGED = "envoy.common"
DENIED = "RBAC: access denied"
FORBIDDEN = 403


class RoleBasedAccessControl:
    """``action``: what its rules are for; ``None`` where they decide nothing."""

    __slots__ = ("_counts", "_judge", "_shadow", "_shadow_prefix", "action")

    def __init__(self, config: Rbac, site: Site) -> None:
        self.action = None if config.rules is None else config.rules.action
        self._judge = _judge(config.rules, site)
        self._shadow = _judge(config.shadow_rules, site)
        self._shadow_prefix = config.shadow_rules_stat_prefix
        key = *site.place, RbacCounts, config.rules_stat_prefix, config.shadow_rules_stat_prefix
        self._counts: RbacCounts = site.kept.get(key, RbacCounts)

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        if self._shadow is not None:
            request = self._shadowed(request, self._shadow)
        judge = self._judge
        if judge is None:
            return service(request, record)
        policy = judge.policy(request)
        if judge.logs:
            request = _logged(request, policy)
        if judge.lets_pass(policy):
            self._counts.allowed += 1
            return service(request, record)
        self._counts.denied += 1
        record.details = f"rbac_access_denied_matched_policy[{_in_one_word(policy or 'none')}]"
        return local_reply(request, record, Cause.UNAUTHORIZED, FORBIDDEN, DENIED)

    def _shadowed(self, request: Request, shadow: Judge) -> Request:
        """The request with what the shadow rules would have done."""
        policy = shadow.policy(request)
        if shadow.lets_pass(policy):
            self._counts.shadow_allowed += 1
            result = "allowed"
        else:
            self._counts.shadow_denied += 1
            result = "denied"
        found = {f"{self._shadow_prefix}shadow_engine_result": result}
        if policy is not None:
            found[f"{self._shadow_prefix}shadow_effective_policy_id"] = policy
        return _with(request, NAMESPACE, found)


def _judge(rules: RbacRules | None, site: Site) -> Judge | None:
    return None if rules is None else Judge(rules, site.regex)


def _logged(request: Request, policy: str | None) -> Request:
    return _with(request, LOGGED, {"access_log_hint": policy is not None})


def _with(request: Request, namespace: str, found: Mapping[str, str | bool]) -> Request:
    """Filters of one kind share a namespace: each adds to it."""
    metadata = request.dynamic_metadata
    known = () if metadata is None else metadata.filter_metadata
    before = next((held.fields for name, held in known if name == namespace), ())
    fields = sorted({**dict(before), **found}.items(), key=lambda field: field[0])
    return request.noted(namespace, Struct(tuple(fields)))


def _in_one_word(policy: str) -> str:
    return "_".join(policy.split())


def rbac(config: Rbac, site: Site) -> Filter | None:
    """Without rules all pass, and nobody is told."""
    if config.rules is None and config.shadow_rules is None:
        return None
    return RoleBasedAccessControl(config, site)


FACTORIES[Rbac] = rbac
