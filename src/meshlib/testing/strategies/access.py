"""Hypothesis strategies for access control."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model.rbac import (
    AndRules,
    AnyRule,
    Authenticated,
    CidrRange,
    DestinationIp,
    DestinationPort,
    DestinationPortRange,
    DirectRemoteIp,
    HeaderRule,
    MetadataRule,
    NotRule,
    OrRules,
    Policy,
    Rbac,
    RbacAction,
    RbacRules,
    RemoteIp,
    RequestedServerName,
    Rule,
    UriTemplate,
    UrlPath,
)

from .basics import NAME, TEXT, optional, some
from .matchers import header_matchers, metadata_matchers, string_matchers

TEMPLATES = ("/", "/a", "/*", "/**", "/a/*/b", "/{x}/{y=**}", "/a/{z=b/*}.json", "/**/end")


def cidr_ranges() -> SearchStrategy[CidrRange]:
    short = st.builds(CidrRange, st.ip_addresses(v=4).map(str), st.integers(0, 32))
    return short | st.builds(CidrRange, st.ip_addresses(v=6).map(str), st.integers(0, 128))


def facts_of_both() -> SearchStrategy[Rule]:
    return st.one_of(
        st.builds(AnyRule),
        st.builds(HeaderRule, header_matchers()),
        st.builds(UrlPath, string_matchers()),
        st.builds(MetadataRule, metadata_matchers()),
    )


def permissions() -> SearchStrategy[Rule]:
    ports = st.tuples(st.integers(0, 65535), st.integers(1, 65536)).filter(lambda p: p[0] < p[1])
    return _trees(
        facts_of_both()
        | st.builds(UriTemplate, st.sampled_from(TEMPLATES))
        | st.builds(DestinationIp, cidr_ranges())
        | st.builds(DestinationPort, st.integers(0, 65535))
        | ports.map(lambda ends: DestinationPortRange(*ends))
        | st.builds(RequestedServerName, string_matchers())
    )


def principals() -> SearchStrategy[Rule]:
    return _trees(
        facts_of_both()
        | st.builds(Authenticated, optional(string_matchers()))
        | st.builds(DirectRemoteIp, cidr_ranges())
        | st.builds(RemoteIp, cidr_ranges())
    )


def _trees(facts: SearchStrategy[Any]) -> SearchStrategy[Rule]:
    def grown(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
        sets: list[Callable[..., Rule]] = [AndRules, OrRules]
        return st.builds(NotRule, inner) | st.one_of(
            [st.builds(each, some(inner, least=1)) for each in sets]
        )

    return st.recursive(facts, grown, max_leaves=4)


def policies() -> SearchStrategy[tuple[Policy, ...]]:
    """Of distinct names, sorted by them."""
    policy = st.builds(
        Policy,
        name=NAME,
        permissions=some(permissions(), least=1),
        principals=some(principals(), least=1),
    )
    listed = st.lists(policy, max_size=2, unique_by=lambda one: one.name)
    return listed.map(lambda found: tuple(sorted(found, key=lambda one: one.name)))


def rbac_rules() -> SearchStrategy[RbacRules]:
    return st.builds(RbacRules, action=st.sampled_from(RbacAction), policies=policies())


def rbacs() -> SearchStrategy[Rbac]:
    return st.builds(
        Rbac,
        rules=optional(rbac_rules()),
        shadow_rules=optional(rbac_rules()),
        rules_stat_prefix=TEXT,
        shadow_rules_stat_prefix=TEXT,
    )
