import pytest

from meshlib.dataplane import Request, Response, python_regex
from meshlib.dataplane.routing.local_answer import compile_answer
from meshlib.dataplane.routing.parts import Parts
from meshlib.dataplane.routing.rewrite import Respond
from meshlib.model import PathPrefix, PathRegex, RedirectAction, RegexRewrite, Route, RouteMatch
from meshlib.testing import always

PREFIX = RouteMatch(path=PathPrefix("/api"))


def located(action: RedirectAction, request: Request, match: RouteMatch = PREFIX) -> str | None:
    route = Route(match=match, action=action)
    answer = compile_answer(route, Respond(()), Parts({}, python_regex, always(0.0)))
    made = answer(request, None)
    assert isinstance(made, Response)
    return made.header("location")


@pytest.mark.parametrize(
    ("action", "location"),
    [
        (RedirectAction(), "http://reviews:9080/api/x?q=1"),
        (RedirectAction(host_redirect="new"), "http://new/api/x?q=1"),
        (RedirectAction(path_redirect="/y"), "http://reviews:9080/y?q=1"),
        (RedirectAction(path_redirect="/y?z=2"), "http://reviews:9080/y?z=2"),
        (RedirectAction(path_redirect="/y?z=2", strip_query=True), "http://reviews:9080/y?z=2"),
        (RedirectAction(strip_query=True), "http://reviews:9080/api/x"),
        (RedirectAction(prefix_rewrite="/v2"), "http://reviews:9080/v2/x?q=1"),
        (
            RedirectAction(regex_rewrite=RegexRewrite(pattern="/a(.)i", substitution=r"/\1")),
            "http://reviews:9080/p/x?q=1",
        ),
        (RedirectAction(path_redirect="there"), "http://reviews:9080/there?q=1"),
        (RedirectAction(https_redirect=True), "https://reviews:9080/api/x?q=1"),
        (RedirectAction(scheme_redirect="https"), "https://reviews:9080/api/x?q=1"),
        (RedirectAction(port_redirect=8443), "http://reviews:8443/api/x?q=1"),
        (
            RedirectAction(host_redirect="new", port_redirect=80, https_redirect=True),
            "https://new:80/api/x?q=1",
        ),
    ],
)
def test_a_redirect_names_the_whole_url(action: RedirectAction, location: str) -> None:
    request = Request("reviews:9080", "GET", "/api/x?q=1")
    assert located(action, request) == location


@pytest.mark.parametrize(
    ("scheme", "authority", "action", "host"),
    [
        ("http", "shop:80", RedirectAction(https_redirect=True), "https://shop/"),
        ("http", "[::1]:80", RedirectAction(https_redirect=True), "https://[::1]/"),
        ("https", "shop:443", RedirectAction(scheme_redirect="http"), "http://shop/"),
        ("http", "shop:443", RedirectAction(https_redirect=True), "https://shop:443/"),
        ("https", "shop:443", RedirectAction(https_redirect=True), "https://shop:443/"),
        ("ftp", "shop:80", RedirectAction(https_redirect=True), "https://shop:80/"),
        (
            "http",
            "a:80",
            RedirectAction(https_redirect=True, host_redirect="b:80"),
            "https://b:80/",
        ),
    ],
)
def test_the_standard_port_of_the_old_scheme_is_not_carried_over(
    scheme: str, authority: str, action: RedirectAction, host: str
) -> None:
    request = Request("shop:80", "GET", "/", authority, scheme)
    assert located(action, request) == host


def test_a_regex_gives_its_whole_path_away() -> None:
    match = RouteMatch(path=PathRegex("/a.*"))
    request = Request("shop:80", "GET", "/api/x?q", "shop")
    assert located(RedirectAction(prefix_rewrite="/v2"), request, match) == "http://shop/v2?q"
