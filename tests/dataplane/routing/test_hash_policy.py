import pytest

from meshlib.dataplane import CallRecord, Headers, Request, Whereabouts, python_regex
from meshlib.dataplane.routing.hash_policy import HashPolicies
from meshlib.dataplane.routing.hashing import xx_hash_64
from meshlib.dataplane.routing.parts import Parts
from meshlib.model import (
    HashCookie,
    HashFilterState,
    HashHeader,
    HashPolicy,
    HashQueryParameter,
    HashSourceIp,
    RegexRewrite,
)
from meshlib.testing import always

MASK = (1 << 64) - 1
HERE = Whereabouts(hostname="pod-1")


def key(
    *policies: HashPolicy,
    path: str = "/",
    headers: Headers = (),
    source: str = "",
    is_grpc: bool = False,
) -> int | None:
    parts = Parts({}, python_regex, always(0.5), whereabouts=HERE)
    request = Request("reviews:9080", "GET", path, headers=headers, source=source, is_grpc=is_grpc)
    return HashPolicies(policies, "table", parts)(request)


def turned(number: int) -> int:
    return ((number << 1) | (number >> 63)) & MASK


X = HashHeader(header_name="X")


def test_a_header_is_hashed_as_envoy_hashes_it() -> None:
    assert key(X, headers=(("x", "foo"),)) == 3728699739546630719
    assert key(X) is None
    assert key(HashHeader(header_name=":path"), path="/a?b") == xx_hash_64("/a?b")


def test_a_header_may_be_rewritten_before() -> None:
    rewrite = RegexRewrite(pattern="(.*)-.*", substitution=r"\1")
    policy = HashHeader(header_name="x", regex_rewrite=rewrite)
    assert key(policy, headers=(("x", "foo-7"),)) == xx_hash_64("foo")


def test_the_values_of_a_header_count_in_any_order_but_as_one_text_for_grpc() -> None:
    one, other = (("x", "a"), ("x", "b")), (("x", "b"), ("x", "a"))
    assert key(X, headers=one) == key(X, headers=other) == xx_hash_64("b", xx_hash_64("a"))
    assert key(X, headers=one, is_grpc=True) == xx_hash_64("a,b")
    assert key(HashHeader(header_name="x-bin"), headers=(("x-bin", "a"),), is_grpc=True) is None


@pytest.mark.parametrize(
    ("source", "hashed"), [("10.0.0.1:80", "10.0.0.1"), ("[::1]:80", "::1"), ("", "pod-1")]
)
def test_the_source_is_hashed_without_its_port(source: str, hashed: str) -> None:
    assert key(HashSourceIp(), source=source) == xx_hash_64(hashed)


def test_a_parameter_of_the_query_is_hashed() -> None:
    assert key(HashQueryParameter(name="q"), path="/?q=a&q=b") == xx_hash_64("a")
    assert key(HashQueryParameter(name="q"), path="/") is None


def test_policies_are_combined_and_two_alike_do_not_cancel_each_other_out() -> None:
    alone = xx_hash_64("a")
    assert key(X, HashHeader(header_name="y"), headers=(("x", "a"),)) == alone
    assert key(X, X, headers=(("x", "a"),)) == turned(alone) ^ alone


def test_a_terminal_policy_that_has_something_to_say_is_the_last() -> None:
    last = HashHeader(header_name="x", terminal=True)
    other = HashHeader(header_name="y")
    headers = (("x", "a"), ("y", "b"))
    assert key(last, other, headers=headers) == xx_hash_64("a")
    assert key(last, other, headers=headers[1:]) == xx_hash_64("b")


@pytest.mark.parametrize(
    "line", ["u=joe", "a=b; u=joe", 'u="joe"; u=eve', "uu=eve;u=joe", "u=joe;u=eve"]
)
def test_the_value_of_a_cookie_is_hashed(line: str) -> None:
    assert key(HashCookie(name="u"), headers=(("cookie", line),)) == xx_hash_64("joe")


def test_a_cookie_is_only_made_where_it_is_given_a_time() -> None:
    policy = HashCookie(name="u", ttl=60.5, path="/a", attributes=(("SameSite", "Lax"), ("P", "")))
    request = Request("reviews:9080", "GET", "/")
    record = CallRecord(request, 0.0)
    parts = Parts({}, python_regex, always(0.5))
    made = HashPolicies((policy,), "table", parts)(request, record)
    assert made == xx_hash_64("8000000000000000")
    assert record.respond is not None
    assert record.respond((("x", "1"),)) == (
        ("x", "1"),
        (
            "set-cookie",
            'u="8000000000000000"; Max-Age=60; Path=/a; SameSite=Lax; P; HttpOnly',
        ),
    )
    assert key(HashCookie(name="u")) is None


def test_a_cookie_of_the_session_has_no_age() -> None:
    request = Request("reviews:9080", "GET", "/")
    record = CallRecord(request, 0.0)
    parts = Parts({}, python_regex, always(0.0))
    HashPolicies((HashCookie(name="u", ttl=0.0),), "table", parts)(request, record)
    assert record.respond is not None
    assert record.respond(()) == (("set-cookie", f'u="{"0" * 16}"; HttpOnly'),)


def test_all_calls_of_a_channel_go_one_way_and_other_state_is_unknown() -> None:
    channel = HashFilterState(key="io.grpc.channel_id")
    assert key(channel) == key(channel, path="/other") == 1 << 63
    assert key(HashFilterState(key="else")) is None
