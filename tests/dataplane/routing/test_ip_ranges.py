"""Addresses as libraries write them, and ranges of them."""

import pytest

from meshlib.dataplane.routing.ip_ranges import NOWHERE, place_of, range_test
from meshlib.model.rbac import CidrRange


@pytest.mark.parametrize(
    ("address", "version", "port"),
    [
        ("10.1.2.3:80", 4, 80),
        ("[2001:db8::1]:443", 6, 443),
        ("[fe80::1%eth0]:443", 6, 443),
        ("[::ffff:10.1.2.3]:80", 4, 80),
        (":80", 0, 80),
        ("10.1.2.3:", 4, None),
        ("10.1.2.3:http", 4, None),
        ("10.1.2.3:999999", 4, None),
    ],
)
def test_an_address_is_read_with_its_port(address: str, version: int, port: int | None) -> None:
    place = place_of(address)
    assert (place.version, place.port) == (version, port)


@pytest.mark.parametrize(
    "address", ["", "unix:/run/x", "reviews:80", "10.1.2.3", "[::1]", "80", ":http"]
)
def test_what_is_no_address_is_nowhere(address: str) -> None:
    assert place_of(address) == NOWHERE


@pytest.mark.parametrize(
    ("prefix", "length", "address", "within"),
    [
        ("10.0.0.0", 8, "10.255.0.1:1", True),
        ("10.0.0.0", 8, "11.0.0.1:1", False),
        ("10.9.9.9", 8, "10.0.0.1:1", True),
        ("10.1.2.3", 32, "10.1.2.3:1", True),
        ("10.1.2.3", 32, "10.1.2.4:1", False),
        ("0.0.0.0", 0, "1.2.3.4:1", True),
        ("0.0.0.0", 0, "[::1]:1", False),
        ("::", 0, "[::1]:1", True),
        ("::", 0, "1.2.3.4:1", False),
        ("2001:db8::", 32, "[2001:db8:1::5]:1", True),
        ("2001:db8::", 32, "[2001:db9::5]:1", False),
        ("10.0.0.0", 8, "[::ffff:10.0.0.1]:1", True),
        ("::ffff:10.0.0.0", 104, "10.0.0.1:1", True),
        ("::ffff:10.0.0.0", 104, "11.0.0.1:1", False),
        ("::ffff:0:0", 90, "10.0.0.1:1", False),
    ],
)
def test_an_address_is_within_a_range(prefix: str, length: int, address: str, within: bool) -> None:
    assert range_test(CidrRange(prefix, length))(place_of(address)) is within


@pytest.mark.parametrize("wrong", [CidrRange("x", 8), CidrRange("10.0.0.0", 33)])
def test_what_is_no_range_is_refused(wrong: CidrRange) -> None:
    with pytest.raises(ValueError, match=r"x|33"):
        range_test(wrong)
