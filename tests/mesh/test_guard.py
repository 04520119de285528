"""Any callable under the rules of a host."""

import asyncio
import threading
import time
import urllib.error

import grpc
import pytest

import meshlib
from meshlib import model
from meshlib.dataplane import Engine, Options
from meshlib.dataplane.upstream.half_open import HalfOpenBreaker, State
from meshlib.middleware._drive import Runtime
from meshlib.middleware.guard import guard
from meshlib.testing import FakeClock

HOST = "payments.example.com"


def mesh(*, retries=None, timeout=None, limits=None, port=8443):
    route: dict = {"route": [{"destination": {"host": HOST}}]}
    if retries is not None:
        route["retries"] = {"backoff": "1ms", **retries}
    if timeout is not None:
        route["timeout"] = timeout
    manifests = [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "payments"},
            "spec": {
                "hosts": [HOST],
                "ports": [{"number": port, "name": "http", "protocol": "HTTP"}],
                "resolution": "STATIC",
                "endpoints": [{"address": "127.0.0.1"}],
            },
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "payments"},
            "spec": {"hosts": [HOST], "http": [route]},
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "payments"},
            "spec": {"host": HOST, "trafficPolicy": {"connectionPool": limits or {}}},
        },
    ]
    return meshlib.Mesh("shop", config=manifests)


class Failing:
    """Raises these in turn, then returns "paid"."""

    def __init__(self, *errors) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "paid"

    async def awaited(self) -> str:
        await asyncio.sleep(0)
        return self()


class StatusError(Exception):
    """As aiohttp's and others' errors carry it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Rpc(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE


async def made(guarded, *, awaiting: bool):
    return await guarded() if awaiting else await asyncio.to_thread(guarded)


def guarded(member, pay: Failing, *, awaiting: bool, **options):
    decorate = member.guard(HOST, **options)
    if not awaiting:

        def blocking() -> str:
            return pay()

        return decorate(blocking)

    async def call():
        return await pay.awaited()

    return decorate(call)


BOTH = pytest.mark.parametrize("awaiting", [False, True], ids=["def", "async def"])


@BOTH
@pytest.mark.parametrize(
    ("retry_on", "error"),
    [
        ("503", StatusError(503)),
        ("5xx", urllib.error.HTTPError("http://x", 500, "no", None, None)),  # type: ignore[arg-type]
        ("unavailable", Rpc()),
        ("connect-failure", ConnectionRefusedError()),
        ("reset", ConnectionResetError()),
        ("5xx", TimeoutError()),
    ],
    ids=lambda value: getattr(type(value), "__name__", "") if not isinstance(value, str) else value,
)
async def test_what_a_callable_raises_is_judged_by_the_hosts_retry_policy(
    awaiting, retry_on, error
) -> None:
    pay = Failing(error)
    with mesh(retries={"attempts": 2, "retryOn": retry_on}) as member:
        assert await made(guarded(member, pay, awaiting=awaiting), awaiting=awaiting) == "paid"
    assert pay.calls == 2


@BOTH
async def test_an_error_of_ones_own_is_never_repeated_and_says_what_the_mesh_knows(
    awaiting,
) -> None:
    pay = Failing(ValueError("no such card"))
    with (
        mesh(retries={"attempts": 2, "retryOn": "5xx,reset"}) as member,
        pytest.raises(ValueError, match="no such card") as caught,
    ):
        await made(guarded(member, pay, awaiting=awaiting), awaiting=awaiting)
    assert pay.calls == 1
    assert f"{HOST}:8443" in meshlib.explain(caught.value)


@BOTH
async def test_a_judge_may_say_that_a_value_is_a_failure(awaiting) -> None:
    values = ["declined", "paid"]

    def judge(came: object) -> int | None:
        return 503 if came == "declined" else None

    def pay() -> str:
        return values.pop(0)

    async def apay() -> str:
        return values.pop(0)

    with mesh(retries={"attempts": 1, "retryOn": "503"}) as member:
        decorate = member.guard(HOST, judge=judge)
        call = decorate(apay) if awaiting else decorate(pay)
        assert await made(call, awaiting=awaiting) == "paid"


@BOTH
async def test_the_hosts_timeout_ends_a_call_that_hangs(awaiting) -> None:
    never = threading.Event()

    def hang() -> None:
        never.wait()

    async def ahang() -> None:
        await asyncio.Event().wait()

    with mesh(timeout="0.05s") as member:
        decorate = member.guard(HOST)
        call = decorate(ahang) if awaiting else decorate(hang)
        with pytest.raises(TimeoutError) as caught:
            await made(call, awaiting=awaiting)
    never.set()
    assert isinstance(caught.value, meshlib.CallError)
    assert "UT" in caught.value.mesh.flags


@BOTH
async def test_an_override_speaks_louder_than_the_configuration(awaiting) -> None:
    pay = Failing(StatusError(503))
    with mesh(retries={"attempts": 2, "retryOn": "503"}) as member:
        call = guarded(member, pay, awaiting=awaiting)
        with meshlib.override(retries=0), pytest.raises(StatusError):
            await made(call, awaiting=awaiting)
    assert pay.calls == 1


async def test_the_hosts_circuit_breaker_counts_guarded_calls() -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def pay() -> str:
        entered.set()
        await leave.wait()
        return "paid"

    async with mesh(limits={"http": {"http2MaxRequests": 1}}) as member:
        call = member.guard(HOST)(pay)
        first = asyncio.create_task(call())
        await entered.wait()
        with pytest.raises(meshlib.CallError, match="overflow"):
            await call()
        leave.set()
        assert await first == "paid"


@BOTH
async def test_an_open_breaker_lets_nobody_through_until_it_probes(awaiting) -> None:
    pay = Failing(*(StatusError(500) for _ in range(2)))
    rules = meshlib.Breaker(window=2, minimum_calls=2, open_for=3600)
    with mesh() as member:
        call = guarded(member, pay, awaiting=awaiting, breaker=rules)
        for _ in range(2):
            with pytest.raises(StatusError):
                await made(call, awaiting=awaiting)
        with pytest.raises(meshlib.CallError, match=r"breaker of payments\S+ is open"):
            await made(call, awaiting=awaiting)
    assert pay.calls == 2


async def test_a_host_outside_of_the_mesh_is_called_as_it_is() -> None:
    with meshlib.Mesh("shop", config=[]) as member:
        pay = Failing()
        assert member.guard("elsewhere:80")(pay)() == "paid"


def test_a_guarded_function_keeps_its_name_and_arguments() -> None:
    with mesh() as member:

        @member.guard(HOST)
        def pay(amount: int, *, currency: str) -> str:
            """Pay."""
            return f"{amount} {currency}"

        assert pay(3, currency="EUR") == "3 EUR"
        assert (pay.__name__, pay.__doc__) == ("pay", "Pay.")


def test_a_guard_without_a_host_is_refused() -> None:
    with mesh() as member, pytest.raises(TypeError, match=r'guard\("host"\)'):
        member.guard(lambda: "paid")  # type: ignore[arg-type]


def test_what_yields_instead_of_returning_is_refused() -> None:
    def pages():
        yield "one"

    async def apages():
        yield "one"

    with mesh() as member:
        for function in (pages, apages):
            with pytest.raises(TypeError, match="generator"):
                member.guard(HOST)(function)


def test_an_override_of_less_than_nothing_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="timeout must not be less than 0"),
        meshlib.override(timeout=-1),
    ):
        pass


# --- the breaker itself ---


def breaker(**config):
    clock = FakeClock()
    return clock, HalfOpenBreaker(meshlib.Breaker(**config), clock)


def made_calls(one: HalfOpenBreaker, *, failed: int = 0, fine: int = 0, duration: float = 0.0):
    for fails in (*[True] * failed, *[False] * fine):
        assert one.admits()
        one.observe(failed=fails, duration=duration)


def test_a_breaker_opens_at_its_failure_rate_and_not_below() -> None:
    _, one = breaker(window=4, minimum_calls=4, failure_rate=50)
    made_calls(one, failed=1, fine=3)
    made_calls(one, failed=1)  # the first failure is out of the window by now
    assert one.admits()
    one.observe(failed=True, duration=0.0)
    assert not one.admits()


def test_slow_calls_open_a_breaker_too() -> None:
    _, one = breaker(window=2, minimum_calls=2, slow_call_duration=1.0)
    made_calls(one, fine=2, duration=1.5)
    assert one.state is State.OPEN


def test_a_breaker_closes_when_its_probes_go_well() -> None:
    clock, one = breaker(window=2, minimum_calls=2, open_for=60, half_open_calls=2)
    made_calls(one, failed=2)
    clock.now += 60
    made_calls(one, fine=2)
    assert one.state is State.CLOSED


def test_a_breaker_stays_open_when_its_probes_fail() -> None:
    clock, one = breaker(window=2, minimum_calls=2, open_for=60, half_open_calls=2)
    made_calls(one, failed=2)
    clock.now += 60
    made_calls(one, failed=2)
    assert one.state is State.OPEN
    clock.now += 59
    assert not one.admits()


def test_only_so_many_probes_go_out_and_a_withdrawn_one_goes_out_again() -> None:
    clock, one = breaker(window=2, minimum_calls=2, open_for=60, half_open_calls=2)
    made_calls(one, failed=2)
    clock.now += 60
    assert [one.admits() for _ in range(3)] == [True, True, False]
    one.withdraw()
    assert one.admits()


@pytest.mark.parametrize(
    "config",
    [{"window": 0}, {"failure_rate": 0}, {"window": 5, "minimum_calls": 6}, {"open_for": -1}],
)
def test_a_breaker_that_makes_no_sense_is_refused(config) -> None:
    with pytest.raises(ValueError, match=next(iter(config))):
        meshlib.Breaker(**config)


# --- hedged and mirrored hosts ---


def special(action):
    """A mesh of which one host is hedged or mirrored, as only xDS can say it."""
    address = model.Address("127.0.0.1", 1)
    group = model.LocalityLbEndpoints(lb_endpoints=(model.Endpoint(address=address),))
    host = model.VirtualHost(name="all", domains=("*",), routes=(model.Route(action=action),))
    table = model.RouteConfiguration(name="table", virtual_hosts=(host,))
    engine = Engine(clock=time.monotonic, dice=lambda: 0.0, options=Options(complete=True))
    engine.apply(
        model.gather(
            listeners=[
                model.Listener(name="payments:80", http=model.HttpConnectionManager(routes=table))
            ],
            clusters=[model.Cluster(name="payments")],
            endpoints=[model.ClusterLoadAssignment(cluster_name="payments", endpoints=(group,))],
        )
    )
    return Runtime(engine, clock=time.monotonic, sleep=time.sleep)


HEDGED = model.RouteAction(
    cluster="payments",
    timeout=0.0,
    retry_policy=model.RetryPolicy(retry_on=("5xx",), num_retries=2, per_try_timeout=0.05),
    hedge_policy=model.HedgePolicy(hedge_on_per_try_timeout=True),
)


@BOTH
async def test_a_hedged_callable_is_called_again_beside_the_slow_one(awaiting) -> None:
    runtime, calls = special(HEDGED), []
    never = threading.Event()

    def pay() -> str:
        calls.append(1)
        if len(calls) == 1:
            never.wait()
        return "paid"

    async def apay() -> str:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "paid"

    decorate = guard(runtime, "payments:80", method="GET")
    call = decorate(apay) if awaiting else decorate(pay)
    assert await made(call, awaiting=awaiting) == "paid"
    never.set()
    assert len(calls) == 2
    assert runtime.engine.clusters["payments"].breaker.concurrency.active == 0


@BOTH
async def test_a_callable_is_never_mirrored(awaiting) -> None:
    mirrors = (model.RequestMirrorPolicy(cluster="payments"),)
    runtime = special(model.RouteAction(cluster="payments", request_mirror_policies=mirrors))
    pay = Failing()
    decorate = guard(runtime, "payments:80")
    call = decorate(pay.awaited) if awaiting else decorate(pay.__call__)
    assert await made(call, awaiting=awaiting) == "paid"
    assert pay.calls == 1


@BOTH
async def test_what_a_judge_raises_of_a_hedged_callable_reaches_the_caller(awaiting) -> None:
    def judge(_: object) -> int:
        raise LookupError("no verdict")

    runtime, pay = special(HEDGED), Failing()
    decorate = guard(runtime, "payments:80", method="GET", judge=judge)
    call = decorate(pay.awaited) if awaiting else decorate(pay.__call__)
    with pytest.raises(LookupError, match="no verdict"):
        await made(call, awaiting=awaiting)
    assert runtime.engine.clusters["payments"].breaker.concurrency.active == 0


def test_the_breaker_of_a_forked_child_does_not_wait_for_probes_of_its_parent() -> None:
    runtime = special(model.RouteAction(cluster="payments"))
    rules = meshlib.Breaker(window=1, minimum_calls=1, open_for=0.0, half_open_calls=1)

    def forks() -> str:
        runtime.reset()  # as in the child
        return guarded_once()

    @guard(runtime, "payments:80", breaker=rules)
    def fails() -> str:
        if runs:
            return runs.pop()()
        raise StatusError(500)

    def guarded_once() -> str:
        runs.append(lambda: "paid")
        return fails()

    runs: list = []
    with pytest.raises(StatusError):
        fails()
    runs.append(forks)
    assert fails() == "paid"
