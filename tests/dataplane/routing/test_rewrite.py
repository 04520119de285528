import pytest

from meshlib.dataplane import Headers, Request, Whereabouts
from meshlib.dataplane.routing.header_levels import request_levels
from meshlib.dataplane.routing.regex_rewrite import python_finditer, replacing
from meshlib.dataplane.routing.rewrite import Rewrite
from meshlib.model import (
    HeaderMutations,
    HeaderValueOption,
    PathExact,
    PathMatcher,
    PathPrefix,
    PathRegex,
    PathSeparatedPrefix,
    RegexRewrite,
    RouteAction,
    RouteMatch,
)
from meshlib.xds.regex import finditer as re2_finditer


def rewritten(path: PathMatcher, prefix: str, sent: str, *, case_sensitive: bool = True) -> str:
    match = RouteMatch(path=path, case_sensitive=case_sensitive)
    rewrite = Rewrite(match, RouteAction(cluster="c", prefix_rewrite=prefix), (), python_finditer)
    return rewrite(Request("reviews:9080", "GET", sent)).path


@pytest.mark.parametrize(
    ("path", "prefix", "sent", "expected"),
    [
        (PathPrefix("/api/"), "/", "/api/x?q=1", "/x?q=1"),
        (PathPrefix("/api"), "/v2", "/api/x", "/v2/x"),
        (PathPrefix("/api"), "/", "/api/x", "//x"),  # as Envoy does it
        (PathSeparatedPrefix("/api"), "/v2", "/api/x", "/v2/x"),
        (PathSeparatedPrefix("/api"), "/v2", "/api?q", "/v2?q"),
        (PathExact("/api"), "/v2", "/api?q=/api", "/v2?q=/api"),
        (PathRegex("/a.*"), "/v2", "/api/x?q=1", "/v2?q=1"),
        (PathRegex("/a.*"), "/v2", "/api#f", "/v2#f"),
    ],
)
def test_the_part_that_matched_is_replaced(
    path: PathMatcher, prefix: str, sent: str, expected: str
) -> None:
    assert rewritten(path, prefix, sent) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PathPrefix("/API"), "/v2/x?q"),
        (PathSeparatedPrefix("/API"), "/v2/x?q"),
        (PathExact("/API/x"), "/v2?q"),
    ],
)
def test_what_matched_in_another_case_is_replaced_too(path: PathMatcher, expected: str) -> None:
    assert rewritten(path, "/v2", "/api/x?q", case_sensitive=False) == expected


def test_the_authority_is_replaced_and_nothing_else() -> None:
    action = RouteAction(cluster="c", host_rewrite_literal="ratings")
    request = Request("reviews:9080", "GET", "/x", "reviews", headers=(("a", "1"),))
    changed = Rewrite(RouteMatch(), action, (), python_finditer)(request)
    told = (("a", "1"), ("x-envoy-original-host", "reviews"))
    assert changed == Request("reviews:9080", "GET", "/x", "ratings", headers=told)
    assert request.authority == "reviews"


def test_a_route_that_changes_nothing_needs_no_rewrite() -> None:
    levels = (HeaderMutations(), HeaderMutations(response_headers_to_remove=("x",)))
    acting = request_levels(levels, Whereabouts())
    assert not Rewrite(RouteMatch(), RouteAction(cluster="c"), acting, python_finditer).is_needed


def headers_after(*levels: HeaderMutations, given: Headers = (("a", "1"), ("b", "2"))) -> Headers:
    acting = request_levels(levels, Whereabouts())
    rewrite = Rewrite(RouteMatch(), RouteAction(cluster="c"), acting, python_finditer)
    return rewrite(Request("reviews:9080", "GET", "/", headers=given)).headers


def add(name: str, value: str, action: str = "append_if_exists_or_add") -> HeaderMutations:
    option = HeaderValueOption(name=name, value=value, append_action=action)
    return HeaderMutations(request_headers_to_add=(option,))


@pytest.mark.parametrize(
    ("name", "action", "expected"),
    [
        ("A", "append_if_exists_or_add", (("a", "1"), ("b", "2"), ("a", "9"))),
        ("a", "add_if_absent", (("a", "1"), ("b", "2"))),
        ("c", "add_if_absent", (("a", "1"), ("b", "2"), ("c", "9"))),
        ("a", "overwrite_if_exists_or_add", (("b", "2"), ("a", "9"))),
        ("c", "overwrite_if_exists_or_add", (("a", "1"), ("b", "2"), ("c", "9"))),
        ("a", "overwrite_if_exists", (("b", "2"), ("a", "9"))),
        ("c", "overwrite_if_exists", (("a", "1"), ("b", "2"))),
    ],
)
def test_a_header_is_added_as_its_action_says(name: str, action: str, expected: Headers) -> None:
    assert headers_after(add(name, "9", action)) == expected


def test_an_empty_value_is_only_kept_on_request() -> None:
    keep = HeaderValueOption(name="c", value="", keep_empty_value=True)
    assert headers_after(add("c", "")) == (("a", "1"), ("b", "2"))
    assert headers_after(HeaderMutations(request_headers_to_add=(keep,)))[-1] == ("c", "")


def test_a_level_removes_before_it_adds() -> None:
    option = HeaderValueOption(name="a", value="9")
    level = HeaderMutations(request_headers_to_remove=("A",), request_headers_to_add=(option,))
    assert headers_after(level) == (("b", "2"), ("a", "9"))


def test_an_outer_level_acts_on_what_the_inner_one_made() -> None:
    inner = add("x", "inner")
    outer = HeaderMutations(request_headers_to_remove=("x",))
    assert headers_after(inner, outer) == (("a", "1"), ("b", "2"))
    assert headers_after(outer, inner)[-1] == ("x", "inner")


@pytest.mark.parametrize("name", ["host", "TE", ":path", "grpc-timeout", "grpc-encoding"])
def test_what_the_call_itself_is_made_of_stays_as_it_is(name: str) -> None:
    given = ((name.lower(), "1"),)
    removal = HeaderMutations(request_headers_to_remove=(name,))
    assert headers_after(removal, add(name, "9"), given=given) == given


def rewritten_by(action: RouteAction, request: Request, *levels: HeaderMutations) -> Request:
    acting = request_levels(levels, Whereabouts())
    return Rewrite(RouteMatch(path=PathPrefix("/api")), action, acting, python_finditer)(request)


CALL = Request("reviews:9080", "GET", "/api/v1/x?q=1", headers=(("x-to", "there"), ("x-to", "b")))


@pytest.mark.parametrize(
    ("action", "authority"),
    [
        (RouteAction(cluster="c", host_rewrite_literal="new"), "new"),
        (RouteAction(cluster="c", host_rewrite_header="X-To"), "there"),
        (RouteAction(cluster="c", host_rewrite_header="x-none"), ""),
        (
            RouteAction(
                cluster="c",
                host_rewrite_path_regex=RegexRewrite(
                    pattern="^/api/(v[0-9])/.*$", substitution=r"\1.shop"
                ),
            ),
            "v1.shop",
        ),
    ],
)
def test_a_host_is_rewritten_by_what_the_route_says(action: RouteAction, authority: str) -> None:
    made = rewritten_by(action, CALL)
    assert made.authority == authority
    assert made.header("x-envoy-original-host") == ("reviews:9080" if authority else None)


def test_a_path_is_rewritten_by_a_regex_and_its_query_is_left_alone() -> None:
    rewrite = RegexRewrite(pattern="/(v[0-9])/", substitution=r"/\\\1/")
    made = rewritten_by(RouteAction(cluster="c", regex_rewrite=rewrite), CALL)
    assert made.path == "/api/\\v1/x?q=1"
    assert made.header("x-envoy-original-path") == "/api/v1/x?q=1"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), "reviews:9080"),
        ((("x-forwarded-host", "a"),), "a,reviews:9080"),
        ((("x-forwarded-host", "a,reviews:9080"),), "a,reviews:9080"),
    ],
)
def test_the_old_host_is_told_where_that_is_asked_for(before: Headers, after: str) -> None:
    action = RouteAction(cluster="c", host_rewrite_literal="new", append_x_forwarded_host=True)
    request = Request("reviews:9080", "GET", "/api", headers=before)
    assert rewritten_by(action, request).header("x-forwarded-host") == after
    stays = RouteAction(cluster="c", host_rewrite_header="x-none", append_x_forwarded_host=True)
    assert rewritten_by(stays, request).headers == before


def test_values_tell_of_the_old_host_and_path() -> None:
    action = RouteAction(cluster="c", host_rewrite_literal="new", prefix_rewrite="/v2")
    level = add("x", "%REQ(:authority)%%REQ(:path)%")
    assert rewritten_by(action, CALL, level).header("x") == "reviews:9080/api/v1/x?q=1"


def test_a_value_is_filled_in_when_the_level_has_removed_and_not_yet_added() -> None:
    options = (
        HeaderValueOption(name="a", value="%REQ(b)%|%REQ(a)%"),
        HeaderValueOption(name="c", value="%REQ(a)%", keep_empty_value=True),
    )
    level = HeaderMutations(request_headers_to_remove=("a",), request_headers_to_add=options)
    assert headers_after(level) == (("b", "2"), ("a", "2|"), ("c", ""))


def test_what_replaces_comes_before_what_is_added() -> None:
    options = (
        HeaderValueOption(name="a", value="8", append_action="append_if_exists_or_add"),
        HeaderValueOption(name="a", value="9", append_action="overwrite_if_exists_or_add"),
    )
    level = HeaderMutations(request_headers_to_add=options)
    assert headers_after(level) == (("b", "2"), ("a", "9"), ("a", "8"))


def test_the_headers_and_host_of_a_weight_come_first() -> None:
    own = request_levels((add("x", "%REQ(:authority)%"),), Whereabouts())
    around = request_levels((add("x", "%REQ(:authority)%"),), Whereabouts())
    action = RouteAction(cluster="c")
    rewrite = Rewrite(RouteMatch(), action, around, python_finditer, (own, "canary"))
    made = rewrite(CALL)
    assert made.authority == "canary"
    assert made.headers[2:] == (("x", "reviews:9080"), ("x", "canary"))


@pytest.mark.parametrize(
    ("pattern", "substitution", "expected"),
    [
        ("a*", "x", "xbxcx"),  # RE2 finds no empty text right after what it has found
        ("(a)(z)?", r"[\2\1\0]", "b[aa][aa]c"),
        ("c", r"\\", "baa\\"),
        ("z", "-", "baac"),
    ],
)
def test_every_match_is_replaced(pattern: str, substitution: str, expected: str) -> None:
    rewrite = RegexRewrite(pattern=pattern, substitution=substitution)
    for finditer in (python_finditer, re2_finditer):
        assert replacing(rewrite, finditer)("baac") == expected
