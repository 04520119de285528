import re

from hypothesis import given
from hypothesis import strategies as st

from meshlib.identity.names import SUFFIX, derived_name, is_reserved

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"


def test_the_derived_name_is_the_hash_of_the_id(reviews):
    expected = "dcpolrrejkxeko4qjd7ejrhwgrmv2rha4acjggyvtpbr6wtae3ba.sid.meshlib.invalid"
    assert derived_name(REVIEWS) == derived_name(reviews) == expected


@given(st.text(max_size=80), st.text(max_size=80))
def test_two_ids_never_share_a_name(one, other):
    assert (derived_name(one) == derived_name(other)) == (one == other)


@given(st.text(max_size=300))
def test_every_name_is_a_host_name(text):
    assert re.fullmatch(r"[a-z2-7]{52}", derived_name(text).removesuffix(SUFFIX))
    assert is_reserved(derived_name(text))


def test_all_spellings_under_the_suffix_are_reserved():
    for name in ("a.SID.meshlib.Invalid", "*.sid.meshlib.invalid", "sid.meshlib.invalid."):
        assert is_reserved(name)
    for name in ("sid.meshlib.invalid.example.com", "notsid.meshlib.invalid", "reviews"):
        assert not is_reserved(name)
