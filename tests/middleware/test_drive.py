"""The two loops and what they share, with real threads and event loops, and no waiting."""

import asyncio
import gc
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from meshlib.dataplane import (
    CallEnded,
    CallRecord,
    Deliver,
    Engine,
    Event,
    Options,
    Outcome,
    Response,
    Send,
    Sleep,
    Steps,
)
from meshlib.middleware._drive import News, Runtime, adrive, drive
from meshlib.testing import REVIEWS, A, FakeClock, always, get, one_service, said


class Home:
    """An engine that asks for its configuration when it is wanted, and gets it from a thread."""

    def __init__(self, *, answers: bool = True, config_timeout: float = 30.0) -> None:
        self.events: list[Event] = []
        self.wanted: list[str] = []
        self.answers = answers
        self.threads: list[threading.Thread] = []
        clock = FakeClock()
        self.engine = Engine(
            clock=clock,
            dice=always(0.0),
            observe=self.events.append,
            options=Options(config_timeout=config_timeout),
        )
        self.runtime = Runtime(self.engine, clock=clock, sleep=clock.jump, want=self.want)

    def want(self, listener: str) -> None:
        self.wanted.append(listener)
        if self.answers:
            thread = threading.Thread(target=self.deliver)
            self.threads.append(thread)
            thread.start()

    def deliver(self) -> None:
        self.runtime.commit(self.engine.prepare(one_service([A])))

    @property
    def active(self) -> int:
        return self.engine.clusters["reviews"].breaker.concurrency.active

    def ended(self) -> list[str]:
        return [said(event.outcome) for event in self.events if isinstance(event, CallEnded)]


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home()
    yield made
    for thread in made.threads:
        thread.join()


def answer(_: Send) -> Response:
    return Response(200)


async def aanswer(_: Send) -> Response:
    return Response(200)


def test_a_blocked_call_is_woken_by_a_configuration(home: Home) -> None:
    steps = home.runtime.outbound(get(REVIEWS))
    assert drive(home.runtime, steps, answer).outcome == Response(200)
    assert home.wanted == [REVIEWS]


async def test_an_awaiting_call_is_woken_from_another_thread(home: Home) -> None:
    steps = home.runtime.outbound(get(REVIEWS))
    assert (await adrive(home.runtime, steps, aanswer)).outcome == Response(200)


def test_calls_on_several_loops_are_all_woken() -> None:
    home = Home(answers=False)
    waiting = threading.Semaphore(0)
    home.runtime.want = lambda _: waiting.release()
    delivered = []

    async def call() -> None:
        steps = home.runtime.outbound(get(REVIEWS))
        await adrive(home.runtime, steps, aanswer)
        delivered.append(steps)

    async def calls() -> None:
        await asyncio.gather(*(call() for _ in range(5)))

    def one_loop() -> None:
        asyncio.run(calls())

    threads = [threading.Thread(target=one_loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        waiting.acquire()
    home.deliver()
    for thread in threads:
        thread.join()
    assert home.active == len(delivered) == 15


def test_a_wait_for_configuration_ends_in_time() -> None:
    home = Home(answers=False, config_timeout=0.001)
    steps = home.runtime.outbound(get(REVIEWS))
    assert said(drive(home.runtime, steps, answer).outcome) == "NR,NOCONFIG"


async def test_an_awaited_configuration_ends_in_time() -> None:
    home = Home(answers=False, config_timeout=0.001)
    steps = home.runtime.outbound(get(REVIEWS))
    assert said((await adrive(home.runtime, steps, aanswer)).outcome) == "NR,NOCONFIG"


async def test_a_cancelled_call_gives_everything_back(home: Home) -> None:
    home.deliver()
    sent = asyncio.Event()

    async def never(_: Send) -> Response:
        sent.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    call = asyncio.create_task(adrive(home.runtime, home.runtime.outbound(get(REVIEWS)), never))
    await sent.wait()
    assert home.active == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert home.active == 0
    assert home.ended() == ["DC"]


def test_a_call_thrown_away_by_a_thread_that_holds_the_lock_gives_everything_back(
    home: Home,
) -> None:
    home.deliver()

    class Never:
        def __await__(self):
            yield

    async def never(_: Send) -> Response:
        await Never()
        raise AssertionError

    call = adrive(home.runtime, home.runtime.outbound(get(REVIEWS)), never)
    call.send(None)
    assert home.active == 1
    with home.runtime.lock:
        call.close()  # as the garbage collector does it, whenever it likes
    home.runtime.collect()
    assert home.active == 0
    assert home.ended() == ["DC"]


async def test_a_call_cancelled_while_it_waits_for_configuration_leaves_no_waiter() -> None:
    home = Home(answers=False)
    asked = asyncio.Event()
    home.runtime.want = lambda _: asked.set()
    call = asyncio.create_task(adrive(home.runtime, home.runtime.outbound(get(REVIEWS)), aanswer))
    await asked.wait()
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert home.runtime._news._futures == set()
    assert home.ended() == ["DC"]


def test_an_interrupted_call_gives_everything_back(home: Home) -> None:
    home.deliver()

    def interrupted(_: Send) -> Response:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(home.runtime, home.runtime.outbound(get(REVIEWS)), interrupted)
    assert home.active == 0


def test_an_end_that_is_told_twice_counts_once(home: Home) -> None:
    home.deliver()
    steps = home.runtime.outbound(get(REVIEWS))
    drive(home.runtime, steps, answer)
    home.runtime.finish(steps)
    home.runtime.finish(steps)
    home.runtime.close(steps)
    home.runtime.drop(steps)
    home.runtime.collect()
    assert home.active == 0
    assert home.ended() == ["200"]


def test_an_effect_after_the_delivery_is_a_defect(home: Home) -> None:
    home.deliver()

    def talkative() -> Steps[Response]:
        yield Deliver(Response(200), CallRecord(get(REVIEWS), 0.0))
        yield Sleep(1.0)
        return Response(200)

    steps = talkative()
    drive(home.runtime, steps, answer)
    with pytest.raises(AssertionError, match="followed Deliver"):
        home.runtime.finish(steps)


async def test_serving_is_not_asked_of_a_client(home: Home) -> None:
    with pytest.raises(AssertionError, match="does not serve"):
        drive(home.runtime, home.runtime.inbound(get("here:80")), answer)
    with pytest.raises(AssertionError, match="does not serve"):
        await adrive(home.runtime, home.runtime.inbound(get("here:80")), aanswer)


def test_a_loop_that_was_closed_while_waiting_disturbs_nobody() -> None:
    news = News()
    loop = asyncio.new_event_loop()
    news._futures.add(loop.create_future())
    loop.close()
    news.announce()
    assert news.wait(lambda: True, 0.0)


def test_a_forked_child_begins_anew(home: Home) -> None:
    resets = []
    home.runtime.resets.append(lambda: resets.append("pool"))
    with home.runtime.lock:  # as another thread of the parent may hold it
        home.runtime.reset()
        home.deliver()
    assert resets == ["pool"]


class Told:
    """A runtime whose observer leaves something to be done after each call."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.done = threading.Semaphore(0)
        self.afterwards: deque[Callable[[], None]] = deque()
        clock = FakeClock()
        self.engine = Engine(clock=clock, dice=always(0.0), observe=self._hear)
        self.engine.apply(one_service([A]))
        self.runtime = Runtime(
            self.engine, clock=clock, sleep=clock.jump, afterwards=self.afterwards
        )

    def _hear(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self.afterwards.append(self._act)

    def _act(self) -> None:
        assert not self.runtime.lock.locked()
        self.threads.append(threading.current_thread())
        self.done.release()

    def delivered(self) -> Steps[Outcome]:
        """A call whose body is still to end."""
        steps = self.runtime.outbound(get(REVIEWS))
        drive(self.runtime, steps, answer)
        return steps


HERE = threading.current_thread


@pytest.mark.parametrize("end", ["finish", "close"])
def test_what_is_left_of_a_call_is_done_where_it_ends(end: str) -> None:
    told = Told()
    getattr(told.runtime, end)(told.delivered())
    assert told.threads == [HERE()]


@pytest.mark.parametrize("end", ["end", "drop"])
def test_what_callbacks_and_finalisers_leave_is_done_by_another_thread(end: str) -> None:
    told = Told()
    getattr(told.runtime, end)(told.delivered())
    assert told.done.acquire(timeout=30)
    assert told.threads[0] is not HERE()


def test_what_is_left_while_the_lock_is_held_is_done_later() -> None:
    told = Told()
    steps = told.delivered()
    with told.runtime.lock:
        told.runtime.end(steps)
        assert not told.threads
    assert told.done.acquire(timeout=30)
    assert told.engine.clusters["reviews"].breaker.concurrency.active == 0


def test_whoever_attends_to_a_mesh_goes_with_it() -> None:
    told = Told()
    told.runtime.end(told.delivered())
    assert told.done.acquire(timeout=30)
    (thread,) = told.threads
    gone = weakref.ref(told.runtime)
    del told
    gc.collect()
    thread.join(30)
    assert gone() is None
    assert not thread.is_alive()


def test_nobody_attends_to_a_mesh_that_rests_but_to_its_last_calls() -> None:
    told = Told()
    last = told.delivered()
    told.runtime.attendant.rest()
    told.runtime.attendant.rest()
    told.runtime.end(last)
    assert told.done.acquire(timeout=30)
    told.threads[0].join(30)
    assert not told.threads[0].is_alive()
    told.runtime.end(told.delivered())
    assert told.done.acquire(timeout=30)
    assert told.threads[1].is_alive()


def test_a_forked_child_attends_to_itself() -> None:
    told = Told()
    told.delivered()
    told.runtime.reset()
    told.runtime.end(told.delivered())
    assert told.done.acquire(timeout=30)


def test_one_that_is_told_badly_keeps_nobody_else_from_it(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    told.afterwards.append(lambda: 1 / 0)  # type: ignore[arg-type]
    told.runtime.finish(told.delivered())
    assert len(told.threads) == 1
    assert "could not be told" in caplog.text
