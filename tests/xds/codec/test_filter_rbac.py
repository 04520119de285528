"""Access control on the wire: what is understood, and that nothing else is passed over."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Exact, FilterOverride, HeaderMatcher, MetadataMatcher, Prefix, SafeRegex
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
    UriTemplate,
    UrlPath,
)
from meshlib.xds.codec.filter_rbac import RBAC as FILTER
from meshlib.xds.codec.filter_rbac import RBAC_PER_ROUTE as FOR_A_ROUTE
from meshlib.xds.codec.rbac_rule import PERMISSION, PRINCIPAL
from meshlib.xds.codec.wire import Reader, Report
from meshlib.xds.protos import message_class

HTTP = "type.googleapis.com/envoy.extensions.filters.http."
RBAC = f"{HTTP}rbac.v3.RBAC"
POLICIES = "envoy.config.rbac.v3"
PER_ROUTE = f"{HTTP}rbac.v3.RBACPerRoute"
ROUTER = {"name": "router", "typed_config": {"@type": f"{HTTP}router.v3.Router"}}
PATHS = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
STDOUT = "type.googleapis.com/envoy.extensions.rbac.audit_loggers.stream.v3.StdoutAuditLog"
HERE = "listeners/reviews:80: api_listener.api_listener.http_filters[f].typed_config"
ANY = {"any": True}
CIDR = {"address_prefix": "10.0.0.0", "prefix_len": 8}
TEN = CidrRange("10.0.0.0", 8)
MATCHER = {"filter": "f", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}


@pytest.fixture
def decode_rbac(decode_http):
    """Decodes the only filter of a listener but the router; what it is, and what is ignored."""

    def made(**config):
        typed = {"name": "f", "typed_config": {"@type": RBAC, **config}}
        decoded = decode_http(http_filters=[typed, ROUTER])
        return decoded.resource.http.http_filters[0].config, decoded.ignored

    return made


@pytest.fixture
def decode_policy(decode_rbac):
    """Decodes the policy "p" with these permissions and principals."""

    def made(permission=ANY, principal=ANY, **fields):
        policy = {"permissions": [permission], "principals": [principal], **fields}
        config, ignored = decode_rbac(rules={"policies": {"p": policy}})
        assert ignored == ()
        return config.rules.policies[0]

    return made


def template(path):
    config = {"@type": PATHS, "path_template": path}
    return {"uri_template": {"name": "any", "typed_config": config}}


@pytest.mark.parametrize(
    ("wire", "means"),
    [
        (ANY, AnyRule()),
        ({"and_rules": {"rules": [ANY]}}, AndRules((AnyRule(),))),
        ({"or_rules": {"rules": [ANY, ANY]}}, OrRules((AnyRule(), AnyRule()))),
        ({"not_rule": ANY}, NotRule(AnyRule())),
        (
            {"header": {"name": "x", "exact_match": "y", "invert_match": True}},
            HeaderRule(HeaderMatcher(name="x", match=Exact("y"), invert_match=True)),
        ),
        ({"url_path": {"path": {"prefix": "/a"}}}, UrlPath(Prefix("/a"))),
        (template("/a/*"), UriTemplate("/a/*")),
        ({"destination_ip": CIDR}, DestinationIp(TEN)),
        ({"destination_ip": {"address_prefix": "::"}}, DestinationIp(CidrRange("::", 0))),
        ({"destination_port": 80}, DestinationPort(80)),
        ({"destination_port": 0}, DestinationPort(0)),
        ({"destination_port_range": {"start": 80, "end": 90}}, DestinationPortRange(80, 90)),
        ({"requested_server_name": {"exact": "a"}}, RequestedServerName(Exact("a"))),
        ({"metadata": MATCHER}, "metadata"),
        ({"sourced_metadata": {"metadata_matcher": MATCHER}}, "metadata"),
    ],
)
def test_a_permission_is_read(decode_policy, wire, means):
    if means == "metadata":
        means = MetadataRule(MetadataMatcher(filter="f", path=("k",), match=Exact("v")))
    assert decode_policy(permission=wire).permissions == (means,)


@pytest.mark.parametrize(
    ("wire", "means"),
    [
        ({"and_ids": {"ids": [ANY]}}, AndRules((AnyRule(),))),
        ({"or_ids": {"ids": [ANY]}}, OrRules((AnyRule(),))),
        ({"not_id": ANY}, NotRule(AnyRule())),
        ({"authenticated": {}}, Authenticated()),
        (
            {"authenticated": {"principal_name": {"safe_regex": {"regex": "a.*"}}}},
            Authenticated(SafeRegex("a.*")),
        ),
        ({"source_ip": CIDR}, DirectRemoteIp(TEN)),
        ({"direct_remote_ip": CIDR}, DirectRemoteIp(TEN)),
        ({"remote_ip": CIDR}, RemoteIp(TEN)),
        ({"url_path": {"path": {"prefix": "/a"}}}, UrlPath(Prefix("/a"))),
    ],
)
def test_a_principal_is_read(decode_policy, wire, means):
    assert decode_policy(principal=wire).principals == (means,)


FILTER_STATE = {"filter_state": {"key": "k", "string_match": {"exact": "v"}}}
EXTENSION = {"name": "n", "typed_config": {"@type": STDOUT}}
ROUTE_METADATA = {"metadata_matcher": MATCHER, "metadata_source": "ROUTE"}


@pytest.mark.parametrize(
    ("fields", "where", "what"),
    [
        ({"permission": {}}, "permissions[0]", "no rule that is understood"),
        ({"permission": {"any": False}}, "permissions[0].any", "must be true"),
        ({"permission": {"matcher": EXTENSION}}, "permissions[0].matcher", "is not supported"),
        ({"principal": FILTER_STATE}, "principals[0].filter_state", "is not supported"),
        ({"principal": {"custom": EXTENSION}}, "principals[0].custom", "is not supported"),
        (
            {"permission": {"not_rule": {"and_rules": {"rules": [{"matcher": EXTENSION}]}}}},
            "permissions[0].not_rule.and_rules.rules[0].matcher",
            "is not supported",
        ),
        ({"permission": {"and_rules": {}}}, "permissions[0].and_rules.rules", "must not be empty"),
        ({"permissions": []}, "permissions", "must not be empty"),
        ({"principals": []}, "principals", "must not be empty"),
        ({"condition": {"const_expr": {"bool_value": True}}}, "condition", "is not supported"),
        ({"checked_condition": {"expr_version": "1"}}, "checked_condition", "is not supported"),
        (
            {"permission": {"sourced_metadata": ROUTE_METADATA}},
            "permissions[0].sourced_metadata.metadata_source",
            "only DYNAMIC is supported",
        ),
        (
            {"permission": {"uri_template": EXTENSION}},
            "permissions[0].uri_template.typed_config",
            f"must be a {PATHS.rpartition('/')[2]}, not {STDOUT.rpartition('/')[2]}",
        ),
        (
            {"permission": {"uri_template": {"name": "n"}}},
            "permissions[0].uri_template.typed_config",
            f"must be a {PATHS.rpartition('/')[2]}, not nothing",
        ),
        (
            {"permission": template("/a*")},
            "permissions[0].uri_template.typed_config.path_template",
            "'a*' is neither an operator nor plain text",
        ),
        (
            {"permission": {"destination_port_range": {"start": 80, "end": 80}}},
            "permissions[0].destination_port_range.end",
            "must be more than the start, is 80",
        ),
        (
            {"permission": {"destination_ip": {"address_prefix": "a.b"}}},
            "permissions[0].destination_ip.address_prefix",
            "'a.b' is not an IP address",
        ),
        (
            {"principal": {"remote_ip": {"address_prefix": "fe80::1%eth0"}}},
            "principals[0].remote_ip.address_prefix",
            "'fe80::1%eth0' is not an IP address",
        ),
        (
            {"principal": {"remote_ip": {}}},
            "principals[0].remote_ip.address_prefix",
            "must not be empty",
        ),
        (
            {"principal": {"source_ip": {"address_prefix": "10.0.0.0", "prefix_len": 33}}},
            "principals[0].source_ip.prefix_len",
            "must be between 0 and 32, is 33",
        ),
        (
            {"principal": {"authenticated": {"principal_name": {}}}},
            "principals[0].authenticated.principal_name",
            "no supported way to match a string",
        ),
    ],
)
def test_what_is_not_understood_is_an_error(decode_policy, fields, where, what):
    with pytest.raises(ConfigError) as refused:
        decode_policy(**fields)
    (problem,) = refused.value.problems
    assert str(problem) == f"{HERE}.rules.policies[p].{where}: {what}"


def test_trees_of_matchers_are_an_error(decode_rbac):
    for field in ("matcher", "shadow_matcher"):
        with pytest.raises(ConfigError, match=rf"typed_config\.{field}: is not supported"):
            decode_rbac(**{field: {"on_no_match": {"action": EXTENSION}}})


def test_a_field_that_is_newer_than_we_are_is_an_error():
    """It may narrow the rule that it stands in; of what is ignored elsewhere, nothing is here."""
    newer = b"\x9a\x06\x01x"  # field 99, of one byte
    permission = message_class(f"{POLICIES}.Permission").FromString(b"\x18\x01" + newer)
    policy = message_class(f"{POLICIES}.Policy")(permissions=[permission], principals=[ANY])
    rules = message_class(f"{POLICIES}.RBAC")(policies={"p": policy})
    report = Report("here")
    FILTER.decode(Reader(message_class(FILTER.type_name)(rules=rules), report))
    where = "here: rules.policies[p].permissions[0].#99"
    assert [str(problem) for problem in report.problems] == [f"{where}: is not understood"]


def test_empty_rules_are_not_the_same_as_none(decode_rbac):
    assert decode_rbac()[0] == Rbac()
    assert decode_rbac(rules={})[0] == Rbac(rules=RbacRules())
    assert decode_rbac(shadow_rules={"action": "LOG"})[0] == Rbac(
        shadow_rules=RbacRules(action=RbacAction.LOG)
    )


def test_policies_come_by_name(decode_rbac):
    policy = {"permissions": [ANY], "principals": [ANY]}
    config, _ = decode_rbac(rules={"action": "DENY", "policies": {"b": policy, "a": policy}})
    assert [each.name for each in config.rules.policies] == ["a", "b"]
    assert config.rules.action is RbacAction.DENY


def test_statistics_per_rule_are_told_to_have_no_effect(decode_rbac):
    _, ignored = decode_rbac(track_per_rule_stats=True)
    assert [path.rpartition(".")[2] for path in ignored] == ["track_per_rule_stats"]
    assert decode_rbac(track_per_rule_stats=False)[1] == ()


def test_an_audit_that_must_be_is_an_error_and_else_is_told_to_have_no_effect(decode_rbac):
    logger = {"audit_logger": EXTENSION, "is_optional": True}
    options = {"audit_condition": "ON_DENY", "logger_configs": [logger]}
    _, ignored = decode_rbac(rules={"audit_logging_options": options})
    assert [path.rpartition(".")[2] for path in ignored] == ["audit_logging_options"]
    options["logger_configs"] = [{"audit_logger": EXTENSION}]
    with pytest.raises(ConfigError, match=r"logger_configs\[0\].audit_logger: is not supported"):
        decode_rbac(rules={"audit_logging_options": options})


@pytest.mark.parametrize(
    ("wire", "means"),
    [({}, Rbac()), ({"rbac": {}}, Rbac()), ({"rbac": {"rules": {}}}, Rbac(rules=RbacRules()))],
)
def test_a_route_replaces_the_rules(decode_route, wire, means):
    config = {"f": {"@type": PER_ROUTE, **wire}}
    decoded = decode_route(redirect={}, typed_per_filter_config=config)
    route = decoded.resource.virtual_hosts[0].routes[0]
    assert route.overrides == (FilterOverride(name="f", config=means),)


def test_what_is_written_is_read_again():
    said = HeaderRule(HeaderMatcher(name="x", match=Prefix("y", ignore_case=True)))
    known = MetadataRule(MetadataMatcher(filter="f", path=("k",), match=Exact("v")))
    shared = (AnyRule(), said, UrlPath(SafeRegex("/.*")), known)
    permissions = (
        *shared,
        NotRule(AndRules((DestinationIp(TEN), OrRules((DestinationPort(80), AnyRule()))))),
        DestinationPortRange(80, 90),
        RequestedServerName(Exact("")),
        UriTemplate("/{x=**}.json"),
    )
    principals = (*shared, Authenticated(), Authenticated(Exact("a")), DirectRemoteIp(TEN))
    policy = Policy(name="p", permissions=permissions, principals=(*principals, RemoteIp(TEN)))
    rules = RbacRules(action=RbacAction.DENY, policies=(policy,))
    rbac = Rbac(rules=rules, shadow_rules=RbacRules(), shadow_rules_stat_prefix="s_")
    for codec in (FILTER, FOR_A_ROUTE):
        report = Report("here")
        message = message_class(codec.type_name)(**codec.encode(rbac))
        assert codec.decode(Reader(message, report)) == rbac
        assert not report.problems
    bare = message_class(FILTER.type_name)(**FILTER.encode(Rbac()))
    assert not bare.ListFields()


def test_a_rule_stands_where_it_belongs():
    with pytest.raises(ConfigError, match="RemoteIp cannot be one of rules"):
        PERMISSION.encode(NotRule(RemoteIp(TEN)))
    with pytest.raises(ConfigError, match="DestinationPort cannot be one of ids"):
        PRINCIPAL.encode(DestinationPort(80))
