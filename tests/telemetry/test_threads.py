"""What was received is there in the threads that a call starts, and in no others."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest

from meshlib.dataplane import Request
from meshlib.telemetry import Propagation, threads

PROPAGATION = Propagation(["end-user"], request_id=lambda: "made")


def of(*headers):
    """A request with these headers."""
    return Request("reviews:9080", "GET", "/", headers=headers)


@pytest.fixture
def installed():
    threads.install()
    yield
    threads.uninstall()


@pytest.fixture
def serving():
    """Runs something as if while serving a call of this user."""

    def play(user, fn, *args):
        def run():
            token = PROPAGATION.receive(of(("end-user", user)))
            try:
                return fn(*args)
            finally:
                PROPAGATION.release(token)

        return contextvars.copy_context().run(run)

    return play


def user():
    return dict(PROPAGATION.outgoing()).get("end-user")


def started(make):
    """The user that a thread made by ``make(target)`` sees."""
    seen = []
    thread = make(lambda: seen.append(user()))
    thread.start()
    thread.join()
    return seen


def test_a_thread_sees_the_user_of_the_call_that_started_it(installed, serving):
    assert serving("a", started, lambda fn: threading.Thread(target=fn)) == ["a"]


def test_a_timer_does_too(installed, serving):
    assert serving("a", started, lambda fn: threading.Timer(0, fn)) == ["a"]


def test_a_thread_with_a_run_of_its_own_does_too(installed, serving):
    class Own(threading.Thread):
        def __init__(self, fn):
            super().__init__()
            self.fn = fn

        def run(self):
            self.fn()

    assert serving("a", started, Own) == ["a"]


def test_a_thread_started_by_a_thread_does_too(installed, serving):
    seen = []

    def outer():
        seen.extend(started(lambda fn: threading.Thread(target=fn)))

    assert serving("a", started, lambda fn: threading.Thread(target=lambda: (fn(), outer()))) == [
        "a"
    ]
    assert seen == ["a"]


def test_a_thread_started_while_nothing_is_served_sees_nothing(installed):
    assert started(lambda fn: threading.Thread(target=fn)) == [None]


def test_a_pool_sees_the_user_of_each_call_and_keeps_none(installed, serving):
    with ThreadPoolExecutor(1) as pool:
        assert serving("a", lambda: pool.submit(user).result()) == "a"
        assert pool.submit(user).result() is None
        assert serving("b", lambda: list(pool.map(lambda _: user(), range(2)))) == ["b", "b"]
        assert pool.submit(user).result() is None


def test_a_failing_task_of_a_pool_leaves_nothing_behind(installed, serving):
    def fails():
        raise LookupError

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(LookupError):
            serving("a", lambda: pool.submit(fails).result())
        assert pool.submit(user).result() is None


def test_submitting_does_not_forget_the_submitters_own(installed, serving):
    with ThreadPoolExecutor(1) as pool:

        def twice():
            return pool.submit(user).result(), user()

        assert serving("a", twice) == ("a", "a")


def test_a_pool_of_multiprocessing_keeps_none_either(installed, serving):
    def make():
        pool = ThreadPool(1)
        pool.apply(int)
        return pool

    with serving("a", make) as pool:
        assert pool.apply(user) is None


async def test_executors_of_a_loop_and_to_thread_carry_it(installed):
    token = PROPAGATION.receive(of(("end-user", "a")))
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, user) == "a"
    assert await asyncio.to_thread(user) == "a"
    PROPAGATION.release(token)
    assert await loop.run_in_executor(None, user) is None


def test_other_context_variables_stay_where_they_are(installed, serving):
    other = contextvars.ContextVar("other", default="unset")

    def run():
        other.set("set")
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(other.get).result()

    assert serving("a", run) == "unset"


def test_installing_is_counted_and_undone():
    before = threading.Thread.start, ThreadPoolExecutor.submit
    threads.install()
    threads.install()
    threads.uninstall()
    assert threading.Thread.start is not before[0]
    threads.uninstall()
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == before
    threads.uninstall()
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == before


def test_without_installing_nothing_is_carried(serving):
    assert serving("a", started, lambda fn: threading.Thread(target=fn)) == [None]


def test_a_patch_of_others_over_ours_survives_and_ours_is_idle_until_wanted(serving):
    before = threading.Thread.start
    threads.install()
    ours = threading.Thread.start

    def theirs(self):
        ours(self)

    threading.Thread.start = theirs
    try:
        threads.uninstall()
        assert threading.Thread.start is theirs
        assert serving("a", started, lambda fn: threading.Thread(target=fn)) == [None]
        threads.install()
        assert serving("a", started, lambda fn: threading.Thread(target=fn)) == ["a"]
    finally:
        threading.Thread.start = ours
        threads.uninstall()
    assert threading.Thread.start is before


def test_a_subclass_of_a_pool_is_reached(installed, serving):
    class Pool(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(fn, *args, **kwargs)

    with Pool(1) as pool:
        assert serving("a", lambda: pool.submit(user).result()) == "a"
