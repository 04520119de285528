"""The checklist of xDS, each row with the tests that hold the client to it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OURS = ("xds", "mesh")
ROW = re.compile(r"test_([swncod]\d+)_")


def row(sentence: str, *tests: str) -> tuple[str, tuple[str, ...]]:
    return sentence, tests


ROWS = {
    "S1": row(
        "The node goes with the first request of each stream, and is the same on all of them.",
        "xds/test_ads.py::test_s1_the_node_goes_with_the_first_request_of_each_stream_only",
        "xds/test_delta.py::test_s1_the_node_goes_with_the_first_request_of_each_stream_only",
    ),
    "S2": row(
        "The version survives the stream and the nonce does not.",
        "xds/test_ads.py::test_s2_the_version_survives_the_stream_and_the_nonce_does_not",
    ),
    "S3": row(
        "Each response has one ACK or NACK; a NACK keeps the version and advances the nonce.",
        "xds/test_ads.py::test_s3_an_ack_has_the_version_and_nonce_of_the_response",
        "xds/test_ads.py::test_s3_a_nack_keeps_the_accepted_version_and_advances_the_nonce",
        "xds/test_ads.py::test_s3_a_nack_of_the_first_response_has_no_version",
        "xds/test_delta.py::test_s3_an_ack_is_the_nonce_and_nothing_else",
        "xds/test_delta.py::test_s3_a_nack_names_each_bad_resource_and_its_valid_siblings_are_used",
    ),
    "S4": row(
        "Valid resources of a refused response are used, and the NACK names every bad one.",
        "xds/test_ads.py::test_s4_valid_siblings_of_a_bad_resource_are_used",
        "xds/test_ads.py::test_s4_the_nack_names_every_bad_resource",
    ),
    "S5": row(
        "A changed subscription says the same version, the latest nonce and all names.",
        "xds/test_ads.py::test_s5_a_changed_subscription_repeats_version_and_nonce_with_all_names",
        "controlplane/server/test_subscriptions.py::test_a_stale_nonce_is_ignored",
    ),
    "S6": row(
        "A name that comes twice in one response is refused.",
        "xds/test_ads.py::test_s6_a_name_that_comes_twice_is_refused",
        "xds/test_delta.py::test_s6_a_name_that_comes_twice_is_refused",
        "xds/test_delta.py::test_s6_a_name_that_is_sent_and_removed_is_refused",
    ),
    "S7": row(
        "A type that nobody asked for is reported, not answered, and ends nothing.",
        "xds/test_ads.py::test_s7_an_unknown_type_is_not_answered_and_the_stream_goes_on",
    ),
    "S8": row(
        "What was not asked for, or not any more, is ignored and acknowledged.",
        "xds/test_ads.py::test_s8_what_was_not_asked_for_is_acked_and_ignored",
        "xds/test_ads.py::test_s8_a_response_in_flight_is_acked_after_its_names_were_unsubscribed",
        "xds/test_delta.py::test_s8_what_was_not_asked_for_is_acked_and_ignored",
    ),
    "S9": row(
        "With its last name a type loses its version.",
        "xds/test_ads.py::test_s9_a_type_begins_anew_after_its_last_name_went",
    ),
    "S10": row(
        "The same refusal is sent each time and told once.",
        "xds/test_ads.py::test_s10_the_same_refusal_is_nacked_again_but_reported_once",
        "xds/test_ads.py::test_s10_watchers_hear_of_the_same_refusal_once",
    ),
    "S11": row(
        "The next response is read when the last one was taken in.",
        "xds/test_client.py::test_s11_the_next_response_is_read_when_the_last_was_taken_in",
    ),
    "S12": row(
        "A Resource message is unwrapped; without a body it is a heartbeat.",
        "xds/test_ads.py::test_s12_the_name_of_a_resource_message_is_the_name",
        "xds/test_ads.py::test_s12_a_resource_of_a_wrong_type_is_refused",
        "xds/test_ads.py::test_s12_a_resource_without_body_is_a_heartbeat_only",
        "xds/test_delta.py::test_s12_a_resource_of_a_wrong_type_is_refused",
        "xds/test_transport.py::test_s12_a_resource_message_is_unpacked",
        "xds/test_transport.py::test_s12_a_resource_message_without_body_is_a_heartbeat",
    ),
    "S13": row(
        "A TTL ends what nobody renews, and a resource sent without one stays.",
        "xds/test_ads.py::test_s13_a_resource_with_a_ttl_goes_when_contact_is_lost",
        "xds/test_ads.py::test_s13_a_heartbeat_prolongs_the_ttl",
        "xds/test_ads.py::test_s13_a_resource_sent_again_without_ttl_stays",
        "xds/test_delta.py::test_s13_a_heartbeat_prolongs_the_ttl_and_changes_nothing",
    ),
    "W1": row(
        "After a name was said, an empty list unsubscribes from all.",
        "xds/test_ads.py::test_w1_after_a_name_an_empty_list_takes_back_every_subscription",
        "controlplane/server/test_subscriptions.py::test_an_empty_list_after_names_unsubscribes_all",
    ),
    "W2": row(
        "Without names nothing is said on a new stream, since that would ask for everything.",
        "xds/test_ads.py::test_w2_a_new_stream_sends_nothing_for_a_type_without_names",
        "xds/test_ads.py::test_w2_an_answer_that_nobody_asked_for_is_not_acked_into_a_wildcard",
        "xds/test_delta.py::test_w2_a_new_stream_sends_nothing_for_a_type_without_names",
    ),
    "W3": row(
        "Whatever answers an unsubscription is taken without harm.",
        "xds/test_delta.py::test_w3_an_answer_for_a_name_that_was_dropped_meanwhile_is_only_acked",
        "controlplane/server/test_delta.py::test_beside_a_wildcard_a_name_given_up_is_answered",
    ),
    "N1": row(
        "What does not come within 15 seconds of being asked for on a connection does not exist.",
        "xds/test_watches.py::test_n1_a_resource_that_never_comes_does_not_exist_after_15_seconds",
        "xds/test_watches.py::test_n1_the_timer_waits_for_the_connection",
        "xds/test_watches.py::test_n1_the_timer_ends_with_the_resource",
        "xds/test_watches.py::test_n1_the_timer_ends_with_a_nack_of_the_resource",
        "xds/test_watches.py::test_n1_the_timer_ends_with_an_error_from_the_server",
        "xds/test_watches.py::test_n1_the_timer_ends_with_the_stream_and_begins_anew_on_the_next",
        "xds/test_watches.py::test_n1_what_is_cached_gets_no_timer_on_a_new_stream",
        "xds/test_watches.py::test_n1_a_changed_subscription_does_not_begin_the_timer_anew",
    ),
    "N2": row(
        "A server may make of the timer a passing error of 30 seconds.",
        "xds/test_watches.py::test_n2_a_server_may_declare_the_timer_a_passing_error_of_30_seconds",
    ),
    "N3": row(
        "Watchers hear of changes, of failures and of errors beside what goes on to be used.",
        "xds/test_watches.py::test_n3_a_resource_clears_the_ambient_error",
    ),
    "N4": row(
        "With nothing cached each error fails; what is cached is kept unless fail_on_data_errors.",
        "xds/test_watches.py::test_n4_with_nothing_cached_every_error_is_a_failure",
        "xds/test_watches.py::test_n4_with_nothing_cached_a_lost_connection_is_a_failure",
        "xds/test_watches.py::test_n4_a_cached_resource_is_kept_whatever_the_server_says_of_it",
        "xds/test_watches.py::test_n4_a_cached_resource_is_kept_when_refused_or_deleted",
        "xds/test_watches.py::test_n4_fail_on_data_errors_drops_what_was_cached",
        "xds/test_watches.py::test_n4_fail_on_data_errors_keeps_what_meets_a_passing_error",
    ),
    "N5": row(
        "ignore_resource_deletion changes nothing.",
        "xds/test_watches.py::test_n5_ignore_resource_deletion_changes_nothing",
    ),
    "N6": row(
        "A late watcher hears the resource and then the error of the moment.",
        "xds/test_watches.py::test_n6_a_late_watcher_hears_the_resource_and_then_the_error",
        "xds/test_watches.py::test_n6_a_late_watcher_hears_that_there_is_no_connection",
    ),
    "N7": row(
        "Absence deletes listeners and clusters in SotW, and only names that the server has seen.",
        "xds/test_watches.py::test_n7_absence_deletes_listeners_and_clusters",
        "xds/test_watches.py::test_n7_absence_means_nothing_for_routes_and_endpoints",
        "xds/test_watches.py::test_n7_absence_says_nothing_of_a_name_that_the_server_may_not_have_seen",
        "xds/test_watches.py::test_n7_a_bad_resource_without_name_may_be_the_missing_one",
    ),
    "N8": row(
        "Callers hear UNAVAILABLE with what ails the resource and the node, never NOT_FOUND.",
        "mesh/test_reasons.py::test_n8_what_is_not_there_is_unavailable_and_named_with_the_node",
        "mesh/test_reasons.py::test_n8_a_host_that_does_not_exist_is_no_not_found",
        "mesh/test_reasons.py::test_n8_without_a_control_plane_the_failure_names_server_and_node",
        "xds/test_watches.py::test_n8_what_ails_a_cluster_is_told_though_it_is_served_on",
    ),
    "N9": row(
        "What does not exist stays subscribed.",
        "xds/test_watches.py::test_n9_what_does_not_exist_stays_subscribed_and_may_appear",
    ),
    "N10": row(
        "What a server says of a resource (TP3) is remembered, whatever the code.",
        "xds/test_watches.py::test_n10_a_host_that_the_server_does_not_have_is_absent_at_once",
        "xds/test_watches.py::test_n10_other_codes_are_passing_errors_and_remembered",
    ),
    "N11": row(
        "A resource goes through the states that CSDS knows.",
        "xds/test_watches.py::test_n11_a_resource_goes_through_the_states_of_the_cache",
        "xds/test_csds.py::test_n11_every_state_of_the_cache_has_a_name_there",
    ),
    "C1": row(
        "A stream that ended after an answer is opened at once; one without is an error.",
        "xds/test_reconnect.py::test_c1_a_stream_that_ends_after_an_answer_is_opened_again_at_once",
        "xds/test_reconnect.py::test_c1_a_stream_that_ends_without_an_answer_is_an_error",
        "xds/test_reconnect.py::test_c1_the_same_failure_is_reported_once_until_an_answer_comes",
    ),
    "C2": row(
        "Failures wait 1 s, times 1.6, off by a fifth, up to 30 s: sooner than gRPC's 120.",
        "xds/test_reconnect.py::test_c2_failures_wait_one_second_and_then_longer_up_to_two_minutes",
        "xds/test_reconnect.py::test_c2_each_wait_is_off_by_a_fifth_at_most",
        "xds/test_reconnect.py::test_c2_an_answer_resets_the_back_off",
    ),
    "C3": row(
        "A server that answers once and dies is not hammered.",
        "xds/test_hardship.py::test_c3_a_server_that_answers_once_and_dies_takes_nothing_away",
        "xds/test_reconnect.py::test_c3_a_server_that_answers_once_and_dies_is_not_hammered",
        "xds/test_reconnect.py::test_c3_a_stream_that_lived_is_forgiven",
    ),
    "C4": row(
        "The last good configuration is kept without limit.",
        "xds/test_reconnect.py::test_c4_the_last_good_configuration_is_kept_without_limit",
    ),
    "C5": row(
        "What fails before the connection is told at once, or after the time to connect.",
        "xds/test_client.py::test_c5_a_stream_that_nobody_takes_is_given_up_and_told",
        "xds/test_client.py::test_a_control_plane_that_is_not_there_is_told_with_the_node",
    ),
    "C6": row(
        "A half-open connection is found by keepalive.",
        "xds/test_hardship.py::test_c6_a_half_open_connection_is_found_and_what_worked_serves_on",
        "xds/test_transport.py::test_c6_a_silent_connection_is_pinged_so_that_a_dead_one_is_found_within_40_seconds",
        "xds/test_hardship.py::test_a_server_that_had_too_many_pings_is_pinged_less",
    ),
    "C7": row(
        "The next server is asked when the first fails and something is lacking, until it is back.",
        "xds/test_fallback.py::test_c7_on_startup_the_next_server_is_asked_when_the_first_cannot_be_reached",
        "xds/test_fallback.py::test_c7_with_all_that_is_watched_in_the_cache_no_other_server_is_asked",
        "xds/test_fallback.py::test_c7_a_new_name_while_the_first_server_is_away_goes_to_the_second",
        "xds/test_fallback.py::test_c7_on_an_update_half_taken_in_the_second_server_finishes_it",
        "xds/test_fallback.py::test_c7_errors_are_told_when_every_server_failed",
        "xds/test_fallback.py::test_c7_an_answer_of_the_first_server_ends_the_others",
        "xds/test_fallback.py::test_c7_the_second_server_takes_over_from_the_third",
        "xds/test_fallback.py::test_c7_what_a_server_says_after_it_was_left_is_not_heard",
        "xds/test_fallback.py::test_c7_what_is_known_serves_on_while_the_second_server_is_asked",
        "xds/test_hardship.py::test_c7_the_second_control_plane_serves_while_the_first_is_away",
    ),
    "C8": row(
        "One client has all targets, so what falls back is an authority, and none besides it.",
        "xds/test_federation.py::test_c8_one_authority_falls_back_and_the_others_do_not",
        "xds/test_federation.py::test_an_authority_that_is_away_is_no_trouble_of_the_others",
    ),
    "C9": row(
        "Waiting has an end, subscribing has none; what calls do meanwhile is chosen.",
        "xds/test_resolver.py::test_c9_what_does_not_come_in_time_is_not_waited_for_and_stays_asked_for",
        "mesh/test_start_policy.py::test_unless_told_otherwise_a_call_waits_until_its_deadline",
        "mesh/test_start_policy.py::test_a_call_may_fail_at_once_and_its_error_names_the_listener",
        "mesh/test_start_policy.py::test_a_call_may_go_out_as_it_would_without_the_mesh",
        "mesh/test_last_good.py::test_a_new_process_calls_at_once_while_the_control_plane_is_down",
    ),
    "O1": row(
        "Pushes come in order, clusters first, and what is stale goes last (our server).",
        "controlplane/server/test_subscriptions.py::test_clusters_come_before_endpoints_before_listeners_before_routes",
        "controlplane/server/test_subscriptions.py::test_removed_clusters_go_last",
        "controlplane/server/test_make_before_break.py::test_routes_never_lead_to_a_cluster_that_the_client_lacks",
    ),
    "O2": row(
        "New routes wait until all that they lead to is known; a call sees one snapshot.",
        "xds/test_resolver.py::test_o2_new_routes_wait_for_their_clusters_while_the_old_ones_serve",
        "xds/test_resolver.py::test_o2_the_old_routes_hear_of_endpoints_while_the_new_ones_wait",
        "xds/test_resolver.py::test_o2_a_listener_that_waits_does_not_hold_up_another",
        "xds/test_resolver.py::test_one_response_makes_one_update_at_most",
    ),
    "O3": row(
        "A cluster fails alone; without listener or routes the target fails.",
        "xds/test_resolver.py::test_o3_a_cluster_that_does_not_exist_fails_alone",
        "xds/test_resolver.py::test_o3_a_refused_cluster_fails_alone",
        "xds/test_resolver.py::test_o3_a_cluster_whose_endpoints_do_not_exist_has_none",
        "xds/test_resolver.py::test_o3_routes_that_do_not_exist_fail_their_listener_at_once",
    ),
    "O4": row(
        "A call under way holds its cluster, and the last one lets it go.",
        "mesh/test_held.py::test_o4_a_cluster_is_unsubscribed_after_the_last_call_to_it",
        "xds/test_held.py::test_o4_a_cluster_that_is_called_is_held_until_the_last_call_ended",
        "xds/test_held.py::test_o4_calls_under_way_hear_of_new_endpoints",
        "xds/test_held.py::test_o4_a_call_may_still_begin_while_the_new_routes_come_in_force",
        "xds/test_held.py::test_o4_what_routes_come_back_to_is_not_let_go",
        "xds/test_held.py::test_o4_an_aggregate_is_held_with_what_it_is_made_of",
        "xds/test_held.py::test_o4_whatever_routes_and_calls_do_a_called_cluster_is_there",
    ),
    "O5": row(
        "A cluster that changes serves as before while the new one warms.",
        "xds/test_resolver.py::test_o5_a_changed_cluster_serves_as_before_until_its_endpoints_come",
    ),
    "O6": row(
        "xdstp names are asked of their authority, and are equal whatever the order of parameters.",
        "xds/test_client.py::test_o6_a_name_of_an_unknown_authority_is_refused",
        "xds/test_federation.py::test_o6_each_name_is_asked_of_its_authority",
        "xds/test_federation.py::test_o6_resources_of_several_authorities_are_one_snapshot",
        "xds/test_federation.py::test_o6_a_reference_to_an_unknown_authority_fails_that_name_only",
        "xds/test_federation.py::test_o6_targets_become_names_by_the_default_template",
        "xds/test_federation.py::test_o6_an_old_style_template_is_filled_as_it_is_and_looks_at_no_authority",
        "xds/test_federation.py::test_o6_targets_with_an_authority_have_its_template",
        "xds/test_names.py::test_o6_names_are_equal_whatever_the_order_of_their_parameters",
        "xds/test_names.py::test_o6_old_names_are_left_alone",
        "xds/test_names.py::test_o6_a_name_says_who_answers_for_it",
        "xds/test_names.py::test_o6_a_plus_is_a_plus_and_what_must_be_is_encoded",
        "xds/test_names.py::test_o6_targets_are_percent_encoded_in_xdstp_templates_only",
    ),
    "O7": row(
        "A server of several authorities has one stream.",
        "xds/test_federation.py::test_o7_a_server_of_two_authorities_has_one_stream",
    ),
    "D1": row(
        "A new stream begins with all names and the versions in use.",
        "xds/test_delta.py::test_d1_a_new_stream_begins_with_all_names_and_the_versions_in_use",
        "xds/test_hardship.py::test_d1_a_new_stream_tells_the_versions_that_are_in_use",
    ),
    "D2": row(
        "What is said between responses carries no nonce.",
        "xds/test_delta.py::test_d2_what_is_said_between_responses_carries_no_nonce",
        "controlplane/server/test_delta.py::test_what_is_wanted_counts_even_with_a_stale_nonce",
    ),
    "D3": row(
        "Removed is removed, unchanged stays, and the timer is kept.",
        "xds/test_delta.py::test_d3_removed_is_removed_and_the_unchanged_stay",
        "xds/test_delta.py::test_d3_any_type_can_be_removed_and_is_kept_in_use",
        "xds/test_delta.py::test_d3_a_host_that_the_server_does_not_have_is_absent_at_once",
        "xds/test_delta.py::test_d3_the_timer_is_kept_for_a_server_that_says_nothing",
    ),
    "D4": row(
        "What was dropped and is wanted again is asked for, and sent, again.",
        "xds/test_delta.py::test_d4_what_was_dropped_and_is_wanted_again_is_asked_for_again",
        "controlplane/server/test_subscriptions.py::test_a_name_that_comes_back_is_sent_again",
        "controlplane/server/test_delta.py::test_subscribing_again_is_answered_again",
        "controlplane/server/test_delta.py::test_unsubscribing_what_was_never_asked_for_is_ignored",
    ),
    "D5": row(
        "A NACK has no version, and a new stream tells the versions in use.",
        "xds/test_delta.py::test_d5_the_versions_that_are_told_are_those_in_use_and_not_those_refused",
        "xds/test_delta.py::test_d5_what_the_server_disowned_is_to_be_sent_anew_if_it_comes_back",
        "xds/test_fallback.py::test_d5_a_server_is_told_no_versions_of_another",
    ),
}


ALL = [
    *(f"S{number}" for number in range(1, 14)),
    *(f"W{number}" for number in range(1, 4)),
    *(f"N{number}" for number in range(1, 12)),
    *(f"C{number}" for number in range(1, 10)),
    *(f"O{number}" for number in range(1, 8)),
    *(f"D{number}" for number in range(1, 6)),
]


@cache
def named_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(each.name for each in tree.body if isinstance(each, kinds))


def test_no_row_is_missing() -> None:
    assert list(ROWS) == ALL


@pytest.mark.parametrize("row", ALL)
def test_a_row_has_a_sentence_and_tests_that_exist(row) -> None:
    sentence, tests = ROWS[row]
    assert sentence.endswith(".")
    assert tests
    missing = [test for test in tests if (at := test.split("::"))[1] not in named_in(at[0])]
    assert missing == []


def test_each_test_that_bears_the_number_of_a_row_is_listed_there() -> None:
    bearing = {
        (found[1].upper(), f"{file.parent.name}/{file.name}::{name}")
        for room in OURS
        for file in (TESTS / room).glob("test_*.py")
        for name in named_in(f"{room}/{file.name}")
        if (found := ROW.match(name))
    }
    listed = {(row, test) for row, (_, tests) in ROWS.items() for test in tests}
    assert bearing - listed == set()
