"""What clusters say of traffic: understood with its defaults, or refused by field."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model import (
    Aggregate,
    Cluster,
    ClusterProvided,
    GrpcHealthCheck,
    HealthCheck,
    HttpHealthCheck,
    HttpProtocolOptions,
    LeastRequest,
    OutlierDetection,
    PickFirst,
    SlowStart,
    TcpHealthCheck,
    TcpKeepalive,
    ZoneAware,
)
from meshlib.xds.codec import encode, encode_json

CHECK = {"timeout": "1s", "interval": "2s", "unhealthy_threshold": 3, "healthy_threshold": 1}
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SPEAKS = {"explicit_http_config": {"http_protocol_options": {}}}


def speaking(**options):
    typed = {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", **SPEAKS, **options}
    return {"typed_extension_protocol_options": {HTTP_OPTIONS: typed}}


def checking(**fields):
    return {"health_checks": [{**CHECK, **fields}]}


def problems(decoding, **fields):
    with pytest.raises(ConfigError) as raised:
        decoding(**fields)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (
            {"http_health_check": {"path": "/ready"}},
            HttpHealthCheck(path="/ready"),
        ),
        ({"grpc_health_check": {"service_name": "s"}}, GrpcHealthCheck(service_name="s")),
        (
            {"tcp_health_check": {"send": {"text": "0aff"}, "receive": [{"binary": "AQ=="}]}},
            TcpHealthCheck(send=b"\x0a\xff", receive=(b"\x01",)),
        ),
    ],
)
def test_an_active_health_check_is_understood(decode_cluster, said, means):
    decoded = decode_cluster(**checking(**said))
    assert decoded.ignored == ()
    assert decoded.resource.health_checks == (
        HealthCheck(
            checker=means, timeout=1.0, interval=2.0, unhealthy_threshold=3, healthy_threshold=1
        ),
    )


def test_slow_start_and_bias_are_understood(decode_cluster):
    decoded = decode_cluster(
        lb_policy="LEAST_REQUEST",
        least_request_lb_config={
            "active_request_bias": {"default_value": 0.5, "runtime_key": "k"},
            "slow_start_config": {"slow_start_window": "60s", "min_weight_percent": {"value": 5}},
        },
    )
    warm = SlowStart(slow_start_window=60.0, min_weight_percent=5.0)
    assert decoded.resource.lb_policy == LeastRequest(active_request_bias=0.5, slow_start=warm)
    assert decoded.ignored == ("least_request_lb_config.active_request_bias.runtime_key",)


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "CLUSTER_PROVIDED"])
def test_an_aggregate_is_understood(decode_cluster, policy):
    config = {
        "@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
        "clusters": ["a", "b"],
    }
    decoded = decode_cluster(
        type=None,
        eds_cluster_config=None,
        cluster_type={"name": "envoy.clusters.aggregate", "typed_config": config},
        lb_policy=policy,
    )
    assert decoded.resource.discovery == Aggregate(("a", "b"))
    assert isinstance(decoded.resource.lb_policy, ClusterProvided) == (policy != "ROUND_ROBIN")


def test_the_options_of_connections_are_understood(decode_cluster):
    common = {"idle_timeout": "9s", "max_requests_per_connection": 2}
    decoded = decode_cluster(
        **speaking(common_http_protocol_options=common),
        upstream_connection_options={"tcp_keepalive": {"keepalive_time": 7}},
    )
    assert decoded.resource.http_protocol_options == HttpProtocolOptions(
        idle_timeout=9.0, max_requests_per_connection=2
    )
    assert decoded.resource.tcp_keepalive == TcpKeepalive(keepalive_time=7)
    assert decoded.ignored == ()


def test_the_options_of_connections_said_in_the_old_way_are_understood(decode_cluster):
    decoded = decode_cluster(
        max_requests_per_connection=2, common_http_protocol_options={"idle_timeout": "9s"}
    )
    assert decoded.resource.http_protocol_options == HttpProtocolOptions(
        idle_timeout=9.0, max_requests_per_connection=2
    )


def matching(**header):
    return {"http_response_headers_match": {"headers": [{"name": ":status", **header}]}}


@pytest.mark.parametrize(
    ("matcher", "statuses"),
    [
        (matching(string_match={"exact": "429"}), (429,)),
        (matching(range_match={"start": 500, "end": 502}), (500, 501)),
        (
            {"or_match": {"rules": [matching(exact_match="404"), matching(exact_match="500")]}},
            (404, 500),
        ),
        (matching(string_match={"prefix": "4"}), None),
        (matching(exact_match="404", invert_match=True), None),
        ({"any_match": True}, None),
    ],
)
def test_which_statuses_eject_is_understood_or_told(decode_cluster, matcher, statuses):
    decoded = decode_cluster(
        outlier_detection={}, **speaking(outlier_detection={"error_matcher": matcher})
    )
    assert decoded.resource.outlier_detection == OutlierDetection(error_statuses=statuses or ())
    told = (f"{HTTP_OPTIONS}.outlier_detection.error_matcher",)
    assert decoded.ignored == (() if statuses else told)


@pytest.mark.parametrize(
    ("fields", "where", "what"),
    [
        (checking(), "health_checks[0]", "nothing to check by"),
        (
            checking(custom_health_check={"name": "redis"}),
            "health_checks[0].custom_health_check",
            "not supported",
        ),
        (
            checking(http_health_check={"path": "/", "codec_client_type": "HTTP3"}),
            "health_checks[0].http_health_check.codec_client_type",
            "HTTP3",
        ),
        (
            checking(
                http_health_check={"path": "/", "expected_statuses": [{"start": 300, "end": 300}]}
            ),
            "health_checks[0].http_health_check.expected_statuses[0]",
            "must be from 100",
        ),
        (
            checking(tcp_health_check={"send": {"text": "xyz"}}),
            "health_checks[0].tcp_health_check.send.text",
            "hexadecimal",
        ),
        ({"health_checks": [{}]}, "health_checks[0].healthy_threshold", "must be set"),
        (
            {
                "round_robin_lb_config": {
                    "slow_start_config": {
                        "slow_start_window": "1s",
                        "aggression": {"default_value": 0},
                    }
                }
            },
            "round_robin_lb_config.slow_start_config.aggression",
            "above 0",
        ),
        (
            {"type": None, "cluster_type": {"name": "redis"}},
            "cluster_type",
            "not supported",
        ),
    ],
)
def test_what_a_cluster_says_wrongly_is_refused_with_the_field(decode_cluster, fields, where, what):
    found = problems(decode_cluster, **fields)
    assert [p for p in found if p.startswith(f"clusters/reviews: {where}: ") and what in p], found


def test_zones_that_a_balancer_cannot_be_told_of_are_refused_when_written():
    forced = ZoneAware(force_local_zone_min_size=2)
    with pytest.raises(ConfigError, match="PickFirst cannot be said together with force_local"):
        encode(Cluster(name="c", lb_policy=PickFirst(), locality_lb=forced))


def test_a_balancer_that_has_a_name_is_written_by_name():
    written = encode_json(Cluster(name="c", lb_policy=LeastRequest()))
    assert written["lb_policy"] == "LEAST_REQUEST"
    assert "load_balancing_policy" not in written
