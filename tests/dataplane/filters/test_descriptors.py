import pytest

from meshlib.dataplane import CallRecord, python_regex
from meshlib.dataplane.filters.chain import Kept, Site
from meshlib.dataplane.filters.descriptors import Descriptors, host_of
from meshlib.model import (
    DestinationCluster,
    Exact,
    GenericKey,
    HeaderMatcher,
    HeaderValueMatch,
    QueryParameter,
    RateLimit,
    RemoteAddress,
    RequestHeader,
    SourceCluster,
)
from meshlib.testing import FakeClock, always, get

SITE = Site(
    place=("table",),
    clock=FakeClock(),
    dice=always(0.0),
    regex=python_regex,
    kept=Kept(),
    clusters={},
    service="productpage",
)
HEADER = RequestHeader(header_name="X-User", descriptor_key="user")
QUERY = QueryParameter(query_parameter_name="page", descriptor_key="page")
JASON = (HeaderMatcher(name="x-user", match=Exact("jason")),)


def described(*actions, **request):
    asked = get("reviews:9080", **request)
    return Descriptors((RateLimit(actions=actions),), SITE)(asked, CallRecord(asked, 0.0))


@pytest.mark.parametrize(
    ("action", "request_fields", "entry"),
    [
        (GenericKey(descriptor_value="all"), {}, ("generic_key", "all")),
        (GenericKey(descriptor_value="v", descriptor_key="k"), {}, ("k", "v")),
        (HEADER, {"headers": (("x-user", "jason"),)}, ("user", "jason")),
        (QUERY, {"path": "/a?page=7"}, ("page", "7")),
        (RemoteAddress(), {"source": "10.1.2.3:4711"}, ("remote_address", "10.1.2.3")),
        (SourceCluster(), {}, ("source_cluster", "productpage")),
        (
            HeaderValueMatch(descriptor_value="vip", headers=JASON),
            {"headers": (("x-user", "jason"),)},
            ("header_match", "vip"),
        ),
        (
            HeaderValueMatch(descriptor_value="other", headers=JASON, expect_match=False),
            {},
            ("header_match", "other"),
        ),
    ],
)
def test_an_action_makes_an_entry(action, request_fields, entry) -> None:
    assert described(action, **request_fields) == ((entry,),)


@pytest.mark.parametrize(
    "action",
    [
        HEADER,
        QUERY,
        RemoteAddress(),
        DestinationCluster(),
        HeaderValueMatch(descriptor_value="vip", headers=JASON),
    ],
)
def test_an_action_with_nothing_to_say_makes_no_descriptor(action) -> None:
    assert described(GenericKey(descriptor_value="all"), action) == ()


def test_an_action_that_may_be_skipped_is_left_out() -> None:
    skipped = RequestHeader(header_name="x-user", descriptor_key="user", skip_if_absent=True)
    assert described(GenericKey(descriptor_value="all"), skipped) == ((("generic_key", "all"),),)
    assert described(skipped) == ()


@pytest.mark.parametrize(
    ("source", "host"),
    [
        ("10.0.0.1:80", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::1]:80", "::1"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_an_address_is_told_from_its_port(source, host) -> None:
    assert host_of(source) == host
