import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.identity.credentials import IdentityError
from meshlib.identity.spiffe import SpiffeId, TrustDomain

SEGMENT = st.text("abcXYZ019._-", min_size=1, max_size=12).filter(lambda s: s not in {".", ".."})
DOMAIN = st.text("abcxyz019._-", min_size=1, max_size=40)

NOT_YET: dict[str, str] = {}
"""Rows that meshlib does not read as go-spiffe does, with the reason."""


def verdict(parse, text):
    try:
        return parse(text)
    except IdentityError:
        return None


def test_every_id_of_the_published_vectors_is_read_as_it_should_be(testdata):
    rows = json.loads((testdata / "spiffe_ids.json").read_text())["spiffe_id"]
    assert len(rows) == 535
    wrong = {}
    for row in rows:
        found = verdict(SpiffeId.parse, row["input"])
        expected = (row["trust_domain"], row["path"]) if row["ok"] else None
        got = None if found is None else (str(found.trust_domain), found.path)
        if got != expected:
            wrong[row["input"]] = got
    assert wrong.keys() == NOT_YET.keys()


def test_every_trust_domain_of_the_published_vectors_is_read_as_it_should_be(testdata):
    rows = json.loads((testdata / "spiffe_ids.json").read_text())["trust_domain"]
    assert len(rows) == 10
    assert [verdict(TrustDomain.parse, row["input"]) is not None for row in rows] == [
        row["ok"] for row in rows
    ]
    assert str(TrustDomain.parse("spiffe://trustdomain/path")) == "trustdomain"


def test_the_longest_lengths_are_taken_and_no_more(testdata):
    longest = json.loads((testdata / "spiffe_ids.json").read_text())["max_lengths"]
    domain = "a" * longest["trust_domain"]
    assert str(TrustDomain.parse(domain)) == domain
    with pytest.raises(IdentityError, match="longer than 255"):
        TrustDomain.parse(domain + "a")
    text = "spiffe://td/".ljust(longest["uri"], "p")
    assert str(SpiffeId.parse(text)) == text
    with pytest.raises(IdentityError, match="2049 characters are more than 2048"):
        SpiffeId.parse(text + "p")
    with pytest.raises(IdentityError, match="2049"):
        SpiffeId(TrustDomain("td"), text.removeprefix("spiffe://td") + "p")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "cannot be empty"),
        ("http://td/a", "does not begin with spiffe://"),
        ("spiffe:/td/a", "does not begin with spiffe://"),
        ("spiffe:///a", "trust domain is missing"),
        ("spiffe://tD/a", r"character 11 is 'D'; a trust domain"),
        ("spiffe://td:80/a", r"character 12 is ':'"),
        ("spiffe://me@td/a", r"character 12 is '@'"),
        ("spiffe://td?x", r"character 12 is '\?'"),
        ("spiffe://td/a b", r"character 14 is ' '; a path"),
        ("spiffe://td/a%2fb", r"character 14 is '%'"),
        ("spiffe://td/a?b", r"character 14 is '\?'"),
        ("spiffe://td/a#b", r"character 14 is '#'"),
        ("spiffe://td/a\n", r"character 14 is '\\n'"),
        ("spiffe://td/a/", r"ends with '/' at character 14"),
        ("spiffe://td//a", r"segment '' at character 13"),
        ("spiffe://td/a/../b", r"segment '\.\.' at character 15"),
    ],
)
def test_what_is_wrong_with_an_id_is_told_with_its_place(text, what):
    with pytest.raises(IdentityError, match=what):
        SpiffeId.parse(text)


def test_an_endless_id_is_shown_in_part_only():
    with pytest.raises(IdentityError) as refused:
        SpiffeId.parse("spiffe://td/" + "\n" * 2000)
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def test_the_scheme_may_be_shouted_and_is_stored_in_lower_case():
    assert str(SpiffeId.parse("SPIFFE://td/A")) == "spiffe://td/A"


def test_a_path_is_compared_letter_by_letter():
    assert SpiffeId.parse("spiffe://td/ns/A") != SpiffeId.parse("spiffe://td/ns/a")


def test_a_value_made_by_hand_is_checked_too():
    with pytest.raises(IdentityError, match="does not begin with '/'"):
        SpiffeId(TrustDomain("td"), "a")
    with pytest.raises(IdentityError):
        TrustDomain("TD")
    assert TrustDomain("td").id == "spiffe://td"


def test_a_workload_is_named_as_istio_does():
    made = SpiffeId.of_workload(TrustDomain("cluster.local"), "prod", "reviews")
    assert str(made) == "spiffe://cluster.local/ns/prod/sa/reviews"


@pytest.mark.parametrize("part", ["a/sa/b", "", "..", "a b"])
def test_a_name_cannot_escape_from_its_place_in_the_path(part):
    with pytest.raises(IdentityError):
        SpiffeId.of_workload(TrustDomain("td"), part, "b")
    with pytest.raises(IdentityError):
        SpiffeId.of_workload(TrustDomain("td"), "a", part)


@given(DOMAIN, st.lists(SEGMENT, max_size=6))
def test_what_is_written_is_read_back(domain, segments):
    made = SpiffeId(TrustDomain(domain), "".join(f"/{one}" for one in segments))
    assert SpiffeId.parse(str(made)) == made


@given(st.text(max_size=60))
def test_whatever_is_read_has_one_spelling(text):
    found = verdict(SpiffeId.parse, f"spiffe://{text}")
    assert found is None or str(found) == f"spiffe://{text}"
