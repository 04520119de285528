"""The incremental encoding: what it shares with the other one, and what is its own."""

import pytest


def accepted(talk, **kinds):
    """A client that asked for these by name, and took in what it was sent."""
    for kind, names in kinds.items():
        talk.ask(kind, *names.split())
    for kind in ("cds", "eds", "lds", "rds"):
        if kind in kinds:
            talk.pull()
            talk.accept(kind)


# What holds whatever the encoding (security.md, 2.1, 2.5)


def test_only_what_changed_of_routes_is_pushed(either):
    either.publish(rds="a@1 b@1")
    accepted(either, rds="a b")
    either.publish("2", rds="a@1 b@2")
    assert either.pull() == ["rds b@2"]


def test_one_response_of_a_type_is_under_way_and_changes_are_gathered(either):
    either.publish(eds="a@1")
    either.ask("eds", "a")
    assert either.pull() == ["eds a@1"]
    either.publish("2", eds="a@2")
    either.publish("3", eds="a@3")
    assert either.pull() == []
    either.accept("eds")
    assert either.pull() == ["eds a@3"]


def test_a_change_that_is_undone_before_it_is_sent_is_not_sent(either):
    either.publish(eds="a@1")
    either.ask("eds", "a")
    either.pull()
    either.publish("2", eds="a@2")
    either.publish("3", eds="a@1")
    either.accept("eds")
    assert either.pull() == []


def test_types_are_pushed_in_order(either):
    either.publish(cds="a@1", eds="e@1", lds="l@1", rds="r@1")
    for kind, name in (("rds", "r"), ("lds", "l"), ("eds", "e"), ("cds", "a")):
        either.ask(kind, name)
    assert either.pull() == ["cds a@1", "eds e@1", "lds l@1", "rds r@1"]


def test_changed_routes_wait_for_clusters_under_way(either):
    either.publish(cds="a@1", rds="r@1")
    accepted(either, cds="a", rds="r")
    either.publish("2", cds="a@2", rds="r@2")
    assert either.pull() == ["cds a@2"]
    either.accept("cds")
    assert either.pull() == ["rds r@2"]


def test_that_a_cluster_is_gone_is_told_after_the_routes_that_lead_elsewhere(either):
    either.publish(cds="a@1", rds="r@1")
    accepted(either, cds="a", rds="r")
    either.publish("2", cds="a@1 b@1", rds="r@2")
    assert either.pull() == ["rds r@2"]
    either.publish("3", cds="a@1", rds="r@3")
    either.ask("cds", "a", "b")  # for the routes of 2, which are over
    assert either.pull() == []
    either.accept("rds")
    assert either.pull() == ["rds r@3"]
    either.accept("rds")
    assert either.pull() == (["cds -b"] if either.delta else ["cds a@1"])


def test_a_new_name_is_answered_though_clusters_are_under_way(either):
    either.publish(cds="a@1", rds="r@1 s@1")
    either.ask("cds", "a")
    either.ask("rds", "r")
    either.pull()
    either.ask("rds", "r", "s")
    assert either.pull() == ["rds s@1"]


def test_a_refused_resource_is_held_until_it_is_mended(either):
    either.publish(rds="bad@1 good@1")
    either.ask("rds", "bad", "good")
    either.pull()
    nack = either.ask("rds", "bad", "good", error="routes/bad: no")
    assert (nack.resources, nack.text) == (("bad",), "routes/bad: no")
    assert either.pull() == []
    either.publish("2", rds="bad@1 good@2")
    assert either.pull() == ["rds good@2"]
    either.accept("rds")
    assert either.state("rds").nack is nack, "it has not taken in anything else of that name"
    either.publish("3", rds="bad@3 good@2")
    assert either.pull() == ["rds bad@3"]
    either.accept("rds")
    assert either.state("rds").nack is None


def test_a_refusal_is_over_when_what_was_refused_is_gone(either):
    either.publish(rds="bad@1 good@1")
    either.ask("rds", "bad", "good")
    either.pull()
    either.ask("rds", "bad", "good", error="routes/bad: no")
    either.publish("2", rds="good@2")
    either.pull()
    either.accept("rds")
    assert either.state("rds").nack is None


def test_a_nack_keeps_the_accepted_version(either):
    either.publish(eds="a@1")
    accepted(either, eds="a")
    either.publish("2", eds="a@2")
    either.pull()
    either.ask("eds", "a", error="no")
    assert either.state("eds").acked_version == "eds-1"
    assert either.state("eds").nack.version == "eds-2"


def test_removed_clusters_go_last(either):
    either.publish(cds="old@1", rds="r@to-old")
    accepted(either, cds="old new", rds="r")
    either.publish("2", cds="new@1", rds="r@to-new")
    first = either.pull()
    assert first == (["cds new@1"] if either.delta else ["cds new@1 old@1"])
    either.accept("cds")
    assert either.pull() == ["rds r@to-new"]
    either.accept("rds")
    assert either.pull() == (["cds -old"] if either.delta else ["cds new@1"])


def test_a_name_that_comes_back_is_sent_again(either):
    either.publish(rds="a@1 b@1")
    accepted(either, rds="a b")
    either.ask("rds", "a")
    either.ask("rds", "a", "b")
    assert either.pull() == ["rds b@1"]


@pytest.mark.parametrize("kind", ["lds", "cds"])
def test_a_first_request_that_names_nothing_asks_for_all(either, kind):
    either.publish(**{kind: "a@1 b@1"})
    either.ask(kind)
    assert either.pull() == [f"{kind} a@1 b@1"]
    assert either.state(kind).wildcard


@pytest.mark.parametrize("kind", ["eds", "rds"])
def test_of_other_types_it_asks_for_nothing(either, kind):
    either.publish(**{kind: "a@1 b@1"})
    either.ask(kind)
    assert either.pull() == []


def test_a_star_asks_for_all_of_any_type(either):
    either.publish(eds="a@1 b@1")
    either.ask("eds", "*")
    assert either.pull() == ["eds a@1 b@1"]


# Its own (security.md, 2.2 and 2.6)


def test_a_change_among_listeners_is_sent_alone(delta):
    delta.publish(lds="a@1 b@1")
    accepted(delta, lds="a b")
    delta.publish("2", lds="a@1 b@2")
    assert delta.pull() == ["lds b@2"]


def test_what_is_gone_is_named(delta):
    delta.publish(eds="a@1 b@1")
    accepted(delta, eds="a b")
    delta.publish("2", eds="a@1")
    assert delta.pull() == ["eds -b"]
    delta.accept("eds")
    delta.publish("3", eds="a@1 b@3")
    assert delta.pull() == ["eds b@3"]


@pytest.mark.parametrize("kind", ["lds", "rds", "cds", "eds"])
def test_a_name_that_does_not_exist_is_answered_as_gone_and_remembered(delta, kind):
    delta.publish()
    delta.ask(kind, "late")
    assert delta.pull() == [f"{kind} -late"]
    delta.accept(kind)
    delta.publish("2", **{kind: "late@1"})
    assert delta.pull() == [f"{kind} late@1"]


def test_a_wildcard_over_nothing_is_answered_once(delta):
    delta.publish()
    delta.change("cds", "*")
    assert delta.pull() == ["cds"]
    delta.accept("cds")
    assert delta.pull() == []


def test_a_client_that_comes_back_is_sent_only_what_differs(delta):
    delta.publish(rds="same@1 other@2 new@1")
    delta.change("rds", "same", "other", "new", "gone", has=["same@1", "other@1", "gone@1"])
    assert delta.pull() == ["rds new@1 other@2 -gone"]


def test_a_client_that_comes_back_with_all_of_it_is_sent_nothing(delta):
    delta.publish(cds="a@1", rds="r@1")
    delta.change("cds", "a", has=["a@1"])
    delta.change("rds", "r", has=["r@1"])
    assert delta.pull() == []
    delta.publish("2", cds="a@1", rds="r@2")
    assert delta.pull() == ["rds r@2"]


def test_a_wildcard_client_that_comes_back_is_told_what_is_gone(delta):
    delta.publish(cds="a@1 b@2")
    delta.change("cds", has=["a@1", "b@1", "gone@1"])
    assert delta.pull() == ["cds b@2 -gone"]


def test_what_a_client_has_without_wanting_it_does_not_matter(delta):
    delta.publish(rds="r@1")
    delta.change("rds", "r", has=["stranger@1"])
    assert delta.pull() == ["rds r@1"]


def test_subscribing_again_is_answered_again(delta):
    delta.publish(rds="r@1")
    accepted(delta, rds="r")
    delta.change("rds", "r")
    assert delta.pull() == ["rds r@1"]


def test_unsubscribing_what_was_never_asked_for_is_ignored(delta):
    delta.publish(rds="r@1")
    accepted(delta, rds="r")
    delta.change("rds", without=["stranger"])
    assert delta.pull() == []
    delta.publish("2", rds="r@2")
    assert delta.pull() == ["rds r@2"]


def test_a_name_that_is_unsubscribed_is_spoken_of_no_more(delta):
    delta.publish(rds="r@1 s@1")
    accepted(delta, rds="r s")
    delta.change("rds", without=["r"])
    delta.publish("2", rds="r@2 s@1")
    assert delta.pull() == []
    delta.publish("3", rds="s@1")
    assert delta.pull() == []


def test_beside_a_wildcard_a_name_given_up_is_answered(delta):
    delta.publish(cds="a@1 b@1")
    delta.change("cds", "*", "a", "none")
    delta.pull()
    delta.accept("cds")
    delta.change("cds", without=["a"])
    assert delta.pull() == ["cds a@1"]
    delta.accept("cds")
    delta.change("cds", without=["none"])
    assert delta.pull() == ["cds -none"]


def test_a_name_beside_a_legacy_wildcard_keeps_it(delta):
    delta.publish(cds="a@1 b@1")
    delta.change("cds")
    delta.pull()
    delta.accept("cds")
    delta.change("cds", "a")
    delta.pull()
    delta.accept("cds")
    delta.publish("2", cds="a@1 b@2")
    assert delta.pull() == ["cds b@2"]


def test_a_wildcard_given_up_leaves_the_names(delta):
    delta.publish(cds="a@1 b@1")
    delta.change("cds", "*", "a")
    delta.pull()
    delta.accept("cds")
    delta.change("cds", without=["*"])
    delta.publish("2", cds="a@2 b@2")
    assert delta.pull() == ["cds a@2"]


def test_what_is_wanted_counts_even_with_a_stale_nonce(delta):
    delta.publish(rds="a@1 b@1")
    delta.change("rds", "a")
    delta.pull()
    delta.change("rds", "b", nonce="long ago")
    assert delta.state("rds").in_flight
    delta.accept("rds")
    assert delta.pull() == ["rds b@1"]


def test_removed_endpoints_go_after_their_cluster(delta):
    delta.publish(cds="old@1", eds="old@1", rds="r@to-old")
    accepted(delta, cds="old new", eds="old new", rds="r")
    delta.publish("2", cds="new@1", eds="new@1", rds="r@to-new")
    order = []
    while said := delta.pull():
        order += said
        for one in said:
            delta.accept(one[:3])
    assert order == ["cds new@1", "eds new@1", "rds r@to-new", "cds -old", "eds -old"]


def test_a_removed_table_goes_after_its_listener(delta):
    delta.publish(lds="l@to-old", rds="old@1")
    accepted(delta, lds="l", rds="old")
    delta.publish("2", lds="l@inline")
    assert delta.pull() == ["lds l@inline"]
    delta.accept("lds")
    assert delta.pull() == ["rds -old"]
