"""Calls through filters whose configuration is discovered."""

from dataclasses import replace

from meshlib.dataplane import Engine, Options, Request
from meshlib.model import (
    ALWAYS,
    ROUTER,
    DirectResponseAction,
    ExtensionConfig,
    Fault,
    FaultAbort,
    FilterConfig,
    FilterDiscovery,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalRateLimit,
    Route,
    RouteConfiguration,
    Snapshot,
    TokenBucket,
    VirtualHost,
    gather,
)

HOST = "reviews:9080"
CALL = Request(target=HOST, method="GET", path="/")
ONE = LocalRateLimit(
    token_bucket=TokenBucket(max_tokens=1, fill_interval=60.0),
    filter_enabled=ALWAYS,
    filter_enforced=ALWAYS,
)
DISCOVERY = FilterDiscovery(types=(Fault, LocalRateLimit))


def aborting(status: int) -> Fault:
    return Fault(abort=FaultAbort(http_status=status, percentage=ALWAYS))


def world(config: FilterConfig | None, discovery: FilterDiscovery = DISCOVERY) -> Snapshot:
    host = VirtualHost(
        name="all", domains=("*",), routes=(Route(action=DirectResponseAction(status=200)),)
    )
    table = RouteConfiguration(name="r", virtual_hosts=(host,))
    filters = (HttpFilter(name="f", config=discovery), ROUTER)
    return gather(
        listeners=[
            Listener(name=HOST, http=HttpConnectionManager(routes=table, http_filters=filters))
        ],
        extensions=[] if config is None else [ExtensionConfig(name="f", config=config)],
    )


def engine(snapshot: Snapshot) -> Engine:
    made = Engine(clock=float, dice=lambda: 0.5, options=Options(complete=True))
    made.apply(snapshot)
    return made


def answer(made: Engine, request: Request = CALL):
    steps = made.outbound(request)
    found = next(steps).outcome
    steps.close()
    return found


def test_a_filter_runs_on_what_it_discovered() -> None:
    made = engine(world(aborting(503)))
    assert answer(made).status == 503
    made.apply(world(aborting(504)))
    assert answer(made).status == 504


def test_the_default_holds_where_there_is_nothing_of_its_types() -> None:
    defaulted = replace(DISCOVERY, types=(Fault,), default_config=aborting(418))
    assert answer(engine(world(None, defaulted))).status == 418
    assert answer(engine(world(ONE, defaulted))).status == 418


def test_calls_are_refused_while_nobody_knows_what_the_filter_would_do() -> None:
    made = engine(world(None))
    refused = answer(made)
    assert (refused.status, refused.body) == (500, b"no configuration for filter 'f'")
    failure = answer(made, replace(CALL, is_grpc=True))
    assert (failure.grpc_status, failure.cause.flags) == (14, ("NFCF",))


def test_tokens_survive_a_listener_that_discovers_the_same_again() -> None:
    made = engine(world(ONE))
    assert [answer(made).status for _ in range(2)] == [200, 429]
    made.apply(replace(world(ONE), version="2"))
    assert answer(made).status == 429
