"""Ways past a mesh that others have had: the checklist, each row with the tests that try it.

The rows are those of aiohttp's requests, of gRPC's requests, and of what was found in Envoy, Istio
and gRPC. What no other room tries is tried here.
"""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from meshlib.dataplane import Connection, Deliver, Engine, Options, Peer, Request, Serve
from meshlib.dataplane.inbound_hygiene import (
    BAD_HOST,
    BAD_PATH,
    Unclean,
    canonical_host,
    clean,
    segments_unescaped,
)
from meshlib.model import (
    ROUTER,
    Exact,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    Route,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.model.rbac import AnyRule, Authenticated, Policy, Rbac, RbacAction, RbacRules
from meshlib.testing import FakeClock, always, get, rpc

TESTS = Path(__file__).parents[1]
ONE = "spiffe://mesh.example/ns/a/sa/one"
AIOHTTP = "middleware/test_hygiene_aiohttp.py"
GRPC = "middleware/test_hygiene_grpc.py"
RBAC = "dataplane/test_rbac_bypasses.py"
HERE = "dataplane/test_bypasses.py"
LEAF = "identity/test_leaf.py"
KEYS = "identity/test_remote_keys.py"


def of(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names)


ROWS = {
    # --- requests of HTTP ---
    "/%61dmin": (
        *of(AIOHTTP, "3_1_a_path_is_judged_by_what_it_stands_for"),
        *of(AIOHTTP, "3_1_what_routes_alike_is_judged_alike"),
    ),
    "//admin /./admin /x/../admin %2f ; case": (
        *of(AIOHTTP, "3_1_slashes_are_merged_before_a_path_is_judged"),
        *of(AIOHTTP, "3_1_escaped_slashes_are_decoded_before_a_path_is_judged"),
        *of(AIOHTTP, "3_1_a_path_is_decoded_once"),
        *of(AIOHTTP, "3_1_what_is_another_path_is_not_routed_to_the_one_denied"),
        *of(AIOHTTP, "3_1_escaped_slashes_are_redirected_where_the_listener_says_so"),
        *of(AIOHTTP, "3_1_escaped_slashes_are_refused_where_the_listener_says_so"),
    ),
    "/admin#f": of(AIOHTTP, "3_1_a_fragment_is_refused"),
    "/admin%00": of(AIOHTTP, "3_1_a_nul_or_half_an_escape_is_refused"),
    "GET http://evil/admin": of(AIOHTTP, "3_1_a_target_names_the_same_host_as_the_header"),
    "Host: a,b": (
        *of(AIOHTTP, "3_1_what_is_no_host_is_refused"),
        *of(AIOHTTP, "3_1_a_host_is_one_in_any_case_and_with_a_dot_at_its_end"),
    ),
    "Host: a:80:80": of(AIOHTTP, "3_1_what_is_no_host_is_refused"),
    "two Host or none": (
        *of(AIOHTTP, "3_1_two_hosts_or_none_are_refused"),
        *of(AIOHTTP, "3_1_a_host_that_nobody_said_is_in_no_favour_of_the_caller"),
    ),
    "two Authorization": of(AIOHTTP, "3_1_two_authorizations_are_refused"),
    "X_Forwarded_For": of(AIOHTTP, "3_1_names_with_an_underscore_are_refused"),
    "method get": of(AIOHTTP, "3_1_methods_are_in_capitals"),
    "CL+TE and the like": of(AIOHTTP, "3_1_what_could_be_framed_in_two_ways_is_refused"),
    "TE: identity, extensions, trailers": (
        *of(AIOHTTP, "3_1_no_coding_is_understood_but_chunks"),
        *of(AIOHTTP, "3_1_a_trailer_is_no_header"),
    ),
    "the parser in C": (
        *of(AIOHTTP, "3_1_who_reads_requests_too_leniently_judges_none"),
        *of(AIOHTTP, "3_1_requests_are_read_in_c_here"),
    ),
    "one request for all": (
        *of(AIOHTTP, "3_1_the_handler_is_that_of_the_path_which_was_judged"),
        *of("fuzz/inbound/test_paths_fuzz.py", "a_path_that_was_made_canonical_stays_as_it_is"),
        *of(AIOHTTP, "3_1_the_body_comes_with_a_request_that_was_routed_anew"),
    ),
    # --- requests of gRPC ---
    ":path": (
        *of(GRPC, "3_2_a_path_is_that_of_a_service_and_a_method"),
        *of(GRPC, "3_2_another_spelling_is_another_method_or_none"),
    ),
    "duplicate :path": of(GRPC, "3_2_of_two_paths_the_policy_judges_the_one_that_is_served"),
    "duplicate :authority": (
        *of(GRPC, "3_2_two_authorities_have_no_effect"),
        *of(GRPC, "3_2_what_the_library_refuses_leaves_no_trace"),
    ),
    "a host key": of(GRPC, "3_2_a_host_among_the_metadata_is_for_nobody"),
    "X-Upper, connection": of(GRPC, "3_2_a_name_that_http2_forbids_reaches_nobody"),
    "CR, LF, NUL, non-ASCII": of(GRPC, "3_2_a_value_is_printable"),
    "two authorization": of(GRPC, "3_2_two_authorizations_are_refused"),
    "x-forwarded-client-cert, x-envoy-*": (
        *of(GRPC, "3_2_what_only_a_gateway_may_say_is_taken_from_others"),
        *of(AIOHTTP, "header_policy_what_only_a_gateway_may_say_is_taken_from_others"),
        *of(AIOHTTP, "header_policy_a_listed_gateway_says_for_whom_it_calls"),
        *of(AIOHTTP, "header_policy_what_nobody_judges_by_is_left_alone"),
    ),
    "content-type": of(GRPC, "3_2_a_content_type_is_that_of_grpc_or_speaks_against_the_caller"),
    "large metadata": of(GRPC, "3_2_metadata_has_a_limit_though_settings_were_never_acknowledged"),
    "before deserialization": (
        *of(GRPC, "3_2_a_denied_call_is_not_even_read"),
        *of(GRPC, "3_2_an_admitted_call_is_read_once_and_served"),
    ),
    "hosts on gRPC servers": of(
        GRPC, "3_2_a_rule_of_hosts_lets_nobody_in_as_the_host_is_not_known"
    ),
    # --- what was found elsewhere ---
    "CVE-2020-8595": of(RBAC, "cve_2020_8595_an_exact_path_is_that_without_query_and_fragment"),
    "CVE-2021-39156": (
        *of(RBAC, "cve_2021_39156_a_fragment_hides_nothing"),
        *of(AIOHTTP, "3_1_a_fragment_is_refused"),
    ),
    "CVE-2021-31920": (
        *of(RBAC, "cve_2021_31920_a_path_is_judged_as_it_is_routed"),
        *of(AIOHTTP, "3_1_escaped_slashes_are_decoded_before_a_path_is_judged"),
    ),
    "CVE-2021-39155": (
        *of(RBAC, "cve_2021_39155_a_host_is_one_in_any_case_and_with_any_port"),
        *of(HERE, "cve_2021_39155_a_host_has_one_form"),
    ),
    "CVE-2026-26308": (
        *of(RBAC, "cve_2026_26308_each_value_of_a_header_is_judged"),
        *of(RBAC, "cve_2021_32777_all_values_are_good_where_that_is_asked"),
    ),
    "CVE-2023-35944": of(RBAC, "cve_2023_35944_the_scheme_is_the_connections_own"),
    "CVE-2023-27487": of(RBAC, "cve_2023_27487_no_header_of_the_caller_changes_what_is_judged"),
    "2024-006": (
        *of(RBAC, "2024_006_an_address_is_that_of_the_connection"),
        *of(HERE, "2024_006_a_private_address_makes_nobody_a_gateway"),
    ),
    "CVE-2020-16844": of(RBAC, "cve_2020_16844_a_principal_by_its_end_matches_and_only_that"),
    "CVE-2026-39350": of(RBAC, "cve_2026_39350_a_dot_in_a_name_is_a_dot"),
    "CVE-2020-15104": of(LEAF, "cve_2020_15104_no_wildcard_and_no_other_derived_name_is_believed"),
    "CVE-2022-21654": of(
        LEAF, "cve_2022_21654_a_change_of_roots_or_revocations_counts_for_known_certificates"
    ),
    "CVE-2022-21656": of(LEAF, "cve_2022_21656_a_dns_san_that_holds_a_spiffe_id_is_no_id"),
    "CVE-2025-66220": of(LEAF, "cve_2025_66220_a_nul_in_a_name_hides_nothing"),
    "2021-001": of(
        "dataplane/filters/test_jwt_authn.py", "a_missing_token_may_do_but_a_bad_one_never_does"
    ),
    "CVE-2026-31837": of(KEYS, "a_failure_opens_nothing_and_is_told"),
    "2026-003": of(KEYS, "nobody_on_this_machine_its_link_or_its_cloud_is_asked"),
    "CVE-2025-64527": of(KEYS, "keys_are_fetched_again_beside_the_calls_as_long_as_anybody_asks"),
    "CVE-2021-34824": of(
        "controlplane/server/test_ca.py",
        "each_caller_is_given_its_own_key_though_another_was_given_one_before",
        "a_caller_cannot_ask_for_anothers_secret_by_its_name",
    ),
    "CVE-2026-31838": of(
        "controlplane/server/test_admin.py",
        "elsewhere_than_on_loopback_it_wants_a_token",
        "with_the_token_it_may_be_read_and_without_it_not",
    ),
    "CVE-2022-23635": (
        *of("controlplane/server/test_server.py", "garbage_in_the_midst_of_a_stream_ends_it"),
        *of("controlplane/server/test_ca.py", "nothing_is_told_to_who_shows_no_certificate"),
    ),
    "2026-006": (
        *of("xds/test_regex.py", "what_re2_cannot_take_is_refused_with_the_reason"),
        *of(RBAC, "an_expression_that_explodes_elsewhere_takes_its_time_here"),
    ),
    "CVE-2026-48042": (
        *of(
            "controlplane/manifests/test_reader.py", "deep_nesting_is_refused_before_it_is_followed"
        ),
        *of("properties/test_codec.py", "deep_nesting_is_refused_at_most"),
    ),
    "CVE-2019-15226": (
        *of(RBAC, "cve_2019_15226_ten_thousand_headers_hide_none"),
        *of(GRPC, "3_2_metadata_has_a_limit_though_settings_were_never_acknowledged"),
    ),
    "CVE-2023-44487": of(GRPC, "cve_2023_44487_calls_that_are_reset_at_once_leave_nothing_behind"),
    "CVE-2024-45807": of(HERE, "cve_2024_45807_what_is_told_of_a_denied_call_is_one_word"),
    "2021-006": of(HERE, "2021_006_the_name_that_a_handshake_asks_for_is_no_identity"),
    "2026-002": of(
        "controlplane/test_security_findings.py",
        "rules_for_a_host_that_is_not_exported_are_refused",
    ),
    "CVE-2026-33186": (
        *of(GRPC, "3_2_a_path_is_that_of_a_service_and_a_method"),
        *of(HERE, "cve_2026_33186_a_method_without_its_slash_is_refused_before_policies_judge"),
    ),
    "CVE-2023-32731": of(HERE, "cve_2023_32731_no_library_is_older_than_its_mending"),
}


@cache
def named_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(each.name for each in tree.body if isinstance(each, kinds))


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_tests_that_exist(row):
    assert ROWS[row]
    assert [test for test in ROWS[row] if (at := test.split("::"))[1] not in named_in(at[0])] == []


def test_each_test_that_bears_the_number_of_a_section_is_listed():
    listed = {test for tests in ROWS.values() for test in tests}
    bearing = {
        f"{file}::{name}"
        for file in (AIOHTTP, GRPC)
        for name in named_in(file)
        if re.match(r"test_(3_[12]|header_policy|cve)_", name)
    }
    assert bearing - listed == set()


# --- what no other room tries ---


def engine(*principals: str, action: RbacAction = RbacAction.ALLOW, name: str = "p") -> Engine:
    rules = tuple(Authenticated(Exact(each)) for each in principals) or (AnyRule(),)
    policy = Policy(name=name, permissions=(AnyRule(),), principals=rules)
    rbac = HttpFilter(name="rbac", config=Rbac(rules=RbacRules(action=action, policies=(policy,))))
    served = Route(name="all", action=NonForwardingAction())
    table = RouteConfiguration(
        name="t", virtual_hosts=(VirtualHost(name="v", domains=("*",), routes=(served,)),)
    )
    http = HttpConnectionManager(routes=table, http_filters=(rbac, ROUTER))
    made = Engine(clock=FakeClock(), dice=always(0.0), options=Options(complete=True))
    made.apply(gather(listeners=[Listener(name="inbound", http=http)]))
    return made


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Secret.com", "secret.com"),
        ("secret.com.", "secret.com"),
        ("SECRET.com.:443", "secret.com:443"),
        ("[::1]:80", "[::1]:80"),
        ("", ""),
        ("a:80:80", None),
        ("user@secret.com", None),
        ("secret.com..", None),
    ],
)
def test_cve_2021_39155_a_host_has_one_form(said, meant):
    assert canonical_host(said) == meant


def test_2024_006_a_private_address_makes_nobody_a_gateway():
    """ISTIO-SECURITY-2024-006, CVE-2024-45806: only a listed identity does."""
    said = (("x-forwarded-for", "10.0.0.1"), ("x-envoy-internal", "true"))
    near = get("a:80", headers=said, source="10.0.0.9:5000")
    found = clean(near, {ONE})
    assert isinstance(found, Request)
    assert (found.headers, found.remote) == ((), "")
    known = Connection(peer=Peer(secure=True, spiffe_id=ONE))
    trusted = clean(get("a:80", headers=said, connection=known), {ONE})
    assert isinstance(trusted, Request)
    assert (trusted.headers, trusted.remote) == (said, "10.0.0.1:0")
    unproven = Connection(peer=Peer(spiffe_id=ONE))
    liar = clean(get("a:80", headers=said, connection=unproven), {ONE})
    assert isinstance(liar, Request)
    assert liar.headers == ()


@pytest.mark.parametrize(
    ("said", "remote"),
    [
        ("198.51.100.1, 203.0.113.7", "203.0.113.7:0"),
        ("2001:db8::1", "[2001:db8::1]:0"),
        ("[2001:db8::1]", "[2001:db8::1]:0"),
        ("203.0.113.7:99", "203.0.113.7:99"),
    ],
)
def test_a_gateway_writes_addresses_in_any_of_their_forms(said, remote):
    known = Connection(peer=Peer(secure=True, spiffe_id=ONE))
    found = clean(get("a:80", headers=(("x-forwarded-for", said),), connection=known), {ONE})
    assert isinstance(found, Request)
    assert found.remote == remote


def test_cve_2024_45807_what_is_told_of_a_denied_call_is_one_word():
    made = engine(action=RbacAction.DENY, name="a b\r\nc\x0bd")
    effect = next(made.inbound(get("a:80", "/x")))
    assert isinstance(effect, Deliver)
    assert effect.record.details == "rbac_access_denied_matched_policy[a_b_c_d]"


def test_2021_006_the_name_that_a_handshake_asks_for_is_no_identity():
    made = engine(ONE)
    asking = Connection(server_name=ONE)
    assert isinstance(next(made.inbound(get("a:80", connection=asking))), Deliver)
    proven = Connection(server_name="x", peer=Peer(secure=True, spiffe_id=ONE, uri_sans=(ONE,)))
    assert isinstance(next(made.inbound(get("a:80", connection=proven))), Serve)


@pytest.mark.parametrize("path", ["pkg.Service/Method", "//Method", "/Method", "/a/b/c", "/a/b?c"])
def test_cve_2026_33186_a_method_without_its_slash_is_refused_before_policies_judge(path):
    assert clean(rpc("a:80", path), ()) is BAD_PATH
    effect = next(engine().inbound(rpc("a:80", path)))
    assert isinstance(effect, Deliver)
    assert effect.record.flags == ("DPE",)


def test_cve_2023_32731_no_library_is_older_than_its_mending():
    """CVE-2023-32731 and CVE-2024-7246 of grpcio, PYSEC-2026-4371 of aiohttp."""
    mended = {"grpcio": (1, 65, 4), "aiohttp": (3, 14, 4)}
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    floors = {
        found[1]: tuple(map(int, found[2].split(".")))
        for each in project["project"]["dependencies"]
        if (found := re.match(r"([a-z]+)>=([0-9.]+)", each)) and found[1] in mended
    }
    assert floors.keys() == mended.keys()
    assert all(floors[name] >= mended[name] for name in mended)


def test_a_request_that_is_clean_is_the_very_request():
    plain = get("a:80", "/x?y", headers=(("x-a", "1"), ("host", "a:80")), authority="a:80")
    assert clean(plain, ()) is plain
    call = rpc("a:80", headers=(("x-a", "1"),))
    assert clean(call, ()) is call


@pytest.mark.parametrize("request_", [get("a:80", "x"), get("a:80", "/%"), get("a:80", "")])
def test_a_path_begins_with_a_slash_and_has_whole_escapes(request_):
    assert clean(request_, ()) is BAD_PATH
    assert segments_unescaped(request_.path) is None


def test_what_is_refused_is_refused_in_words():
    unclean = clean(get("a:80", authority="a b"), ())
    assert unclean is BAD_HOST
    assert isinstance(unclean, Unclean)
    assert (unclean.status, unclean.words) == (400, "malformed host")
