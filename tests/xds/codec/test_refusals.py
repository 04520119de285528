"""What is wrong is refused with the path of the field; every problem at once."""

import pytest

from meshlib.errors import ConfigError
from meshlib.xds.codec import InvalidResourceError, decode, decode_snapshot
from meshlib.xds.types import CLUSTER, ENDPOINT

LB = "type.googleapis.com/envoy.extensions.load_balancing_policies."


def endpoint(host="10.0.0.1", port=80, **rest):
    address = {"socket_address": {"address": host, "port_value": port}}
    return {"endpoint": {"address": address}, **rest}


def refused(decoding, *args, **fields):
    with pytest.raises(ConfigError) as raised:
        decoding(*args, **fields)
    return [str(problem) for problem in raised.value.problems]


def policies(*extensions):
    return {"policies": [{"typed_extension_config": {"typed_config": e}} for e in extensions]}


@pytest.mark.parametrize(
    ("fields", "where", "what"),
    [
        ({"outlier_detection": {"interval": "-1s"}}, "outlier_detection.interval", "negative"),
        ({"outlier_detection": {"interval": "0s"}}, "outlier_detection.interval", "must be > 0"),
        (
            {"outlier_detection": {"enforcing_success_rate": 101}},
            "outlier_detection.enforcing_success_rate",
            "between 0 and 100",
        ),
        ({"connect_timeout": "0s"}, "connect_timeout", "must be > 0"),
        ({"type": None, "cluster_type": {"name": "x"}}, "cluster_type", "not supported"),
        ({"type": "STATIC"}, "load_assignment", "must be set"),
        ({"type": 77}, "type", "unknown value 77"),
        ({"eds_cluster_config": {}}, "eds_cluster_config.eds_config", "ads or self"),
        ({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 8}}, "table_size", "prime"),
        (
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"maximum_ring_size": 9000000}},
            "ring_hash_lb_config.maximum_ring_size",
            "8388608",
        ),
        (
            {"common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 99}}}
            | {"lb_policy": "MAGLEV"},
            "common_lb_config.consistent_hashing_lb_config.hash_balance_factor",
            "at least 100",
        ),
        (
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}},
            "least_request_lb_config.choice_count",
            "at least 2",
        ),
        ({"lb_policy": "CLUSTER_PROVIDED"}, "lb_policy", "go together"),
        ({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}, "lb_policy", "not supported"),
        (
            {"load_balancing_policy": policies({"@type": LB + "override_host.v3.OverrideHost"})},
            "load_balancing_policy",
            "no known policy among",
        ),
        (
            {"transport_socket": {"name": "envoy.transport_sockets.tls"}},
            "transport_socket",
            "not supported",
        ),
        (
            {"common_lb_config": {"healthy_panic_threshold": {"value": 101}}},
            "common_lb_config.healthy_panic_threshold",
            "between 0 and 100",
        ),
        (
            {
                "type": "LOGICAL_DNS",
                "load_assignment": {
                    "cluster_name": "x",
                    "endpoints": [{"lb_endpoints": [endpoint("a"), endpoint("b")]}],
                },
            },
            "load_assignment",
            "exactly one endpoint",
        ),
    ],
)
def test_a_bad_cluster_is_refused_with_the_field(decode_cluster, fields, where, what):
    problems = refused(decode_cluster, **fields)
    assert [p for p in problems if p.startswith("clusters/reviews: ") and where in p and what in p]


@pytest.mark.parametrize(
    ("groups", "where", "what"),
    [
        ([{"lb_endpoints": [endpoint("reviews")]}], "socket_address.address", "not an IP address"),
        ([{"lb_endpoints": [endpoint(port=0)]}], "socket_address.port_value", "between 1 and"),
        ([{"lb_endpoints": [endpoint(port=65536)]}], "socket_address.port_value", "65535"),
        ([{"lb_endpoints": [endpoint(), endpoint()]}], "endpoints", "duplicate address"),
        ([{"lb_endpoints": [endpoint(load_balancing_weight=0)]}], "weight", "at least 1"),
        ([{"lb_endpoints": [endpoint(health_status=9)]}], "health_status", "unknown value"),
        ([{"lb_endpoints": [{"endpoint_name": "x"}]}], "lb_endpoints[0].endpoint", "must be set"),
        (
            [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/x"}}}}]}],
            "endpoint.address.pipe",
            "not supported",
        ),
        ([{"priority": 1}], "endpoints", "no locality has priority 0"),
        ([{"priority": 0}, {"priority": 2, "locality": {"zone": "b"}}], "endpoints", "priority 1"),
        ([{"locality": {"zone": "b"}}] * 2, "endpoints", "duplicate"),
        (
            [
                {"locality": {"zone": zone}, "load_balancing_weight": 2**32 - 1}
                for zone in ("a", "b")
            ],
            "endpoints",
            "sum to over",
        ),
    ],
)
def test_bad_endpoints_are_refused_with_the_field(decode_endpoints, groups, where, what):
    problems = refused(decode_endpoints, *groups)
    assert [p for p in problems if p.startswith("endpoints/reviews: ") and where in p and what in p]


def test_a_drop_percentage_needs_a_known_denominator(decode_endpoints):
    drop = {"category": "lb", "drop_percentage": {"numerator": 1, "denominator": 9}}
    problems = refused(decode_endpoints, policy={"drop_overloads": [drop]})
    assert "policy.drop_overloads[0].drop_percentage.denominator" in problems[0]


@pytest.mark.parametrize(
    ("route", "where", "what"),
    [
        ({}, "routes[0]", "no action"),
        ({"route": {}}, "routes[0].route", "no cluster"),
        ({"route": {"cluster_specifier_plugin": "x"}}, "cluster_specifier_plugin", "not supported"),
        ({"route": {"cluster": "c", "timeout": "-1s"}}, "route.timeout", "negative"),
        (
            {"route": {"cluster": "c", "retry_policy": {"num_retries": 0}}},
            "retry_policy.num_retries",
            "at least 1",
        ),
        (
            {
                "route": {
                    "cluster": "c",
                    "retry_policy": {
                        "retry_back_off": {"base_interval": "2s", "max_interval": "1s"}
                    },
                }
            },
            "retry_policy.retry_back_off.max_interval",
            "less than base_interval",
        ),
        (
            {"route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 0}]}}},
            "route.weighted_clusters",
            "not 0",
        ),
        (
            {
                "route": {
                    "weighted_clusters": {
                        "clusters": [{"name": n, "weight": 2**31} for n in ("a", "b")]
                    }
                }
            },
            "route.weighted_clusters",
            "4294967296",
        ),
        ({"direct_response": {"status": 99}}, "direct_response.status", "between 200 and 599"),
        (
            {"direct_response": {"status": 200, "body": {"filename": "/etc/passwd"}}},
            "direct_response.body.filename",
            "not supported",
        ),
        (
            {"direct_response": {"status": 200, "body": {"inline_string": "x" * 4097}}},
            "direct_response.body",
            "4096",
        ),
        (
            {"redirect": {}, "request_headers_to_remove": [":path"]},
            "request_headers_to_remove",
            "may not be changed",
        ),
        (
            {"redirect": {}, "response_headers_to_add": [{"header": {"key": "a", "value": "\n"}}]},
            "response_headers_to_add[0].header.value",
            "control character",
        ),
        ({"redirect": {}, "match": {}}, "match", "no path"),
        (
            {"redirect": {}, "match": {"safe_regex": {"regex": "(?=x)"}}},
            "match.safe_regex.regex",
            "RE2",
        ),
        (
            {"redirect": {}, "match": {"path_separated_prefix": "/a/"}},
            "match.path_separated_prefix",
            "must begin",
        ),
        (
            {"redirect": {}, "match": {"prefix": "/", "headers": [{"name": ""}]}},
            "match.headers[0].name",
            "empty",
        ),
        (
            {
                "redirect": {},
                "match": {"prefix": "/", "runtime_fraction": {"default_value": {"denominator": 5}}},
            },
            "match.runtime_fraction.default_value.denominator",
            "unknown value 5",
        ),
    ],
)
def test_a_bad_route_is_refused_with_the_field(decode_route, route, where, what):
    problems = refused(decode_route, **route)
    begin = "routes/table: virtual_hosts[v]."
    assert [p for p in problems if p.startswith(begin) and where in p and what in p]


@pytest.mark.parametrize(
    ("domains", "what"),
    [
        ([[]], "must not be empty"),
        ([[""]], "not a domain pattern"),
        ([["a.*.b"]], "not a domain pattern"),
        ([["a", "A"]], "duplicate domain"),
        ([["a"], ["b", "a"]], "duplicate domain 'a', also in 'h0'"),
        ([["*"], ["*"]], "duplicate domain '*'"),
    ],
)
def test_domains_are_distinct_patterns_over_the_whole_table(decode_table, domains, what):
    hosts = [{"name": f"h{i}", "domains": listed} for i, listed in enumerate(domains)]
    assert what in "\n".join(refused(decode_table, virtual_hosts=hosts))


STATS = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


@pytest.mark.parametrize(
    ("filters", "what"),
    [
        ([], "the last filter must be the router"),
        ([("stats", STATS), ("router", ROUTER)], "unknown filter"),
        ([("router", ROUTER), ("other", ROUTER)], "only the last"),
        ([("router", ROUTER), ("router", ROUTER)], "called 'router'"),
    ],
)
def test_http_filters_are_known_and_end_with_the_router(decode_http, filters, what):
    listed = [{"name": name, "typed_config": {"@type": kind}} for name, kind in filters]
    assert what in "\n".join(refused(decode_http, http_filters=listed))


def test_an_optional_last_filter_that_is_unknown_is_no_router(decode_http):
    stats = {"name": "stats", "typed_config": {"@type": STATS}, "is_optional": True}
    where = "listeners/reviews:80: api_listener.api_listener.http_filters"
    problems = refused(decode_http, http_filters=[stats])
    assert problems == [f"{where}: the last filter must be the router"]


@pytest.mark.parametrize(
    ("fields", "where", "what"),
    [
        ({}, "", "neither an api_listener nor an address"),
        ({"api_listener": {}}, "api_listener.api_listener", "HttpConnectionManager"),
        (
            {"address": {"socket_address": {"address": "x", "port_value": 1}}},
            "address.socket_address.address",
            "IP address",
        ),
        (
            {"address": {"socket_address": {"address": "::", "port_value": 1}}},
            "filter_chains",
            "not 0",
        ),
        (
            {
                "address": {"socket_address": {"address": "::", "port_value": 1}},
                "filter_chains": [{"transport_socket": {"name": "tls"}}],
            },
            "filter_chains[0].transport_socket",
            "not supported",
        ),
    ],
)
def test_a_bad_listener_is_refused_with_the_field(decode_listener, fields, where, what):
    problems = refused(decode_listener, **fields)
    assert [p for p in problems if p.startswith("listeners/inbound") and where in p and what in p]


def test_all_problems_of_a_resource_are_told_at_once(decode_cluster):
    problems = refused(
        decode_cluster,
        connect_timeout="-1s",
        outlier_detection={"interval": "-1s", "max_ejection_percent": 200},
    )
    assert len(problems) == 3


def test_a_refused_resource_tells_its_name_for_the_nack(decode_cluster):
    with pytest.raises(InvalidResourceError) as raised:
        decode_cluster(connect_timeout="-1s")
    assert (raised.value.type_url, raised.value.name) == (CLUSTER, "reviews")


def test_bytes_that_are_no_message_are_refused():
    with pytest.raises(
        InvalidResourceError, match=r"endpoints: not a valid envoy\.config"
    ) as raised:
        decode(ENDPOINT, b"\xff\xff")
    assert raised.value.name == ""


def test_a_type_that_is_no_resource_is_refused():
    with pytest.raises(ConfigError, match="unknown resource type"):
        decode("type.googleapis.com/google.protobuf.Any", b"")


def test_a_metadata_number_that_json_does_not_have_is_refused():
    number = bytes([0x11]) + b"\x00\x00\x00\x00\x00\x00\xf8\x7f"  # Value.number_value = NaN
    field = b"\x0a\x01k" + b"\x12" + bytes([len(number)]) + number
    struct = b"\x0a" + bytes([len(field)]) + field
    entry = b"\x0a\x01f" + b"\x12" + bytes([len(struct)]) + struct
    metadata = b"\x0a" + bytes([len(entry)]) + entry
    cluster = b"\x0a\x01c" + b"\xca\x01" + bytes([len(metadata)]) + metadata
    with pytest.raises(ConfigError, match=r"metadata\.filter_metadata: numbers must be finite"):
        decode(CLUSTER, cluster)


def test_a_snapshot_tells_the_problems_of_all_its_resources():
    resources = [{"@type": CLUSTER, "connect_timeout": "-1s", "name": n} for n in ("a", "b")]
    with pytest.raises(ConfigError) as raised:
        decode_snapshot([*resources, {"@type": CLUSTER, "no_such_field": 1}])
    text = str(raised.value)
    assert "clusters/a: connect_timeout" in text
    assert "clusters/b: connect_timeout" in text
    assert "resources[2]: " in text
    assert "no_such_field" in text
