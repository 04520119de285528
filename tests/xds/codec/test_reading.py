"""What other control planes send is understood, or named as ignored."""

import pytest

from meshlib import model
from meshlib.model import (
    Contains,
    Eds,
    Exact,
    HeaderMatcher,
    HealthStatus,
    HttpProtocolOptions,
    LeastRequest,
    LocalityWeighted,
    Maglev,
    PathExact,
    PickFirst,
    Prefix,
    Present,
    Random,
    RandomSubsetting,
    Range,
    RingHash,
    RoundRobin,
    SafeRegex,
    Suffix,
    Thresholds,
)
from meshlib.xds.codec import decode, encode
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT

LB = "type.googleapis.com/envoy.extensions.load_balancing_policies."
WRR_LOCALITY = LB + "wrr_locality.v3.WrrLocality"


def policies(*extensions):
    return {"policies": [{"typed_extension_config": {"typed_config": e}} for e in extensions]}


@pytest.mark.parametrize(
    ("matcher", "means"),
    [
        ({"exact_match": "x"}, Exact("x")),
        ({"safe_regex_match": {"google_re2": {}, "regex": "x+"}}, SafeRegex("x+")),
        ({"range_match": {"start": "-1", "end": "5"}}, Range(-1, 5)),
        ({"present_match": False}, Present(present=False)),
        ({"prefix_match": "x"}, Prefix("x")),
        ({"suffix_match": "x"}, Suffix("x")),
        ({"contains_match": "x"}, Contains("x")),
        ({"string_match": {"exact": "x", "ignore_case": True}}, Exact("x", ignore_case=True)),
        ({}, Present()),
    ],
)
def test_every_way_to_match_a_header_is_understood(decode_route, matcher, means):
    headers = [{"name": "h", **matcher}]
    decoded = decode_route(match={"prefix": "/", "headers": headers}, redirect={})
    route = decoded.resource.virtual_hosts[0].routes[0]
    assert route.match.headers == (HeaderMatcher(name="h", match=means),)
    assert decoded.ignored == ()


@pytest.mark.parametrize(
    ("listed", "means"),
    [
        (policies({"@type": LB + "round_robin.v3.RoundRobin"}), RoundRobin()),
        (policies({"@type": LB + "random.v3.Random"}), Random()),
        (
            policies({"@type": LB + "least_request.v3.LeastRequest", "choice_count": 5}),
            LeastRequest(choice_count=5),
        ),
        (
            policies(
                {
                    "@type": WRR_LOCALITY,
                    "endpoint_picking_policy": policies(
                        {"@type": LB + "ring_hash.v3.RingHash", "maximum_ring_size": "512"}
                    ),
                }
            ),
            RingHash(minimum_ring_size=512, maximum_ring_size=512),
        ),
        (
            policies({"@type": LB + "pick_first.v3.PickFirst", "shuffle_address_list": True}),
            PickFirst(shuffle_address_list=True),
        ),
        (
            policies(
                {"@type": LB + "least_request.v3.LeastRequest", "selection_method": "FULL_SCAN"}
            ),
            LeastRequest(full_scan=True),
        ),
        (
            policies(
                {
                    "@type": LB + "random_subsetting.v3.RandomSubsetting",
                    "subset_size": 3,
                    "child_policy": policies({"@type": LB + "random.v3.Random"}),
                }
            ),
            RandomSubsetting(subset_size=3, child_policy=Random()),
        ),
        (
            policies(
                {
                    "@type": LB + "maglev.v3.Maglev",
                    "consistent_hashing_lb_config": {
                        "use_hostname_for_hashing": True,
                        "hash_balance_factor": 150,
                    },
                }
            ),
            Maglev(use_hostname_for_hashing=True, hash_balance_factor=150),
        ),
    ],
)
def test_policies_given_as_extensions_win_over_the_enum(decode_cluster, listed, means):
    decoded = decode_cluster(lb_policy="MAGLEV", load_balancing_policy=listed)
    assert decoded.resource.lb_policy == means
    assert decoded.ignored == ()


def test_the_first_known_policy_counts_and_the_one_before_is_named(decode_cluster):
    listed = policies(
        {"@type": LB + "override_host.v3.OverrideHost"},
        {"@type": LB + "round_robin.v3.RoundRobin"},
    )
    decoded = decode_cluster(load_balancing_policy=listed)
    assert decoded.resource.lb_policy == RoundRobin()
    assert decoded.ignored == ("load_balancing_policy.policies[0]",)


def test_policies_within_policies_have_an_end():
    config = message_class("envoy.config.cluster.v3.LoadBalancingPolicy")
    nested = config()
    for _ in range(200):
        locality = {"endpoint_picking_policy": nested}
        inner = message_class(
            "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality"
        )
        packed = {"type_url": WRR_LOCALITY, "value": inner(**locality).SerializeToString()}
        nested = config(policies=[{"typed_extension_config": {"typed_config": packed}}])
    cluster = message_class("envoy.config.cluster.v3.Cluster")(
        name="c", load_balancing_policy=nested
    )
    with pytest.raises(Exception, match="no known policy"):
        decode(CLUSTER, cluster.SerializeToString())


def test_the_total_weight_is_not_believed(decode_route):
    clusters = [{"name": "a", "weight": 1}, {"name": "b", "weight": 2}]
    decoded = decode_route(route={"weighted_clusters": {"clusters": clusters, "total_weight": 100}})
    assert decoded.resource.virtual_hosts[0].routes[0].action.cluster.total_weight == 3
    assert decoded.ignored == ()


def test_http2_said_in_the_old_way_is_understood(decode_cluster):
    decoded = decode_cluster(http2_protocol_options={})
    assert decoded.resource.http_protocol_options == HttpProtocolOptions(http2=True)


def test_the_first_threshold_of_a_priority_counts(decode_cluster):
    thresholds = [{"max_requests": 1}, {"max_requests": 2}]
    decoded = decode_cluster(circuit_breakers={"thresholds": thresholds})
    assert decoded.resource.circuit_breakers.default == Thresholds(max_requests=1)
    assert decoded.ignored == ("circuit_breakers.thresholds[1]",)


def test_ejections_last_at_least_as_long_as_the_first(decode_cluster):
    decoded = decode_cluster(outlier_detection={"base_ejection_time": "400s"})
    assert decoded.resource.outlier_detection.max_ejection_time == 400


def test_an_optional_filter_that_is_unknown_is_named(decode_http):
    unknown = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    listed = [
        {"name": "stats", "typed_config": {"@type": unknown}, "is_optional": True},
        {"name": "router", "typed_config": {"@type": router}},
    ]
    decoded = decode_http(http_filters=listed)
    assert [one.name for one in decoded.resource.http.http_filters] == ["router"]
    assert decoded.ignored == ("api_listener.api_listener.http_filters[stats]",)


def test_append_in_the_old_way_is_understood(decode_route):
    added = [
        {"header": {"key": "a", "value": "1"}, "append": False},
        {"header": {"key": "b", "value": "2"}, "append": True},
    ]
    decoded = decode_route(redirect={}, request_headers_to_add=added)
    options = decoded.resource.virtual_hosts[0].routes[0].headers.request_headers_to_add
    assert [option.append_action for option in options] == [
        "overwrite_if_exists_or_add",
        "append_if_exists_or_add",
    ]


def test_fields_without_effect_are_named(decode_route):
    decoded = decode_route(
        match={"path": "/"},
        route={"cluster": "c", "hash_policy": [{"terminal": True}], "idle_timeout": "1s"},
        decorator={"operation": "op", "propagate": False},
    )
    assert decoded.resource.virtual_hosts[0].routes[0].match.path == PathExact("/")
    assert set(decoded.ignored) == {
        "virtual_hosts[v].routes[0].decorator.propagate",
        "virtual_hosts[v].routes[0].route.idle_timeout",
        "virtual_hosts[v].routes[0].route.hash_policy[0]",
    }


def test_fields_newer_than_our_protos_are_named():
    cluster = message_class("envoy.config.cluster.v3.Cluster")(
        name="c", type="EDS", eds_cluster_config={"eds_config": {"ads": {}}}
    ).SerializeToString()
    newer = b"\xf8\xff\x03\x01"  # field 8191 = 1
    decoded = decode(CLUSTER, cluster + newer)
    assert decoded.resource.discovery == Eds()
    assert decoded.ignored == ("#8191",)


@pytest.mark.parametrize(
    ("extra", "where"),
    [
        (
            {"endpoint": {"health_check_config": {"hostname": "x"}}},
            "endpoint.health_check_config.hostname",
        ),
        ({"metadata": {"typed_filter_metadata": {"a": {}}}}, "metadata.typed_filter_metadata"),
        (
            {"endpoint": {"address": {"socket_address": {"resolver_name": "x"}}}},
            "endpoint.address.socket_address.resolver_name",
        ),
    ],
)
def test_even_among_many_endpoints_a_field_without_effect_is_named(extra, where):
    made = message_class("envoy.config.endpoint.v3.LbEndpoint")
    plain = made(
        endpoint={"address": {"socket_address": {"address": "10.0.0.1", "port_value": 1}}},
        health_status="HEALTHY",
    )
    odd = made(endpoint={"address": {"socket_address": {"address": "10.0.0.2", "port_value": 1}}})
    odd.MergeFrom(made(**{k: v for k, v in extra.items() if k == "endpoint"}))
    if "metadata" in extra:
        odd.metadata.typed_filter_metadata["a"].type_url = "x"
    group = {"lb_endpoints": [plain, odd]}
    assignment = message_class("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name="c", endpoints=[group]
    )
    decoded = decode(ENDPOINT, assignment.SerializeToString())
    first, second = decoded.resource.endpoints[0].lb_endpoints
    assert (first.health_status, second.health_status) == (
        HealthStatus.HEALTHY,
        HealthStatus.UNKNOWN,
    )
    assert decoded.ignored == (f"endpoints[0].lb_endpoints[1].{where}",)


def test_an_endpoint_field_newer_than_our_protos_is_named():
    endpoint = message_class("envoy.config.endpoint.v3.LbEndpoint")(
        endpoint={"address": {"socket_address": {"address": "10.0.0.1", "port_value": 1}}}
    )
    endpoint.MergeFromString(b"\xf8\xff\x03\x01")
    assignment = message_class("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name="c", endpoints=[{"lb_endpoints": [endpoint]}]
    )
    decoded = decode(ENDPOINT, assignment.SerializeToString())
    assert decoded.ignored == ("endpoints[0].lb_endpoints[0].#8191",)


def test_a_resource_is_carried_by_our_own_any():
    decoded = decode(
        CLUSTER,
        message_class("envoy.config.cluster.v3.Cluster")(
            name="c", type="EDS", eds_cluster_config={"eds_config": {"self": {}}}
        ).SerializeToString(),
    )
    packed = encode(decoded.resource)
    assert packed.type_url == CLUSTER
    assert packed.DESCRIPTOR.full_name == "google.protobuf.Any"


FORWARD = {"cluster": "reviews"}
ADD_X = [{"header": {"key": "x", "value": "1"}}]
HERE = "virtual_hosts[v].routes[0]"


@pytest.mark.parametrize(
    ("action", "ignored"),
    [
        (
            {"max_stream_duration": {"grpc_timeout_header_offset": "1s"}},
            "max_stream_duration.grpc_timeout_header_offset",
        ),
        ({"retry_policy": {"retry_on": "5xx,http3-post-connect-failure"}}, "retry_policy.retry_on"),
        ({"retry_policy": {"retry_priority": {"name": "x"}}}, "retry_policy.retry_priority"),
        (
            {"retry_policy": {"retry_on": "5xx", "per_try_idle_timeout": "1s"}},
            "retry_policy.per_try_idle_timeout",
        ),
        ({"hash_policy": [{"filter_state": {"key": "x"}}]}, "hash_policy[0].filter_state"),
        ({"hash_policy": [{"connection_properties": {}}]}, "hash_policy[0]"),
        ({"request_mirror_policies": [{"cluster_header": "x"}]}, "request_mirror_policies[0]"),
        ({"priority": "HIGH", "auto_host_rewrite": True}, None),
    ],
)
def test_what_a_route_asks_in_vain_is_told(decode_route, action, ignored):
    found = decode_route(route={**FORWARD, **action}).ignored
    assert found == ((f"{HERE}.route.{ignored}",) if ignored else ())


def test_weights_are_told_what_of_them_is_not_acted_on(decode_route):
    weight = {
        "name": "reviews",
        "weight": 1,
        "response_headers_to_remove": ["x"],
        "metadata_match": {"filter_metadata": {"envoy.lb": {"version": "v1"}}},
    }
    found = decode_route(route={"weighted_clusters": {"clusters": [weight]}}).ignored
    assert found == (f"{HERE}.route.weighted_clusters.clusters[reviews].metadata_match",)


def test_a_rate_limit_with_an_action_that_is_not_known_is_told_whole(decode_route):
    actions = [{"remote_address": {}}, {"masked_remote_address": {}}]
    decoded = decode_route(route={**FORWARD, "rate_limits": [{"actions": actions}]})
    assert decoded.resource.virtual_hosts[0].routes[0].action.rate_limits == ()
    assert f"{HERE}.route.rate_limits[0]" in decoded.ignored


def test_a_header_value_keeps_what_is_to_be_filled_in(decode_route):
    add = [{"header": {"key": "x", "value": "100%% %REQ(x-user)%"}}]
    decoded = decode_route(route=FORWARD, request_headers_to_add=add, response_headers_to_add=add)
    headers = decoded.resource.virtual_hosts[0].routes[0].headers
    assert headers.request_headers_to_add[0].value == "100%% %REQ(x-user)%"
    assert headers.response_headers_to_add == headers.request_headers_to_add
    assert decoded.ignored == ()


def test_weights_of_localities_count_where_the_cluster_asks_for_it(decode_cluster):
    decoded = decode_cluster(common_lb_config={"locality_weighted_lb_config": {}})
    assert decoded.resource.locality_lb == LocalityWeighted()
    wrapped = policies(
        {
            "@type": WRR_LOCALITY,
            "endpoint_picking_policy": policies({"@type": LB + "round_robin.v3.RoundRobin"}),
        }
    )
    decoded = decode_cluster(load_balancing_policy=wrapped)
    assert decoded.resource.locality_lb == LocalityWeighted()


def test_how_often_the_one_name_is_to_be_resolved_is_told(decode_cluster):
    address = {"socket_address": {"address": "reviews.local", "port_value": 80}}
    hosts = {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    found = {
        kind: decode_cluster(
            type=kind,
            eds_cluster_config=None,
            load_assignment={"cluster_name": "reviews", **hosts},
            dns_refresh_rate="9s",
        )
        for kind in ("STRICT_DNS", "LOGICAL_DNS")
    }
    assert all(made.resource.discovery.dns_refresh_rate == 9.0 for made in found.values())
    assert found["STRICT_DNS"].ignored == ()
    assert found["LOGICAL_DNS"].ignored == ("dns_refresh_rate",)


@pytest.mark.parametrize(
    ("resource", "told"),
    [
        (
            model.Cluster(
                name="c",
                lb_policy=model.ClientSideWeightedRoundRobin(enable_oob_load_report=True),
            ),
            "enable_oob_load_report",
        ),
        (
            model.Cluster(
                name="c",
                http_protocol_options=model.HttpProtocolOptions(
                    http2=True, max_concurrent_streams=7
                ),
            ),
            "max_concurrent_streams",
        ),
        (
            model.RouteConfiguration(name="r", internal_only_headers=("x-secret",)),
            "internal_only_headers",
        ),
        (
            model.RouteConfiguration(
                name="r",
                overrides=(
                    model.FilterOverride(
                        name=model.CORS.name, config=model.Cors(shadow_enabled=model.ALWAYS)
                    ),
                ),
            ),
            "shadow_enabled",
        ),
    ],
)
def test_what_is_kept_for_others_and_not_acted_on_here_is_told(resource, told):
    encoded = encode(resource)
    decoded = decode(encoded.type_url, encoded.value)
    assert decoded.resource == resource
    assert [path.rpartition(".")[2] for path in decoded.ignored] == [told]
