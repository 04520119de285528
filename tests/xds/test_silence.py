"""Of who may come in a control plane has to say itself that there is nothing to obey."""

from collections.abc import Callable

import pytest

from meshlib.testing.ads import AdsPair
from meshlib.xds.types import LISTENER
from meshlib.xds.watches import ResourceState

INBOUND = "inbound"


@pytest.fixture
def server(a_pair) -> Callable[..., AdsPair]:
    """A pair whose client serves; it watches some listeners on a connected stream."""

    def connect(*listeners: str, **options: object) -> AdsPair:
        pair: AdsPair = a_pair(heeded=(INBOUND,), **options)
        pair.watch(*listeners)
        pair.connect()
        pair.take()
        return pair

    return connect


@pytest.fixture
def of_all() -> Callable[..., AdsPair]:
    """The same, by the state of the world alone: there silence in a response says something."""

    def connect(*listeners: str) -> AdsPair:
        pair = AdsPair(heeded=(INBOUND,))
        pair.watch(*listeners)
        pair.connect()
        pair.take()
        return pair

    return connect


def state_of(pair: AdsPair) -> ResourceState:
    return pair.discovery.watches.get(LISTENER, INBOUND).state


def test_silence_about_who_may_come_in_is_no_word(server) -> None:
    pair = server("a", INBOUND)
    pair.jump(15)
    assert pair.absent == {"a"}
    assert state_of(pair) is ResourceState.TIMEOUT
    [said] = pair.reports
    assert said == (
        "inbound: control-plane sent nothing for it within 15 s, and did not say that there is "
        "none: it is waited for"
    )


def test_word_that_there_is_none_ends_the_waiting_whenever_it_comes(server, encoding) -> None:
    pair = server(INBOUND)
    pair.jump(60)
    assert pair.absent == frozenset()
    pair.delete(LISTENER, INBOUND, version="2")
    assert pair.absent == {INBOUND}


def test_a_listener_that_comes_late_is_taken(server, world) -> None:
    pair = server(INBOUND)
    pair.jump(60)
    pair.respond(LISTENER, world.listener(INBOUND, world.table("inside")))
    assert INBOUND in pair.snapshot.listeners
    assert state_of(pair) is ResourceState.ACKED


def test_a_new_stream_begins_anew(server) -> None:
    pair = server(INBOUND)
    pair.jump(15)
    pair.close()
    pair.jump(10)
    pair.connect()
    pair.jump(60)
    assert pair.absent == frozenset()
    pair.delete(LISTENER, INBOUND, version="2")
    assert pair.absent == {INBOUND}


def test_an_answer_without_it_and_then_silence_say_that_there_is_none(of_all, world) -> None:
    pair = of_all("a", INBOUND)
    pair.respond(LISTENER, world.listener("a"))
    assert pair.absent == frozenset()
    pair.jump(15)
    assert pair.absent == {INBOUND}


def test_an_answer_to_what_was_asked_before_says_nothing_of_it(of_all, world) -> None:
    pair = of_all("a")
    pair.watch(INBOUND)
    pair.respond(LISTENER, world.listener("a"))
    pair.jump(15)
    assert pair.absent == frozenset()
    pair.respond(LISTENER, world.listener("a"), version="2")
    assert pair.absent == {INBOUND}


def test_an_answer_after_it_was_asked_for_says_that_there_is_none(of_all, world) -> None:
    pair = of_all("a")
    pair.respond(LISTENER, world.listener("a"))
    pair.watch(INBOUND)
    pair.jump(14)
    pair.respond(LISTENER, world.listener("a"), version="2")
    assert pair.absent == frozenset()
    pair.jump(1)
    assert pair.absent == {INBOUND}


def test_who_warned_of_its_slowness_is_waited_for_as_well(server, world) -> None:
    pair = server(INBOUND, server_features=["resource_timer_is_transient_error"])
    pair.jump(30)
    assert state_of(pair) is ResourceState.TIMEOUT
    pair.delete(LISTENER, INBOUND, version="2")
    assert pair.absent == {INBOUND}


def test_what_was_accepted_stays_in_force_in_silence(server, world) -> None:
    pair = server(INBOUND)
    pair.respond(LISTENER, world.listener(INBOUND, world.table("inside")))
    pair.close()
    pair.jump(10)
    pair.connect()
    pair.jump(60)
    assert INBOUND in pair.snapshot.listeners
