import pytest

from meshlib.dataplane.routing.virtual_hosts import VirtualHosts, without_port

HOSTS = VirtualHosts(
    [
        (["*"], "any"),
        (["reviews.*"], "prefix"),
        (["reviews.default.*"], "longer prefix"),
        (["*.local"], "suffix"),
        (["*.svc.local"], "longer suffix"),
        (["reviews:9080", "Reviews.Default"], "exact"),
    ],
    ignore_port=False,
)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("reviews:9080", "exact"),
        ("REVIEWS:9080", "exact"),
        ("reviews.default", "exact"),
        ("reviews.default.svc.local", "longer suffix"),
        ("reviews.local", "suffix"),
        ("reviews.default.example", "longer prefix"),
        ("reviews.example", "prefix"),
        (".local", "any"),
        ("reviews.", "any"),
        ("reviews:80", "any"),
        ("", "any"),
    ],
)
def test_the_most_specific_domain_answers(authority: str, host: str) -> None:
    assert HOSTS.find(authority) == host
    assert HOSTS.find(authority) == host  # remembered


def test_nobody_answers_for_an_unknown_host_without_a_catch_all() -> None:
    hosts = VirtualHosts([(["a"], "a")], ignore_port=False)
    assert hosts.find("b") is None
    assert hosts.find("b") is None


def test_a_port_is_ignored_where_the_table_says_so() -> None:
    hosts = VirtualHosts([(["a"], "a"), (["[::1]"], "six")], ignore_port=True)
    assert hosts.find("a:9080") == "a"
    assert hosts.find("[::1]:9080") == "six"
    assert VirtualHosts([(["a"], "a")], ignore_port=False).find("a:9080") is None


def test_a_memory_of_hosts_stays_small() -> None:
    hosts = VirtualHosts([(["*"], "any")], ignore_port=False)
    for number in range(5000):
        assert hosts.find(f"host-{number}") == "any"
    assert len(hosts._memo) <= 1024


@pytest.mark.parametrize(
    ("authority", "host"),
    [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:b", "a:b")],
)
def test_a_port_is_what_stands_after_the_last_colon(authority: str, host: str) -> None:
    assert without_port(authority) == host
