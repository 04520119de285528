"""Everything that the model can say, made ready for gRPC clients: none refuses anything of it."""

import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from meshlib.controlplane.cache import SnapshotCache
from meshlib.controlplane.node import ClientKind
from meshlib.controlplane.profiles import adapt
from meshlib.controlplane.server import AdsServer
from meshlib.controlplane.status import Status
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
    ClusterProvided,
    ClusterWeight,
    Cors,
    DirectResponseAction,
    Endpoint,
    Exact,
    Fault,
    FaultAbort,
    FaultDelay,
    FilterOverride,
    GlobalRateLimit,
    HashCookie,
    HashFilterState,
    HashHeader,
    HashQueryParameter,
    HashSourceIp,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    HealthCheck,
    HedgePolicy,
    HttpConnectionManager,
    HttpFilter,
    HttpHealthCheck,
    HttpProtocolOptions,
    LeastRequest,
    Listener,
    Locality,
    LocalityLbEndpoints,
    LocalityWeighted,
    LocalRateLimit,
    LogicalDns,
    Maglev,
    MetadataMatcher,
    OriginalDst,
    OutlierDetection,
    PathPrefix,
    PathSeparatedPrefix,
    PickFirst,
    QueryParameterMatcher,
    Random,
    RandomSubsetting,
    RateLimitedRetryBackOff,
    Rds,
    RegexRewrite,
    RequestMirrorPolicy,
    ResetHeader,
    RetryPolicy,
    RingHash,
    RoundRobin,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    SlowStart,
    Static,
    StrictDns,
    TcpKeepalive,
    Thresholds,
    TokenBucket,
    VirtualCluster,
    VirtualHost,
    WeightedClusters,
    ZoneAware,
    gather,
)

pytestmark = pytest.mark.interop
CLIENT = Path(__file__).with_name("stock_client.py")
IS_CALLED = RouteMatch(path=PathPrefix("/test.Who/"))
NEVER_ASKED = RouteMatch(path=PathPrefix("/elsewhere/"))

CHECK = HealthCheck(
    checker=HttpHealthCheck(path="/"),
    timeout=1.0,
    interval=1.0,
    unhealthy_threshold=2,
    healthy_threshold=1,
)
BALANCERS = (
    RoundRobin(slow_start=SlowStart(slow_start_window=3.0)),
    LeastRequest(full_scan=True),
    Random(),
    RingHash(hash_function="murmur_hash_2", hash_balance_factor=150),
    Maglev(use_hostname_for_hashing=True),
    PickFirst(shuffle_address_list=True),
    ClientSideWeightedRoundRobin(),
    RandomSubsetting(subset_size=1, child_policy=PickFirst()),
)
LIMIT = LocalRateLimit(token_bucket=TokenBucket(max_tokens=1, fill_interval=9.0))
ONLY_SOME = Fault(abort=FaultAbort(http_status=503, percentage=ALWAYS), upstream_cluster="x")
LATE = Fault(delay=FaultDelay(fixed_delay=9.0, percentage=ALWAYS))


def placed(name, port):
    group = LocalityLbEndpoints(
        locality=Locality(zone="z"),
        lb_endpoints=(Endpoint(address=Address("127.0.0.1", port)),),
        load_balancing_weight=1,
    )
    return ClusterLoadAssignment(cluster_name=name, endpoints=(group,))


def clusters(port):
    """One of every kind; each is followed by an EDS resource where it needs one."""
    balanced = [
        Cluster(name=f"b{number}-{zones}", lb_policy=policy, locality_lb=locality)
        for number, policy in enumerate(BALANCERS)
        for zones, locality in enumerate((None, LocalityWeighted(), ZoneAware()))
    ]
    full = Cluster(
        name="full",
        health_checks=(CHECK, CHECK),
        outlier_detection=OutlierDetection(error_statuses=(404,)),
        http_protocol_options=HttpProtocolOptions(http2=True, keepalive_interval=9.0),
        tcp_keepalive=TcpKeepalive(keepalive_time=9),
        circuit_breakers=CircuitBreakers(high=Thresholds(max_retries=9)),
        healthy_panic_threshold=10.0,
        ignore_health_on_host_removal=True,
    )
    names = ClusterLoadAssignment(
        cluster_name="x",
        endpoints=(
            LocalityLbEndpoints(
                lb_endpoints=(
                    Endpoint(address=Address("localhost", port)),
                    Endpoint(address=Address("localhost", port + 1)),
                )
            ),
        ),
    )
    outside = Cluster(name="outside", discovery=OriginalDst(), lb_policy=ClusterProvided())
    others = [
        Cluster(name="static", discovery=Static(placed("x", port))),
        Cluster(name="strict", discovery=StrictDns(names)),
        Cluster(name="logical", discovery=LogicalDns(names)),
        Cluster(name="all", discovery=Aggregate(("plain", "full", "outside"))),
        Cluster(name="all-too", discovery=Aggregate(("all",)), lb_policy=ClusterProvided()),
    ]
    return [Cluster(name="plain"), *balanced, full, *others, outside]


def to(cluster, **rest):
    return Route(match=IS_CALLED, action=RouteAction(cluster=cluster, **rest))


def beside(**rest):
    return Route(match=NEVER_ASKED, action=RouteAction(cluster="plain", **rest))


ADDED = HeaderMutations(
    request_headers_to_add=(HeaderValueOption(name="x-who", value="%REQ(x-user)%"),),
    response_headers_to_remove=("server",),
)
HEADER = HeaderMatcher(name="x", match=Exact("1"))
REWRITE = RegexRewrite(pattern="a(b)", substitution=r"\1")
MIRROR = RequestMirrorPolicy(cluster="plain")
RETRIES = RetryPolicy(
    retry_on=("unavailable", "5xx", "reset"),
    retriable_headers=(HEADER,),
    retriable_request_headers=(HEADER,),
    rate_limited_retry_back_off=RateLimitedRetryBackOff(reset_headers=(ResetHeader(name="x"),)),
    previous_hosts=True,
    previous_priorities=2,
    per_try_timeout=9.0,
)
OVERRIDES = (
    FilterOverride(name="cors", config=Cors()),
    FilterOverride(name="fault", config=LATE, disabled=True),
    FilterOverride(name="limit", config=LIMIT),
    FilterOverride(name="others", disabled=True),
)
CONDITIONS = (
    RouteMatch(query_parameters=(QueryParameterMatcher(name="q"),)),
    RouteMatch(dynamic_metadata=(MetadataMatcher(filter="f", path=("a",)),)),
)
ROUTES = (
    *(Route(match=match, action=RouteAction(cluster="no-such")) for match in CONDITIONS),
    Route(match=IS_CALLED, action=RouteAction(cluster=ClusterHeader("x-cluster"))),
    Route(match=RouteMatch(path=PathSeparatedPrefix("/a")), action=RouteAction(cluster="plain")),
    Route(match=NEVER_ASKED, action=DirectResponseAction(status=418)),
    beside(regex_rewrite=REWRITE, host_rewrite_header="x", append_x_forwarded_host=True),
    beside(prefix_rewrite="/x", host_rewrite_path_regex=REWRITE, priority="high"),
    beside(auto_host_rewrite=True, cluster_not_found_response_code=404),
    beside(
        hash_policy=(
            HashHeader(header_name="x", regex_rewrite=REWRITE),
            HashCookie(name="c", ttl=1.0, attributes=(("SameSite", "Lax"),)),
            HashSourceIp(terminal=True),
            HashQueryParameter(name="q"),
            HashFilterState(key="io.grpc.channel_id"),
        )
    ),
    beside(request_mirror_policies=(MIRROR,), hedge_policy=HedgePolicy(hedging_delay=1.0)),
    beside(retry_policy=RETRIES, timeout=9.0),
    Route(
        match=IS_CALLED,
        action=RouteAction(
            cluster=WeightedClusters(
                clusters=(
                    ClusterWeight(name="plain", weight=1, headers=ADDED, overrides=OVERRIDES),
                ),
                header_name="x-roll",
            )
        ),
        headers=ADDED,
        overrides=OVERRIDES,
        stat_prefix="x",
    ),
)
FILTERS = tuple(
    HttpFilter(name=name, config=config, disabled=name == "late")
    for name, config in {
        "fault": ONLY_SOME,
        "late": LATE,
        "cors": Cors(),
        "limit": LIMIT,
        "ask": GlobalRateLimit(domain="d", cluster="plain"),
        "admission": AdmissionControl(),
        "concurrency": AdaptiveConcurrency(),
    }.items()
)


def world(port, routes, filters=(), known=()):
    host = VirtualHost(
        name="h",
        domains=("*",),
        routes=routes,
        headers=ADDED,
        require_tls="none",
        virtual_clusters=(VirtualCluster(name="v", headers=(HEADER,)),),
        request_mirror_policies=(MIRROR,),
        hedge_policy=HedgePolicy(initial_requests=2),
        include_request_attempt_count=True,
        overrides=OVERRIDES,
    )
    table = RouteConfiguration(name="t", virtual_hosts=(host,), headers=ADDED, overrides=OVERRIDES)
    http = HttpConnectionManager(
        routes=Rds("t"), http_filters=(*filters, ROUTER), normalize_path=True
    )
    return gather(
        listeners=[Listener(name="who:9080", http=http)],
        routes=[table],
        clusters=known,
        endpoints=[
            placed(name, port) for cluster in known if (name := cluster.load_assignment_name)
        ],
    )


@pytest.fixture
def port():
    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"v1")
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("test.Who", {"Are": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


JUDGES = {
    "grpcio": ClientKind.GRPC,
    "grpc-go": ClientKind.GRPC_GO,
    "grpc-js": ClientKind.GRPC_NODE,
}


@pytest.fixture(params=JUDGES)
def judge(request):
    return request.param


@pytest.fixture
def command(judge, request):
    """How the judge is started, as a client of xds:///who:9080."""
    match judge:
        case "grpcio":
            return [sys.executable, str(CLIENT), "sync"]
        case "grpc-go":
            return [str(request.getfixturevalue("go_judges") / "client")]
        case _:
            modules = request.getfixturevalue("js_judges")
            return [
                "env",
                f"NODE_PATH={modules}",
                "node",
                str(CLIENT.with_name("js") / "client.js"),
            ]


@pytest.fixture
def adapted(judge):
    def made_ready(snapshot):
        said = []
        made = adapt(snapshot, JUDGES[judge], said.append)
        return made, "\n".join(map(str, said))

    return made_ready


@pytest.fixture
async def judged(command):
    """What a stock client answers to one call on a snapshot, and all that it refused."""
    processes = []

    async def calls(snapshot):
        status, cache = Status(time.monotonic), SnapshotCache()
        server = AdsServer(cache, status, "127.0.0.1:0")
        address = await server.start()
        cache.set_snapshot("judge", snapshot)
        answers = await _answers(address)
        await server.stop()
        return answers, [nack.nack.text for nack in status.nacks]

    async def _answers(address):
        bootstrap = {
            "xds_servers": [
                {
                    "server_uri": address,
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {"id": "judge", "locality": {}},
        }
        process = await asyncio.create_subprocess_exec(
            *command,
            "xds:///who:9080",
            env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        processes.append(process)
        process.stdin.write(b"5\n")
        return json.loads(await process.stdout.readline())

    yield calls
    for process in processes:
        process.stdin.close()
        await process.wait()


async def test_stock_grpc_takes_clusters_of_every_kind(port, judged, adapted):
    known = clusters(port)
    routes = (to("all"), *(to(cluster.name) for cluster in known if cluster.name != "outside"))
    snapshot, said = adapted(world(port, routes, known=known))
    assert await judged(snapshot) == ({"v1": 5}, [])
    for word in ("slow_start", "RandomSubsetting", "MURMUR_HASH_2", "zone_aware", "health_checks"):
        assert word in said


async def test_stock_grpc_takes_routes_of_every_kind(port, judged, adapted):
    snapshot, said = adapted(world(port, ROUTES, known=[Cluster(name="plain")]))
    assert await judged(snapshot) == ({"v1": 5}, [])
    for word in ("query parameters", "dynamic metadata", "a header names", "rewrites", "hedge"):
        assert word in said


async def test_stock_grpc_takes_the_filters_that_it_knows_and_is_spared_others(
    port, judged, adapted
):
    plain = [Cluster(name="plain")]
    snapshot, said = adapted(world(port, (to("plain"),), FILTERS, plain))
    assert await judged(snapshot) == ({"v1": 5}, [])
    for name in ("fault", "cors", "limit", "ask", "admission", "concurrency"):
        assert f"http_filters[{name}]" in said


async def test_stock_grpc_is_hit_by_the_fault_of_a_route(port, judged, adapted):
    aborted = Fault(abort=FaultAbort(grpc_status=9, percentage=ALWAYS))
    hit = Route(
        match=IS_CALLED,
        action=RouteAction(cluster="plain"),
        overrides=(FilterOverride(name="fault", config=aborted),),
    )
    off = (HttpFilter(name="fault", config=Fault()),)
    snapshot, _ = adapted(world(port, (hit,), off, [Cluster(name="plain")]))
    answers, nacks = await judged(snapshot)
    assert nacks == []
    # Go writes its codes otherwise.
    assert all("FAILEDPRECONDITION" in answer.upper().replace("_", "") for answer in answers)
