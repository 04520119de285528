"""Control planes in order of preference (gRFC A71): who is asked, and whose word counts."""

from collections.abc import Callable

import pytest

from meshlib.testing.ads import AdsPair
from meshlib.xds.bootstrap import Server
from meshlib.xds.types import CLUSTER, LISTENER, ROUTE

Pair = Callable[..., AdsPair]


@pytest.fixture
def three(encoding: str) -> AdsPair:
    delta = encoding == "delta"
    uris = ("one", "two", "three")
    return AdsPair(servers={None: tuple(Server(server_uri=uri, delta=delta) for uri in uris)})


def test_c7_on_startup_the_next_server_is_asked_when_the_first_cannot_be_reached(
    three, world
) -> None:
    three.watch("a")
    assert not three.at("two").wants_stream
    three.open()
    three.close("refused")
    assert three.discovery.watches.connection_error == ""
    two = three.at("two")
    two.connect()
    two.serve(world.chain("a", "x"))
    assert three.snapshot == world.chain("a", "x")
    assert "falling back to two" in three.reports


def test_c7_with_all_that_is_watched_in_the_cache_no_other_server_is_asked(three, world) -> None:
    three.watch("a")
    three.connect()
    three.serve(world.chain("a", "x"))
    three.close()
    three.connect()
    three.close("refused")
    assert three.at("two").opened == []
    assert three.snapshot == world.chain("a", "x")
    assert three.discovery.watches.connection_error == "refused"


def test_c7_a_new_name_while_the_first_server_is_away_goes_to_the_second(three, world) -> None:
    three.watch("a")
    three.connect()
    three.serve(world.chain("a", "x"))
    three.close()
    three.connect()
    three.close("refused")
    three.watch("b")
    two = three.at("two")
    two.connect()
    assert set(two.names(LISTENER)) == {"a", "b"}
    two.serve(world.chain("b", "y"))
    assert set(three.snapshot.listeners) == {"a", "b"}
    assert three.discovery.watches.connection_error == ""


def test_c7_on_an_update_half_taken_in_the_second_server_finishes_it(three, world) -> None:
    three.watch("a")
    three.connect()
    three.respond(LISTENER, world.listener("a"))
    three.close()
    three.connect()
    three.close("refused")
    two = three.at("two")
    two.connect()
    assert (two.names(LISTENER), two.names(ROUTE)) == (("a",), ("ra",))
    two.serve(world.chain("a", "y"))
    assert three.snapshot == world.chain("a", "y")


def test_c7_errors_are_told_when_every_server_failed(three) -> None:
    three.watch("a")
    for uri in ("one", "two", "three"):
        assert three.discovery.watches.connection_error == ""
        three.at(uri).open()
        three.at(uri).close(f"{uri}: refused")
    assert three.discovery.watches.connection_error == "three: refused"


def test_c7_an_answer_of_the_first_server_ends_the_others(three, world) -> None:
    three.watch("a")
    for uri in ("one", "two"):
        three.at(uri).open()
        three.at(uri).close("refused")
    third = three.at("three")
    third.connect()
    third.serve(world.chain("a", "x"))
    three.jump(2)
    three.connect()
    three.respond(LISTENER, world.listener("a"))
    assert (three.at("two").closed, third.closed) == (1, 1)
    assert three.discovery.relied_on.server_uri == "one"
    assert "one is back" in three.reports
    third.wants_stream = False
    three.jump(120)
    assert not third.wants_stream


def test_c7_the_second_server_takes_over_from_the_third(three, world) -> None:
    three.watch("a")
    for uri in ("one", "two"):
        three.at(uri).open()
        three.at(uri).close("refused")
    third = three.at("three")
    third.connect()
    three.jump(2)
    three.at("two").connect()
    three.at("two").serve(world.chain("a", "y"))
    assert third.closed == 1
    assert three.discovery.relied_on.server_uri == "two"
    assert three.snapshot == world.chain("a", "y")
    assert three.opened == pytest.approx([0, 1])


def test_c7_what_a_server_says_after_it_was_left_is_not_heard(three, world) -> None:
    three.watch("a")
    three.open()
    three.close("refused")
    two = three.at("two")
    two.connect()
    two.serve(world.chain("a", "old"))
    three.jump(2)
    three.connect()
    three.serve(world.chain("a", "new"), version="2")
    two.delta = False
    two.respond(CLUSTER, world.cluster("old"), version="9")
    assert three.snapshot == world.chain("a", "new")
    assert three.snapshot.version == "2"


def test_d5_a_server_is_told_no_versions_of_another(world) -> None:
    servers = tuple(Server(server_uri=uri, delta=True) for uri in ("one", "two"))
    pair = AdsPair(servers={None: servers})
    pair.watch("a", "b")
    pair.connect()
    pair.respond(LISTENER, world.listener("a"), version="1")
    pair.close()
    pair.connect()
    pair.close("refused")
    two = pair.at("two")
    two.connect()
    assert two.take()[0].versions == {}
    two.respond(LISTENER, world.listener("a", prefix="other"), version="1")
    pair.jump(2)
    pair.take()
    pair.connect()
    assert pair.take()[0].versions == {}


def test_c7_what_is_known_serves_on_while_the_second_server_is_asked(three, world) -> None:
    three.watch("a")
    three.connect()
    three.serve(world.chain("a", "x"))
    three.close()
    three.connect()
    three.close("refused")
    three.watch("b")
    assert three.snapshot == world.chain("a", "x")


def test_the_servers_that_are_asked_are_told(three, world) -> None:
    three.watch("a")
    three.open()
    three.close("refused")
    three.at("two").connect()
    three.at("two").serve(world.chain("a", "x"))
    said = {each.server.server_uri: each for each in three.discovery.servers()}
    assert set(said) == {"one", "two"}
    assert (said["one"].connected, said["one"].error) == (False, "refused")
    assert (said["two"].connected, said["two"].error) == (True, "")
