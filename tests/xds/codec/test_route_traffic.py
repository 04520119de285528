"""What routes say of traffic: understood with its defaults, or refused by field."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model import (
    ClusterHeader,
    HashCookie,
    HashHeader,
    HashSourceIp,
    HedgePolicy,
    Metadata,
    MetadataMatcher,
    Percentage,
    RateLimitedRetryBackOff,
    RequestMirrorPolicy,
    ResetHeader,
    Route,
    RouteAction,
    RouteConfiguration,
    Struct,
    VirtualCluster,
    VirtualHost,
    sourced,
)
from meshlib.xds.codec import decode, encode

HERE = "routes/table: virtual_hosts[v].routes[0]"


def problems(decoding, **fields):
    with pytest.raises(ConfigError) as raised:
        decoding(**fields)
    return [str(problem) for problem in raised.value.problems]


@pytest.fixture
def forward(decode_route):
    """Decodes the only route's action."""

    def made(**action):
        decoded = decode_route(route={"cluster": "c", **action})
        assert decoded.ignored == ()
        return decoded.resource.virtual_hosts[0].routes[0].action

    return made


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (
            {"hash_policy": [{"cookie": {"name": "c", "ttl": "0s"}, "terminal": True}]},
            {"hash_policy": (HashCookie(name="c", ttl=0.0, terminal=True),)},
        ),
        (
            {"hash_policy": [{"connection_properties": {"source_ip": True}}]},
            {"hash_policy": (HashSourceIp(),)},
        ),
        (
            {"hash_policy": [{"header": {"header_name": "x"}}]},
            {"hash_policy": (HashHeader(header_name="x"),)},
        ),
        (
            {"request_mirror_policies": [{"cluster": "m"}]},
            {"request_mirror_policies": (RequestMirrorPolicy(cluster="m"),)},
        ),
        (
            {
                "request_mirror_policies": [
                    {"cluster": "m", "runtime_fraction": {"default_value": {"numerator": 7}}}
                ]
            },
            {
                "request_mirror_policies": (
                    RequestMirrorPolicy(cluster="m", runtime_fraction=Percentage(numerator=7)),
                )
            },
        ),
        (
            {"hedge_policy": {"additional_request_chance": {"numerator": 5}}},
            {"hedge_policy": HedgePolicy(additional_request_chance=5.0)},
        ),
        (
            {"cluster_not_found_response_code": "NOT_FOUND"},
            {"cluster_not_found_response_code": 404},
        ),
        ({"priority": "HIGH", "auto_host_rewrite": True}, {"priority": "high"}),
    ],
)
def test_what_a_route_says_is_understood(forward, said, means):
    action = forward(**said)
    assert {name: getattr(action, name) for name in means} == means


def test_the_header_that_names_the_cluster_is_understood(decode_route):
    decoded = decode_route(route={"cluster_header": "x-cluster"})
    action = decoded.resource.virtual_hosts[0].routes[0].action
    assert action.cluster == ClusterHeader("x-cluster")


def test_back_off_by_what_a_server_says_is_understood(forward):
    headers = [{"name": "Retry-After"}, {"name": "x", "format": "UNIX_TIMESTAMP"}]
    policy = {"retry_on": "5xx", "rate_limited_retry_back_off": {"reset_headers": headers}}
    assert forward(retry_policy=policy).retry_policy.rate_limited_retry_back_off == (
        RateLimitedRetryBackOff(
            reset_headers=(
                ResetHeader(name="Retry-After"),
                ResetHeader(name="x", format="unix_timestamp"),
            )
        )
    )


@pytest.mark.parametrize("place", ["route", "virtual host"])
@pytest.mark.parametrize("metadata", [Metadata(), sourced("rules.yaml:3:1")])
def test_the_delay_of_hedging_rides_in_metadata(place, metadata):
    hedge = HedgePolicy(initial_requests=3, hedging_delay=0.25)
    inside = hedge if place == "route" else None
    around = hedge if place == "virtual host" else None
    action = RouteAction(cluster="c", hedge_policy=inside)
    host = VirtualHost(
        name="v",
        domains=("*",),
        routes=(Route(action=action, metadata=metadata),),
        hedge_policy=around,
        metadata=metadata,
    )
    packed = encode(table := RouteConfiguration(name="t", virtual_hosts=(host,)))
    assert b"hedging_delay" in packed.value
    assert decode(packed.type_url, packed.value).resource == table


def test_a_delay_without_hedging_is_only_metadata():
    told = Metadata((("meshlib", Struct((("hedging_delay", 1.0),))),))
    route = Route(action=RouteAction(cluster="c"), metadata=told)
    host = VirtualHost(name="v", domains=("*",), routes=(route,))
    packed = encode(table := RouteConfiguration(name="t", virtual_hosts=(host,)))
    assert decode(packed.type_url, packed.value).resource == table


@pytest.mark.parametrize(
    ("value", "means"),
    [
        ({"present_match": True}, {}),
        ({"null_match": {}}, {"match": None}),
        ({"bool_match": True}, {"match": True}),
    ],
)
def test_a_condition_on_metadata_is_understood(decode_route, value, means):
    matcher = {"filter": "f", "path": [{"key": "a"}, {"key": "b"}], "value": value}
    decoded = decode_route(match={"prefix": "/", "dynamic_metadata": [matcher]}, redirect={})
    (found,) = decoded.resource.virtual_hosts[0].routes[0].match.dynamic_metadata
    assert found == MetadataMatcher(filter="f", path=("a", "b"), **means)


def test_a_virtual_cluster_is_understood(decode_table):
    named = {"name": "create", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}
    host = {"name": "v", "domains": ["*"], "virtual_clusters": [named], "require_tls": "ALL"}
    found = decode_table(virtual_hosts=[host]).resource.virtual_hosts[0]
    assert isinstance(found.virtual_clusters[0], VirtualCluster)
    assert found.require_tls == "all"


PATTERN = {"pattern": {"regex": "/(a)/(b)"}}


@pytest.mark.parametrize(
    ("route", "where", "what"),
    [
        (
            {"regex_rewrite": {**PATTERN, "substitution": r"\3"}},
            "route.regex_rewrite.substitution",
            "no group 3",
        ),
        (
            {"regex_rewrite": {**PATTERN, "substitution": r"\x"}},
            "route.regex_rewrite.substitution",
            "backslash stands before 'x'",
        ),
        (
            {"prefix_rewrite": "/", "regex_rewrite": {**PATTERN, "substitution": ""}},
            "route.regex_rewrite",
            "exclude each other",
        ),
        (
            {"host_rewrite_path_regex": {"pattern": {"regex": "(?=x)"}, "substitution": r"\1"}},
            "route.host_rewrite_path_regex.pattern.regex",
            "RE2",
        ),
        ({"hash_policy": [{"header": {}}]}, "route.hash_policy[0].header.header_name", "empty"),
        (
            {"request_mirror_policies": [{}]},
            "route.request_mirror_policies[0].cluster",
            "must not be empty",
        ),
        (
            {"retry_policy": {"rate_limited_retry_back_off": {}}},
            "route.retry_policy.rate_limited_retry_back_off.reset_headers",
            "must not be empty",
        ),
        (
            {"hedge_policy": {"initial_requests": 0}},
            "route.hedge_policy.initial_requests",
            "at least 1",
        ),
        ({"rate_limits": [{}]}, "route.rate_limits[0].actions", "must not be empty"),
        ({"rate_limits": [{"stage": 11}]}, "route.rate_limits[0].stage", "between 0 and 10"),
    ],
)
def test_what_a_route_says_wrongly_is_refused_with_the_field(decode_route, route, where, what):
    found = problems(decode_route, route={"cluster": "c", **route})
    assert [p for p in found if p.startswith(f"{HERE}.{where}: ") and what in p], found


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("%NOT_THERE%", "%NOT_THERE%"),
        ("%REQ%", "%REQ%"),
        ("5%", "no operator"),
    ],
)
@pytest.mark.parametrize("field", ["request_headers_to_add", "response_headers_to_add"])
def test_an_operator_that_is_not_supported_is_refused_by_name(decode_route, field, value, what):
    add = [{"header": {"key": "x", "value": value}}]
    (found,) = problems(decode_route, route={"cluster": "c"}, **{field: add})
    assert found.startswith(f"{HERE}.{field}[0].header.value: ")
    assert what in found


@pytest.mark.parametrize("value", [{"list_match": {}}, {"or_match": {}}, {}])
def test_a_condition_on_metadata_that_cannot_be_judged_is_refused(decode_route, value):
    matcher = {"filter": "f", "path": [{"key": "a"}], "value": value}
    found = problems(
        decode_route, match={"prefix": "/", "dynamic_metadata": [matcher]}, redirect={}
    )
    assert found[0].startswith(f"{HERE}.match.dynamic_metadata[0].value")
