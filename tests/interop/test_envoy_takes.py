"""Everything that the model can say, made ready for Envoy: a real one refuses nothing of it."""

import asyncio
import json
from dataclasses import replace

import pytest

from meshlib.controlplane.node import ClientKind
from meshlib.controlplane.profiles import adapt
from meshlib.model import (
    ALWAYS,
    ROUTER,
    AdaptiveConcurrency,
    Address,
    AdmissionControl,
    Aggregate,
    CircuitBreakers,
    ClientSideWeightedRoundRobin,
    Cluster,
    ClusterHeader,
    ClusterLoadAssignment,
    ClusterWeight,
    Cors,
    DestinationCluster,
    Exact,
    Fault,
    FaultAbort,
    FaultDelay,
    FilterOverride,
    GenericKey,
    GlobalRateLimit,
    GrpcHealthCheck,
    HashCookie,
    HashFilterState,
    HashHeader,
    HashQueryParameter,
    HashSourceIp,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueMatch,
    HeaderValueOption,
    HealthCheck,
    HedgePolicy,
    HttpConnectionManager,
    HttpFilter,
    HttpHealthCheck,
    HttpProtocolOptions,
    LeastRequest,
    Listener,
    LocalDescriptor,
    LocalityWeighted,
    LocalRateLimit,
    Maglev,
    MetadataMatcher,
    OutlierDetection,
    Percentage,
    PickFirst,
    Prefix,
    QueryParameter,
    Random,
    RandomSubsetting,
    Range,
    RateLimit,
    RateLimitedRetryBackOff,
    RedirectAction,
    RegexRewrite,
    RemoteAddress,
    RequestHeader,
    RequestMirrorPolicy,
    ResetHeader,
    RetryBudget,
    RetryPolicy,
    RingHash,
    RoundRobin,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    SlowStart,
    SourceCluster,
    Static,
    StrictDns,
    TcpHealthCheck,
    TcpKeepalive,
    Thresholds,
    TokenBucket,
    VirtualCluster,
    VirtualHost,
    WeightedClusters,
    ZoneAware,
    gather,
)
from meshlib.xds.codec import encode_json

pytestmark = pytest.mark.interop

NOBODY = ClusterLoadAssignment(cluster_name="c")
C = Cluster(name="c", discovery=Static(NOBODY))
HEADER = HeaderMatcher(name="x-a", match=Exact("1"))
REWRITE = RegexRewrite(pattern="^/(v[0-9]+)/", substitution=r"/\1/x")
MIRROR = RequestMirrorPolicy(cluster="c", runtime_fraction=Percentage(numerator=5))
LOCALITIES = (None, LocalityWeighted(), ZoneAware())
WARM = SlowStart(slow_start_window=3.0)
BALANCERS = (
    RoundRobin(slow_start=WARM),
    LeastRequest(slow_start=WARM),
    LeastRequest(full_scan=True),
    Random(),
    RingHash(hash_function="murmur_hash_2", hash_balance_factor=150, use_hostname_for_hashing=True),
    Maglev(hash_balance_factor=150, use_hostname_for_hashing=True),
    PickFirst(),
    ClientSideWeightedRoundRobin(),
    RandomSubsetting(subset_size=2, child_policy=LeastRequest()),
    RandomSubsetting(subset_size=2, child_policy=PickFirst()),
)


def checked(checker):
    return HealthCheck(
        checker=checker, timeout=1.0, interval=1.0, unhealthy_threshold=2, healthy_threshold=1
    )


def clusters():
    for number, policy in enumerate(BALANCERS):
        for zones, locality in enumerate(LOCALITIES):
            for kind in (Static, StrictDns):
                name = f"{kind.__name__}-{number}-{zones}"
                yield Cluster(
                    name=name, discovery=kind(NOBODY), lb_policy=policy, locality_lb=locality
                )
    forced = ZoneAware(force_local_zone_min_size=3)
    yield Cluster(name="forced", discovery=Static(NOBODY), locality_lb=forced)
    yield Cluster(name="all", discovery=Aggregate(("c",)))
    probes = (
        HttpHealthCheck(
            path="/",
            host="x",
            request_headers_to_add=(("a", "b%"),),
            retriable_statuses=((300, 400),),
            http2=True,
        ),
        GrpcHealthCheck(),
        TcpHealthCheck(send=b"a", receive=(b"b",)),
    )
    for number, probe in enumerate(probes):
        yield Cluster(
            name=f"full-{number}",
            discovery=Static(NOBODY),
            outlier_detection=OutlierDetection(error_statuses=(404, 500)[: number + 1]),
            http_protocol_options=HttpProtocolOptions(
                http2=True,
                max_requests_per_connection=3,
                idle_timeout=3.0,
                max_connection_duration=4.0,
                max_concurrent_streams=4,
                keepalive_interval=3.0,
                keepalive_timeout=2.0,
            ),
            tcp_keepalive=TcpKeepalive(keepalive_time=3),
            circuit_breakers=CircuitBreakers(
                default=Thresholds(max_connections_per_host=3, retry_budget=RetryBudget())
            ),
            health_checks=(checked(probe), checked(probe)),
        )


def to(cluster="c", **action):
    return Route(action=RouteAction(cluster=cluster, **action))


RETRIES = RetryPolicy(
    retry_on=("5xx", "aborted"),
    retriable_headers=(HEADER,),
    retriable_request_headers=(HEADER,),
    rate_limited_retry_back_off=RateLimitedRetryBackOff(reset_headers=(ResetHeader(name="x"),)),
    previous_hosts=True,
    previous_priorities=2,
    per_try_idle_timeout=1.0,
)
CONDITIONS = tuple(
    MetadataMatcher(filter="f", path=("a", "b"), match=match)
    for match in (Range(1, 3), None, True, Exact("x"))
)
TOLD = RateLimit(
    actions=(
        GenericKey(descriptor_value="x"),
        RequestHeader(header_name="a", descriptor_key="k"),
        RemoteAddress(),
        DestinationCluster(),
        SourceCluster(),
        HeaderValueMatch(descriptor_value="v", headers=(HEADER,)),
        QueryParameter(query_parameter_name="q", descriptor_key="q"),
    )
)
STAGED = replace(TOLD, stage=2)
LIMIT = LocalRateLimit(
    token_bucket=TokenBucket(max_tokens=3, fill_interval=1.0),
    filter_enabled=ALWAYS,
    filter_enforced=ALWAYS,
    descriptors=(
        LocalDescriptor(
            entries=(("a", "b"),), token_bucket=TokenBucket(max_tokens=2, fill_interval=1.0)
        ),
    ),
    rate_limits=(RateLimit(actions=(GenericKey(descriptor_value="b", descriptor_key="a"),)),),
    headers="draft_version_03",
)
ASK = GlobalRateLimit(domain="d", cluster="c", rate_limits=(TOLD,))
FILTERS = {
    "fault": Fault(
        delay=FaultDelay(fixed_delay=1.0, percentage=ALWAYS),
        abort=FaultAbort(grpc_status=3),
        headers=(HEADER,),
    ),
    "by-header": Fault(delay=FaultDelay(fixed_delay=None), abort=FaultAbort()),
    "limit": LIMIT,
    "ask": ASK,
    "cors": Cors(),
    "concurrency": AdaptiveConcurrency(),
    "fixed": AdaptiveConcurrency(fixed_min_rtt=1.0),
    "admission": AdmissionControl(),
}
OVERRIDES = (
    FilterOverride(name="admission", config=AdmissionControl()),
    FilterOverride(name="ask", config=ASK),
    FilterOverride(name="by-header"),
    FilterOverride(name="concurrency", disabled=True),
    FilterOverride(
        name="cors",
        config=Cors(allow_origins=(Prefix("x"),), forward_not_matching_preflights=False),
    ),
    FilterOverride(name="fault", config=FILTERS["fault"], is_optional=True),
    FilterOverride(name="limit", config=LIMIT, disabled=True),
)
VALUES = (
    *("%REQ(x?:authority):9%", "100%%", "%VIRTUAL_CLUSTER_NAME%", "%ENVIRONMENT(X)%"),
    *("%METADATA(ROUTE:a:b)%", "%START_TIME(%s)%", "%DYNAMIC_METADATA(a:b)%", "%HOSTNAME%"),
    *("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "%DOWNSTREAM_REMOTE_PORT%", "%PROTOCOL%"),
    *("%UPSTREAM_HOST%", "%UPSTREAM_CLUSTER%", "%DURATION%", "%ROUTE_NAME%", "%RESP(x)%"),
)
ADDED = HeaderMutations(
    request_headers_to_add=tuple(
        HeaderValueOption(name=f"x-{number}", value=value) for number, value in enumerate(VALUES)
    )
)
ROUTES = (
    to(
        hash_policy=(
            HashHeader(header_name="x", regex_rewrite=REWRITE),
            HashCookie(name="c", ttl=3.0, path="/", attributes=(("SameSite", "Lax"),)),
            HashCookie(name="d"),
            HashSourceIp(terminal=True),
            HashQueryParameter(name="q"),
            HashFilterState(key="io.grpc.channel_id"),
        )
    ),
    to(
        regex_rewrite=REWRITE,
        host_rewrite_path_regex=REWRITE,
        append_x_forwarded_host=True,
        priority="high",
        cluster_not_found_response_code=404,
    ),
    to(host_rewrite_header="x-h", request_mirror_policies=(MIRROR,), rate_limits=(STAGED,)),
    to(
        auto_host_rewrite=True,
        retry_policy=RETRIES,
        hedge_policy=HedgePolicy(
            initial_requests=2,
            additional_request_chance=0.5,
            hedge_on_per_try_timeout=True,
            hedging_delay=0.5,
        ),
    ),
    Route(
        match=RouteMatch(dynamic_metadata=CONDITIONS),
        action=RouteAction(
            cluster=WeightedClusters(
                clusters=(
                    ClusterWeight(
                        name="c", weight=3, host_rewrite_literal="x", overrides=OVERRIDES
                    ),
                ),
                header_name="x",
            )
        ),
        overrides=OVERRIDES,
        stat_prefix="x",
    ),
    to(
        cluster=WeightedClusters(
            clusters=(ClusterWeight(name="c", weight=3),), use_hash_policy=True
        )
    ),
    to(cluster=ClusterHeader("x")),
    Route(action=RedirectAction(regex_rewrite=REWRITE, host_redirect="x")),
)


def listener():
    host = VirtualHost(
        name="h",
        domains=("*",),
        routes=ROUTES,
        require_tls="external_only",
        virtual_clusters=(VirtualCluster(name="x", headers=(HEADER,)),),
        hedge_policy=HedgePolicy(hedging_delay=1.0),
        request_mirror_policies=(MIRROR,),
        rate_limits=(TOLD,),
        include_request_attempt_count=True,
        include_attempt_count_in_response=True,
        overrides=OVERRIDES,
    )
    table = RouteConfiguration(
        name="t",
        virtual_hosts=(host,),
        headers=ADDED,
        internal_only_headers=("x",),
        most_specific_header_mutations_wins=True,
        request_mirror_policies=(MIRROR,),
        overrides=OVERRIDES,
    )
    filters = tuple(HttpFilter(name=name, config=config) for name, config in FILTERS.items())
    http = HttpConnectionManager(
        routes=table, http_filters=(*filters, ROUTER), normalize_path=True, merge_slashes=True
    )
    return Listener(name="l", http=http, address=Address("127.0.0.1", 0))


def static(resource):
    made = encode_json(resource)
    made.pop("@type")
    return made


async def test_envoy_takes_clusters_routes_and_filters_of_every_kind(envoy, tmp_path):
    said = []
    snapshot = adapt(
        gather(clusters=[C, *clusters()], listeners=[listener()]), ClientKind.ENVOY, said.append
    )
    configured = {
        "node": {"id": "n", "cluster": "k"},
        "static_resources": {
            "clusters": [static(one) for one in snapshot.clusters.values()],
            "listeners": [static(one) for one in snapshot.listeners.values()],
        },
    }
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(configured))
    process = await asyncio.create_subprocess_exec(
        *(str(envoy), "--mode", "validate", "-c", str(config), "-l", "error"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-2000:]
    told = "\n".join(map(str, said))
    for word in ("RandomSubsetting", "PickFirst", "hashed by address", "health check", "[ask]"):
        assert word in told
