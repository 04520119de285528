"""The server's half of the protocol, without sockets (xDS REST and gRPC protocol, SotW)."""

import pytest

from meshlib.controlplane.discovery import ExcessError, Request
from meshlib.controlplane.subscriptions import MAX_NAMES


def test_an_empty_first_request_for_clusters_asks_for_all(talk):
    talk.publish(cds="a@1 b@1")
    talk.ask("cds")
    assert talk.pull() == ["cds a@1 b@1"]


def test_an_empty_list_after_names_unsubscribes_all(talk):
    talk.publish(cds="a@1 b@1")
    talk.ask("cds", "a")
    assert talk.pull() == ["cds a@1"]
    talk.ask("cds")
    talk.publish("2", cds="a@2 b@2")
    assert talk.pull() == []


def test_a_star_beside_a_name_keeps_the_wildcard(talk):
    talk.publish(cds="a@1 b@1")
    talk.ask("cds", "*", "a")
    assert talk.pull() == ["cds a@1 b@1"]


def test_an_empty_request_for_routes_asks_for_none(talk):
    talk.publish(rds="r@1")
    talk.ask("rds")
    assert talk.pull() == []


def test_the_first_request_is_answered_even_when_there_is_nothing(talk):
    talk.publish()
    talk.ask("lds", "nobody")
    assert talk.pull() == ["lds"]
    assert talk.state("lds").sent == {}


def test_nothing_is_said_before_there_is_a_snapshot(talk):
    talk.ask("cds")
    assert talk.pull() == []
    talk.publish(cds="a@1")
    assert talk.pull() == ["cds a@1"]


def test_a_name_that_does_not_exist_yet_is_remembered(talk):
    talk.publish()
    talk.ask("eds", "late")
    assert talk.pull() == []
    talk.publish("2", eds="late@1")
    assert talk.pull() == ["eds late@1"]


def test_a_missing_listener_is_named_as_missing(talk):
    talk.publish(lds="a@1")
    talk.ask("lds", "a", "nobody")
    response = talk.subscriptions.next_response()
    assert response.missing == ("nobody",)


def test_a_new_name_is_answered_though_nothing_changed(talk):
    talk.publish(rds="a@1 b@1")
    talk.ask("rds", "a")
    assert talk.pull() == ["rds a@1"]
    talk.ask("rds", "a", "b")
    assert talk.pull() == ["rds b@1"]


def test_a_name_that_comes_back_is_sent_again(talk):
    talk.publish(rds="a@1 b@1")
    for names in (("a", "b"), ("a",)):
        talk.ask("rds", *names)
        talk.pull()
    talk.ask("rds", "a", "b")
    assert talk.pull() == ["rds b@1"]


def test_only_the_type_that_changed_is_pushed(talk):
    talk.publish(cds="a@1", eds="e@1")
    for kind in ("cds", "eds"):
        talk.ask(kind, *(["e"] if kind == "eds" else []))
        talk.pull()
        talk.ask(kind, *(["e"] if kind == "eds" else []))
    talk.publish("2", cds="a@1", eds="e@2")
    assert talk.pull() == ["eds e@2"]


def test_of_routes_only_those_that_changed_are_pushed(talk):
    talk.publish(rds="a@1 b@1")
    talk.ask("rds", "a", "b")
    talk.pull()
    talk.ask("rds", "a", "b")
    talk.publish("2", rds="a@1 b@2")
    assert talk.pull() == ["rds b@2"]


def test_a_stale_nonce_is_ignored(talk):
    talk.publish(cds="a@1 b@1")
    talk.ask("cds", "a")
    talk.pull()
    talk.ask("cds", "a", "b", nonce="long ago")
    assert talk.pull() == []
    assert talk.state("cds").in_flight
    assert talk.state("cds").acked_version == ""


def test_an_acknowledged_version_is_recorded(talk):
    talk.publish(cds="a@1")
    talk.ask("cds")
    talk.pull()
    assert talk.ask("cds") is None
    assert talk.state("cds").acked_version == "cds-1"


def test_a_nack_is_recorded_with_text_version_and_resource(talk):
    talk.publish(cds="good@1 bad@1")
    talk.ask("cds")
    talk.pull()
    nack = talk.ask("cds", error="clusters/bad: outlier_detection.interval: must be > 0")
    assert nack == talk.state("cds").nack
    assert (nack.version, nack.resources) == ("cds-1", ("bad",))
    assert nack.text == "clusters/bad: outlier_detection.interval: must be > 0"


def test_a_nacked_version_is_not_sent_again(talk):
    talk.publish(cds="bad@1")
    talk.ask("cds")
    talk.pull()
    talk.ask("cds", error="no")
    assert talk.pull() == []
    talk.publish("2", cds="bad@1")
    assert talk.pull() == []


def test_what_mends_a_nack_is_sent_and_clears_it(talk):
    talk.publish(cds="bad@1")
    talk.ask("cds")
    talk.pull()
    talk.ask("cds", error="no")
    talk.publish("2", cds="bad@2")
    assert talk.pull() == ["cds bad@2"]
    talk.ask("cds")
    assert talk.state("cds").nack is None
    assert talk.state("cds").acked_version == "cds-2"


def test_a_nack_leaves_the_last_accepted_version_on_record(talk):
    talk.publish(cds="a@1")
    talk.ask("cds")
    talk.pull()
    talk.ask("cds")
    talk.publish("2", cds="a@2")
    talk.pull()
    talk.ask("cds", error="no")
    assert talk.state("cds").acked_version == "cds-1"


def test_while_a_response_is_under_way_changes_are_gathered(talk):
    talk.publish(cds="a@1")
    talk.ask("cds")
    assert talk.pull() == ["cds a@1"]
    talk.publish("2", cds="a@2")
    talk.publish("3", cds="a@3")
    assert talk.pull() == []
    talk.ask("cds")
    assert talk.pull() == ["cds a@3"]


def test_clusters_come_before_endpoints_before_listeners_before_routes(talk):
    talk.publish(cds="a@1", eds="e@1", lds="l@1", rds="r@1")
    talk.ask("rds", "r")
    talk.ask("lds")
    talk.ask("eds", "e")
    talk.ask("cds")
    assert talk.pull() == ["cds a@1", "eds e@1", "lds l@1", "rds r@1"]


def all_accepted(talk):
    """A wildcard client that has taken in clusters ``old`` and a route to it."""
    talk.publish(cds="old@1", rds="r@to-old")
    for kind, names in (("cds", ()), ("rds", ("r",))):
        talk.ask(kind, *names)
        talk.pull()
        talk.ask(kind, *names)


def test_routes_wait_until_new_clusters_are_accepted(talk):
    all_accepted(talk)
    talk.publish("2", cds="old@1 new@1", rds="r@to-new")
    assert talk.pull() == ["cds new@1 old@1"]
    talk.ask("cds")
    assert talk.pull() == ["rds r@to-new"]


def test_a_refused_cluster_does_not_hold_routes_back_for_ever(talk):
    all_accepted(talk)
    talk.publish("2", cds="old@1 new@1", rds="r@to-new")
    talk.pull()
    talk.ask("cds", error="new: no")
    assert talk.pull() == ["rds r@to-new"]


def test_removed_clusters_go_last(talk):
    all_accepted(talk)
    talk.publish("2", cds="new@1", rds="r@to-new")
    assert talk.pull() == ["cds new@1 old@1"]
    talk.ask("cds")
    assert talk.pull() == ["rds r@to-new"]
    talk.ask("rds", "r")
    assert talk.pull() == ["cds new@1"]


def test_a_cluster_that_no_route_change_waits_for_goes_at_once(talk):
    all_accepted(talk)
    talk.publish("2", cds="other@1", rds="r@to-old")
    assert talk.pull() == ["cds other@1"]


def test_a_new_name_is_not_held_back_by_clusters_under_way(talk):
    talk.publish(cds="a@1", rds="r@1 s@1")
    talk.ask("cds")
    talk.ask("rds", "r")
    talk.pull()
    talk.ask("rds", "r", "s")
    assert talk.pull() == ["rds s@1"]


def test_a_client_that_starts_over_without_a_nonce_is_answered_in_full(talk):
    talk.publish(rds="a@1 b@1")
    talk.ask("rds", "a")
    talk.pull()
    talk.accept("rds")
    talk.ask("rds", "a", "b", nonce="")
    assert talk.pull() == ["rds a@1 b@1"]


def test_a_name_asked_for_before_the_first_response_came_waits_for_its_answer(talk):
    talk.publish(rds="a@1 b@1")
    talk.ask("rds", "a")
    assert talk.pull() == ["rds a@1"]
    talk.ask("rds", "a", "b", nonce="")
    assert talk.pull() == []
    talk.accept("rds")
    assert talk.pull() == ["rds b@1"]


def test_a_type_that_is_not_served_is_passed_over(talk):
    talk.publish()
    talk.subscriptions.receive(Request(type_url="type.googleapis.com/what.Ever", names=("x",)))
    assert talk.pull() == []


@pytest.mark.parametrize("names", [("n",) * (MAX_NAMES + 1), ("n" * 3000,)])
def test_asking_for_too_much_is_refused(talk, names):
    with pytest.raises(ExcessError):
        talk.ask("eds", *names)
