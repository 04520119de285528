"""Each field of a DestinationRule's trafficPolicy, from YAML to Envoy's words."""

import pytest

from meshlib import model
from meshlib.controlplane import Scope

WARM = model.SlowStart(slow_start_window=30.0)


@pytest.mark.parametrize(
    "said, expected",
    [
        ("simple: ROUND_ROBIN", model.RoundRobin()),
        ("simple: LEAST_CONN", model.LeastRequest()),
        ("simple: RANDOM", model.Random()),
        ("simple: PASSTHROUGH", model.ClusterProvided()),
        ("consistentHash: {useSourceIp: true}", model.RingHash()),
        (
            "consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 9}}",
            model.RingHash(minimum_ring_size=9),
        ),
        (
            "consistentHash: {useSourceIp: true, minimumRingSize: 9}",
            model.RingHash(minimum_ring_size=9),
        ),
        ("consistentHash: {useSourceIp: true, maglev: {}}", model.Maglev()),
        (
            "consistentHash: {useSourceIp: true, maglev: {tableSize: 251}}",
            model.Maglev(table_size=251),
        ),
        ("warmupDurationSecs: 30s", model.RoundRobin(slow_start=WARM)),
        (
            "simple: LEAST_REQUEST, warmup: {duration: 30s}",
            model.LeastRequest(slow_start=WARM),
        ),
        (
            "warmup: {duration: 5s, minimumPercent: 0, aggression: 2}",
            model.RoundRobin(
                slow_start=model.SlowStart(
                    slow_start_window=5.0, aggression=2.0, min_weight_percent=0.0
                )
            ),
        ),
    ],
)
def test_a_load_balancer_is_translated(cluster_of, said, expected):
    assert cluster_of(f"loadBalancer: {{{said}}}").lb_policy == expected


def test_passthrough_calls_the_place_that_the_caller_named(cluster_of):
    cluster = cluster_of("loadBalancer: {simple: PASSTHROUGH}")
    assert cluster.discovery == model.OriginalDst()
    assert cluster.locality_lb is None


@pytest.mark.parametrize(
    "key, expected",
    [
        ("httpHeaderName: X-User", model.HashHeader(header_name="x-user")),
        ("useSourceIp: true", model.HashSourceIp()),
        ("httpQueryParameterName: user", model.HashQueryParameter(name="user")),
        ("httpCookie: {name: c}", model.HashCookie(name="c")),
        (
            "httpCookie: {name: c, ttl: 0s, path: /a, attributes: [{name: SameSite, value: Lax}]}",
            model.HashCookie(name="c", ttl=0.0, path="/a", attributes=(("SameSite", "Lax"),)),
        ),
    ],
)
def test_routes_hash_what_their_destinations_are_chosen_by(
    routes_of, destination_rule, key, expected
):
    rule = destination_rule(f"loadBalancer: {{consistentHash: {{{key}}}}}")
    (route,) = routes_of("- route: [{destination: {host: reviews}}]", rule)
    assert route.action.hash_policy == (expected,)
    assert not route.action.retry_policy.previous_hosts


def test_routes_that_nobody_wrote_hash_too(snapshot_of, destination_rule):
    rule = destination_rule("loadBalancer: {consistentHash: {useSourceIp: true}}")
    table = snapshot_of(rule).routes["outbound|80||reviews.default.svc.cluster.local"]
    assert table.virtual_hosts[0].routes[0].action.hash_policy == (model.HashSourceIp(),)


def test_a_subset_has_a_hash_of_its_own(routes_of, destination_rule):
    rule = destination_rule(
        "loadBalancer: {consistentHash: {useSourceIp: true}}",
        extra=(
            "subsets:\n- name: v1\n  trafficPolicy:"
            " {loadBalancer: {consistentHash: {httpHeaderName: x}}}"
        ),
    )
    (route,) = routes_of(
        "- route: [{destination: {host: reviews, subset: v1}, weight: 1},"
        " {destination: {host: reviews}, weight: 1}]",
        rule,
    )
    assert route.action.hash_policy == (
        model.HashHeader(header_name="x"),
        model.HashSourceIp(),
    )


def test_limits_of_a_pool_are_translated(cluster_of):
    cluster = cluster_of(
        """
connectionPool:
  tcp:
    maxConnections: 1
    connectTimeout: 2s
    maxConnectionDuration: 1h
    tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}
  http:
    http1MaxPendingRequests: 4
    http2MaxRequests: 5
    maxRetries: 6
    maxRequestsPerConnection: 7
    idleTimeout: 8s
    maxConcurrentStreams: 9
    http2KeepAlive: {interval: 10s, timeout: 11s}
""",
        port=81,
    )
    assert cluster.connect_timeout == 2.0
    assert cluster.circuit_breakers.default == model.Thresholds(
        max_connections=1, max_pending_requests=4, max_requests=5, max_retries=6
    )
    assert cluster.http_protocol_options == model.HttpProtocolOptions(
        http2=True,
        max_requests_per_connection=7,
        idle_timeout=8.0,
        max_connection_duration=3600.0,
        max_concurrent_streams=9,
        keepalive_interval=10.0,
        keepalive_timeout=11.0,
    )
    assert cluster.tcp_keepalive == model.TcpKeepalive(
        keepalive_probes=3, keepalive_time=7200, keepalive_interval=75
    )


@pytest.mark.parametrize(
    "said, expected",
    [
        ("", {}),
        ("consecutive5xxErrors: 3", {"consecutive_5xx": 3}),
        ("consecutive5xxErrors: 0", {"enforcing_consecutive_5xx": 0}),
        (
            "consecutiveGatewayErrors: 2",
            {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100},
        ),
        (
            "consecutiveErrors: 2",
            {
                "consecutive_gateway_failure": 2,
                "enforcing_consecutive_gateway_failure": 100,
                "enforcing_consecutive_5xx": 0,
            },
        ),
        (
            "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2",
            {"split_external_local_origin_errors": True, "consecutive_local_origin_failure": 2},
        ),
        (
            "interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50",
            {"interval": 1.0, "base_ejection_time": 2.0, "max_ejection_percent": 50},
        ),
        ("outlierDetectionHttpErrorCodes: [429, 503]", {"error_statuses": (429, 503)}),
    ],
)
def test_outlier_detection_is_translated(cluster_of, said, expected):
    always = {"enforcing_success_rate": 0, "enforcing_local_origin_success_rate": 0}
    cluster = cluster_of(f"outlierDetection: {{{said}}}")
    assert cluster.outlier_detection == model.OutlierDetection(**{**always, **expected})
    assert cluster.healthy_panic_threshold == 0.0


def test_a_panic_begins_where_the_rule_says(cluster_of):
    assert cluster_of("outlierDetection: {minHealthPercent: 30}").healthy_panic_threshold == 30.0


def test_a_budget_is_translated(cluster_of):
    cluster = cluster_of("retryBudget: {percent: 7, minRetryConcurrency: 2}")
    assert cluster.circuit_breakers.high.retry_budget == model.RetryBudget(
        budget_percent=7.0, min_retry_concurrency=2
    )


def test_a_selector_says_whose_calls_a_rule_is_about(cluster_of, destination_rule):
    chosen = destination_rule(
        "loadBalancer: {simple: RANDOM}",
        name="chosen",
        extra="workloadSelector: {matchLabels: {app: web}}",
    )
    everybody = "loadBalancer: {simple: LEAST_REQUEST}"
    web = Scope("default", (("app", "web"),))
    assert cluster_of(everybody, chosen, scope=web).lb_policy == model.Random()
    assert cluster_of(everybody, chosen).lb_policy == model.LeastRequest()


MESH = """---
kind: MeshConfig
connectTimeout: 3s
dnsRefreshRate: 9s
tcpKeepalive: {time: 60s}
defaultTrafficPolicy:
  outlierDetection: {consecutive5xxErrors: 2}
  connectionPool: {http: {http2MaxRequests: 11}}
pathNormalization: {normalization: MERGE_SLASHES}
"""


def test_the_mesh_says_what_holds_where_rules_say_nothing(snapshot_of, destination_rule):
    made = snapshot_of(destination_rule("connectionPool: {http: {maxRetries: 1}}"), MESH)
    cluster = made.clusters["outbound|80||reviews.default.svc.cluster.local"]
    assert cluster.connect_timeout == made.clusters["PassthroughCluster"].connect_timeout == 3.0
    assert cluster.tcp_keepalive == model.TcpKeepalive(keepalive_time=60)
    assert cluster.outlier_detection.consecutive_5xx == 2
    assert cluster.circuit_breakers.default.max_requests == 4294967295  # the rule has that block
    http = made.listeners["reviews:80"].http
    assert (http.normalize_path, http.merge_slashes) == (True, True)


@pytest.mark.parametrize("word, is_normal", [("DEFAULT", True), ("BASE", True), ("NONE", False)])
def test_paths_are_normalized_if_the_mesh_says_so(snapshot_of, word, is_normal):
    mesh = f"---\nkind: MeshConfig\npathNormalization: {{normalization: {word}}}\n"
    http = snapshot_of(mesh).listeners["reviews:80"].http
    assert (http.normalize_path, http.merge_slashes) == (is_normal, False)


def test_escaped_slashes_are_taken_for_slashes_if_the_mesh_says_so(snapshot_of):
    mesh = "---\nkind: MeshConfig\npathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}\n"
    http = snapshot_of(mesh).listeners["reviews:80"].http
    assert http.path_with_escaped_slashes_action.name == "UNESCAPE_AND_FORWARD"
    assert (http.normalize_path, http.merge_slashes) == (True, True)


def test_names_are_resolved_as_often_as_the_mesh_says(snapshot_of):
    entry = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x}
spec: {hosts: [x.y], resolution: DNS, ports: [{number: 80, name: http}]}
"""
    cluster = snapshot_of(entry, MESH).clusters["outbound|80||x.y"]
    assert cluster.discovery.dns_refresh_rate == 9.0


@pytest.mark.parametrize("kind", ["Service", "VirtualService", "DestinationRule"])
def test_the_mesh_says_who_sees_what_is_exported_to_nobody_in_particular(
    snapshot_of, virtual_service, destination_rule, kind
):
    mesh = f"---\nkind: MeshConfig\ndefault{kind}ExportTo: ['.']\n"
    texts = [
        virtual_service("- route: [{destination: {host: reviews}}]\n  name: mine"),
        destination_rule("loadBalancer: {simple: RANDOM}"),
        mesh,
    ]
    name = "outbound|80||reviews.default.svc.cluster.local"
    home, abroad = (snapshot_of(*texts, scope=Scope(where)) for where in ("default", "other"))
    assert home.clusters[name].lb_policy == model.Random()
    match kind:
        case "Service":
            assert not abroad.clusters.get(name) or "reviews.default:80" not in abroad.listeners
        case "VirtualService":
            assert abroad.routes[name].virtual_hosts[0].routes[0].name == "default"
        case "DestinationRule":
            assert abroad.clusters[name].lb_policy == model.RoundRobin()
