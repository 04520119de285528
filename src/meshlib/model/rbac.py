"""Role-based access control as data (``envoy.config.rbac.v3``)."""

from dataclasses import dataclass
from enum import StrEnum

from .matcher import HeaderMatcher, MetadataMatcher, StringMatcher


@dataclass(frozen=True, slots=True)
class AnyRule:
    """Always true."""


@dataclass(frozen=True, slots=True)
class AndRules:
    rules: tuple["Rule", ...]


@dataclass(frozen=True, slots=True)
class OrRules:
    rules: tuple["Rule", ...]


@dataclass(frozen=True, slots=True)
class NotRule:
    rule: "Rule"


@dataclass(frozen=True, slots=True)
class HeaderRule:
    header: HeaderMatcher


@dataclass(frozen=True, slots=True)
class UrlPath:
    """The path without its query, after normalization."""

    path: StringMatcher


@dataclass(frozen=True, slots=True)
class UriTemplate:
    """``*`` is one segment, ``**`` any number of them; ``{name}`` and ``{name=*}`` as ``*``."""

    path_template: str


@dataclass(frozen=True, slots=True)
class CidrRange:
    address_prefix: str
    prefix_len: int


@dataclass(frozen=True, slots=True)
class DestinationIp:
    range: CidrRange


@dataclass(frozen=True, slots=True)
class DestinationPort:
    port: int


@dataclass(frozen=True, slots=True)
class DestinationPortRange:
    """``[start, end)``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RequestedServerName:
    """The SNI of the connection, "" where there is none."""

    name: StringMatcher


@dataclass(frozen=True, slots=True)
class MetadataRule:
    """Dynamic metadata of the request: what filters before this one found out."""

    metadata: MetadataMatcher


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The connection is mutual TLS, and the peer's URI SAN, else DNS SAN, else subject matches;
    ``None`` is any authenticated peer."""

    principal_name: StringMatcher | None = None


@dataclass(frozen=True, slots=True)
class DirectRemoteIp:
    """The address of the peer itself."""

    range: CidrRange


@dataclass(frozen=True, slots=True)
class RemoteIp:
    """The address that trusted peers say the request came from, else that of the peer."""

    range: CidrRange


Rule = (
    AnyRule
    | AndRules
    | OrRules
    | NotRule
    | HeaderRule
    | UrlPath
    | UriTemplate
    | DestinationIp
    | DestinationPort
    | DestinationPortRange
    | RequestedServerName
    | MetadataRule
    | Authenticated
    | DirectRemoteIp
    | RemoteIp
)
"""``Permission`` or ``Principal``: one vocabulary, of which each takes its own part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Holds where any of the permissions and any of the principals does."""

    name: str
    permissions: tuple[Rule, ...]
    principals: tuple[Rule, ...]
    source: str = ""
    """``file:line`` of the rule that it was compiled from, or ""."""


class RbacAction(StrEnum):
    ALLOW = "ALLOW"
    """Only what a policy holds for may pass."""
    DENY = "DENY"
    """What a policy holds for may not pass."""
    LOG = "LOG"
    """All may pass; what a policy holds for is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RbacRules:
    """Policies are tried by name."""

    action: RbacAction = RbacAction.ALLOW
    policies: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rbac:
    """``envoy.extensions.filters.http.rbac.v3.RBAC``; ``rules`` ``None`` lets all pass.

    ``shadow_rules`` decide nothing: what they would have done is told, and put in the dynamic
    metadata of ``envoy.filters.http.rbac`` under ``{shadow_rules_stat_prefix}shadow_…``.
    """

    rules: RbacRules | None = None
    shadow_rules: RbacRules | None = None
    rules_stat_prefix: str = ""
    shadow_rules_stat_prefix: str = ""
