"""A VirtualService's rules in another's place, as Istio merges them."""

import pytest

from meshlib.controlplane import findings_of

HOST = "reviews.default.svc.cluster.local"
TO_REVIEWS = "route: [{destination: {host: reviews}}]"
INNER = f"""
- match: [{{uri: {{prefix: /a/b}}, name: inner}}]
  name: one
  {TO_REVIEWS}
- match: [{{headers: {{x-v: {{exact: "2"}}}}}}]
  timeout: 9s
  {TO_REVIEWS}
"""


@pytest.fixture
def both(routes_of, virtual_service):
    def made(root, inner, namespace="default"):
        delegate = virtual_service(inner, name="inner", hosts="", namespace=namespace)
        return routes_of(root, delegate)

    return made


def test_matches_are_those_of_both_and_names_are_joined(both):
    root = "- {name: root, match: [{uri: {prefix: /a}, method: {exact: GET}}], timeout: 1s, "
    first, second = both(root + "delegate: {name: inner}}", INNER)
    assert first.match.path.value == "/a/b"
    assert [header.name for header in first.match.headers] == [":method"]
    assert first.name == "root-one.inner"
    assert second.match.path.value == "/a"
    assert {header.name for header in second.match.headers} == {"x-v", ":method"}


def test_what_a_delegate_does_not_say_is_the_roots(both):
    root = "- {timeout: 1s, fault: {abort: {httpStatus: 500}}, delegate: {name: inner}}"
    first, second = both(root, INNER)
    assert (first.action.timeout, second.action.timeout) == (1.0, 9.0)
    assert first.overrides == second.overrides != ()


def test_short_names_are_those_of_where_they_stand(both):
    root = "- {mirror: {host: reviews}, delegate: {name: inner, namespace: team}}"
    inner = f"- route: [{{destination: {{host: {HOST}}}}}]"
    (route,) = both(root, inner, namespace="team")
    assert route.action.request_mirror_policies[0].cluster == f"outbound|80||{HOST}"


@pytest.mark.parametrize(
    "outer, inner",
    [
        ("uri: {prefix: /b}", "uri: {prefix: /a}"),
        ("uri: {prefix: /a/b}", "uri: {prefix: /a}"),
        ("uri: {exact: /a}", "uri: {prefix: /a}"),
        ("uri: {regex: /a}", "uri: {prefix: /a}"),
        ("method: {exact: GET}", "method: {exact: PUT}"),
        ("headers: {x: {exact: a}}", "headers: {x: {exact: b}}"),
        ("port: 80", "port: 81"),
        ("sourceLabels: {a: b}", "sourceLabels: {a: c}"),
        ("gateways: [mesh]", "gateways: [edge]"),
        ("uri: {prefix: /a}, ignoreUriCase: true", "uri: {prefix: /a/b}"),
    ],
)
def test_rules_that_no_request_can_match_both_of_are_left_out_and_said(
    both, world_of, virtual_service, outer, inner
):
    root = f"- {{match: [{{{outer}}}], delegate: {{name: inner}}}}"
    rule = f"- match: [{{{inner}}}]\n  {TO_REVIEWS}"
    assert both(root, rule) == ()
    world = world_of(virtual_service(root), virtual_service(rule, name="inner", hosts=""))
    assert ("ML0130", "b.yaml:7:7") in [(f.code, str(f.place)) for f in findings_of(world)]


def test_a_delegate_that_is_not_there_is_an_error(world_of, virtual_service):
    world = world_of(virtual_service("- delegate: {name: gone}"))
    assert ("ML0101", "error", "a.yaml:8:17") in [
        (f.code, f.severity, str(f.place)) for f in findings_of(world)
    ]


def test_a_delegate_that_nobody_asks_is_said(world_of, virtual_service):
    world = world_of(virtual_service("- redirect: {}", hosts=""))
    (finding,) = findings_of(world)
    assert "nobody delegates to it" in finding.message


def test_a_delegate_may_keep_to_its_namespace(world_of, virtual_service):
    inner = virtual_service("- redirect: {}", name="inner", hosts="exportTo: [.]", namespace="b")
    world = world_of(virtual_service("- delegate: {name: inner, namespace: b}"), inner)
    assert "ML0101" in [finding.code for finding in findings_of(world) if finding.place.line == 8]
