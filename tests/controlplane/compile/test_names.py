"""Names: how hosts are said, and which rule fits which."""

import pytest

from meshlib.controlplane.compile.names import (
    HostIndex,
    full_host,
    host_forms,
    host_matches,
    is_exported,
)

REVIEWS = "reviews.shop.svc.cluster.local"


@pytest.mark.parametrize(
    "said, meant",
    [
        ("reviews", REVIEWS),
        ("Reviews", REVIEWS),
        ("reviews.shop", "reviews.shop"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
    ],
)
def test_a_name_without_dots_is_a_service_of_the_manifests_namespace(said, meant):
    assert full_host(said, "shop") == meant


def test_the_shortest_name_is_for_neighbours_only():
    assert next(iter(host_forms(REVIEWS, "shop"))) == "reviews"
    assert list(host_forms(REVIEWS, "other")) == ["reviews.shop", "reviews.shop.svc", REVIEWS]
    assert list(host_forms("api.example.com", "shop")) == ["api.example.com"]


def test_the_most_specific_pattern_wins():
    patterns = [(p, p) for p in ("*", "*.com", "*.example.com", "api.example.com")]
    index = HostIndex(patterns)
    assert index.best("api.example.com") == ("api.example.com",)
    assert index.best("www.example.com") == ("*.example.com",)
    assert index.best("www.example.org") == ("*",)
    assert HostIndex(patterns[1:]).best("www.example.org") == ()
    assert set(index.all("www.example.com")) == {"*", "*.com", "*.example.com"}
    assert set(index.below("*.example.com")) == {"*.example.com", "api.example.com"}


def test_a_wildcard_does_not_match_its_bare_domain():
    assert not host_matches("*.example.com", "example.com")


@pytest.mark.parametrize(
    "export_to, viewer, sees",
    [
        ((), "b", True),
        (("*",), "b", True),
        ((".",), "a", True),
        ((".",), "b", False),
        (("b", "c"), "b", True),
        (("b", "c"), "a", False),
        (("~",), "a", False),
    ],
)
def test_export_to_says_who_sees(export_to, viewer, sees):
    assert is_exported(export_to, "a", viewer) is sees
