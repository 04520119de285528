"""What other control planes send is understood, or named as ignored."""

import pytest

from meshlib.model import (
    Contains,
    Eds,
    Exact,
    HeaderMatcher,
    HealthStatus,
    HttpProtocolOptions,
    LeastRequest,
    Maglev,
    PathExact,
    Prefix,
    Present,
    Random,
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
    ],
)
def test_policies_given_as_extensions_win_over_the_enum(decode_cluster, listed, means):
    decoded = decode_cluster(lb_policy="MAGLEV", load_balancing_policy=listed)
    assert decoded.resource.lb_policy == means
    hashed = isinstance(means, RingHash | Maglev)  # understood, but nothing acts on it yet
    assert decoded.ignored == (("lb_policy",) if hashed else ())


def test_the_first_known_policy_counts_and_the_one_before_is_named(decode_cluster):
    listed = policies(
        {"@type": LB + "pick_first.v3.PickFirst"}, {"@type": LB + "round_robin.v3.RoundRobin"}
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
    fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    listed = [
        {"name": "fault", "typed_config": {"@type": fault}, "is_optional": True},
        {"name": "router", "typed_config": {"@type": router}},
    ]
    decoded = decode_http(http_filters=listed)
    assert [one.name for one in decoded.resource.http.http_filters] == ["router"]
    assert decoded.ignored == ("api_listener.api_listener.http_filters[fault]",)


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
        route={"cluster": "c", "hash_policy": [{"header": {"header_name": "x"}}]},
        decorator={"operation": "op"},
    )
    assert decoded.resource.virtual_hosts[0].routes[0].match.path == PathExact("/")
    assert set(decoded.ignored) == {
        "virtual_hosts[v].routes[0].decorator",
        "virtual_hosts[v].routes[0].route.hash_policy",
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
        ({"endpoint": {"health_check_config": {"port_value": 1}}}, "endpoint.health_check_config"),
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


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"lb_policy": "RING_HASH"}, ("lb_policy",)),
        ({"lb_policy": "ROUND_ROBIN", "outlier_detection": {}}, ("outlier_detection",)),
    ],
)
def test_what_the_data_plane_does_not_act_on_is_named(fields, ignored):
    cluster = message_class("envoy.config.cluster.v3.Cluster")(
        name="c", type="EDS", eds_cluster_config={"eds_config": {"ads": {}}}, **fields
    )
    assert decode(CLUSTER, cluster.SerializeToString()).ignored == ignored


FORWARD = {"cluster": "reviews"}
ADD_X = [{"header": {"key": "x", "value": "1"}}]
HERE = "virtual_hosts[v].routes[0]"


@pytest.mark.parametrize(
    ("action", "ignored"),
    [
        ({"auto_host_rewrite": True}, "auto_host_rewrite"),
        ({"priority": "HIGH"}, "priority"),
        (
            {"max_stream_duration": {"grpc_timeout_header_offset": "1s"}},
            "max_stream_duration.grpc_timeout_header_offset",
        ),
        ({"retry_policy": {"retry_on": "5xx,retriable-headers"}}, "retry_policy.retry_on"),
        ({"retry_policy": {"per_try_idle_timeout": "1s"}}, "retry_policy.per_try_idle_timeout"),
        ({"hash_policy": [{"terminal": True}]}, "hash_policy"),
        ({"auto_host_rewrite": False, "retry_policy": {"retry_on": "5xx"}}, None),
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
    where = f"{HERE}.route.weighted_clusters.clusters[reviews]"
    assert set(found) == {f"{where}.response_headers_to_remove", f"{where}.metadata_match"}


@pytest.mark.parametrize(
    ("action", "is_told"),
    [
        ({"route": FORWARD}, True),
        ({"non_forwarding_action": {}}, True),
        ({"redirect": {}}, False),
        ({"direct_response": {"status": 200}}, False),
    ],
)
def test_headers_of_answers_from_elsewhere_stay_as_they_are_and_it_is_told(
    decode_table, action, is_told
):
    changes = {"response_headers_to_add": ADD_X}
    route = {"match": {"prefix": "/"}, **action, **changes}
    host = {"name": "v", "domains": ["*"], "routes": [route], **changes}
    found = decode_table(virtual_hosts=[host], **changes).ignored
    assert {path.rpartition(".")[0] for path in found} == (
        {"", "virtual_hosts[v]", HERE} if is_told else set()
    )


@pytest.mark.parametrize(
    ("value", "means"),
    [("a", "a"), ("100%%", "100%"), ("%%REQ(x)%%", "%REQ(x)%"), ("%REQ(x)%", None), ("5%", None)],
)
def test_a_header_value_to_be_filled_in_is_left_out_and_told(decode_route, value, means):
    add = [{"header": {"key": "x", "value": value}}]
    decoded = decode_route(route=FORWARD, request_headers_to_add=add)
    added = decoded.resource.virtual_hosts[0].routes[0].headers.request_headers_to_add
    assert [option.value for option in added] == ([] if means is None else [means])
    assert decoded.ignored == ((f"{HERE}.request_headers_to_add[0]",) if means is None else ())


@pytest.mark.parametrize("limit", ["max_connections", "max_pending_requests"])
@pytest.mark.parametrize(("value", "is_told"), [(100, True), (4294967295, False)])
def test_limits_on_connections_are_told_unless_they_are_none(decode_cluster, limit, value, is_told):
    found = decode_cluster(circuit_breakers={"thresholds": [{limit: value}]}).ignored
    assert found == ((f"circuit_breakers.thresholds[0].{limit}",) if is_told else ())


@pytest.mark.parametrize(
    ("weights", "told"), [((2, 1), []), ((20, 10), []), ((1, 1), [0, 1]), ((None, 1), [])]
)
def test_weights_of_localities_are_told_unless_endpoints_weigh_the_same(
    decode_endpoints, weights, told
):
    def group(zone, weight, *hosts):
        addresses = [{"socket_address": {"address": h, "port_value": 80}} for h in hosts]
        made = {
            "locality": {"zone": zone},
            "lb_endpoints": [{"endpoint": {"address": address}} for address in addresses],
        }
        return made if weight is None else {**made, "load_balancing_weight": weight}

    found = decode_endpoints(
        group("a", weights[0], "10.0.0.1", "10.0.0.2"), group("b", weights[1], "10.0.0.3")
    ).ignored
    assert found == tuple(f"endpoints[{index}].load_balancing_weight" for index in told)


@pytest.mark.parametrize("kind", ["STRICT_DNS", "LOGICAL_DNS"])
def test_how_often_names_are_to_be_resolved_is_told(decode_cluster, kind):
    address = {"socket_address": {"address": "reviews.local", "port_value": 80}}
    hosts = {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    decoded = decode_cluster(
        type=kind,
        eds_cluster_config=None,
        load_assignment={"cluster_name": "reviews", **hosts},
        dns_refresh_rate="9s",
    )
    assert decoded.resource.discovery.dns_refresh_rate == 9.0
    assert decoded.ignored == ("dns_refresh_rate",)
