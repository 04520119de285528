import pytest

from meshlib.errors import ConfigError
from meshlib.xds.names import authority, canonical, listener_name, parse

TYPE = "envoy.config.listener.v3.Listener"


def test_o6_names_are_equal_whatever_the_order_of_their_parameters() -> None:
    one, other = (f"xdstp://a/{TYPE}/x?{params}" for params in ("b=2&a=1", "a=1&b=2"))
    assert canonical(one) == canonical(other)
    assert parse(one) == parse(other)


def test_o6_old_names_are_left_alone() -> None:
    for name in ("reviews:9080", "outbound|9080|v1|reviews.default.svc.cluster.local", ""):
        assert canonical(name) == name
        assert parse(name) is None
        assert authority(name) is None


def test_o6_a_name_says_who_answers_for_it() -> None:
    assert authority(f"xdstp://here/{TYPE}/x?a=1") == "here"
    assert authority(f"xdstp:///{TYPE}/x") == ""


def test_o6_a_plus_is_a_plus_and_what_must_be_is_encoded() -> None:
    name = f"xdstp://a/{TYPE}/x%20y?k=a+b&l=c%26d/e"
    assert canonical(name) == name
    assert parse(name).params == (("k", "a+b"), ("l", "c&d/e"))


def test_o6_targets_are_percent_encoded_in_xdstp_templates_only() -> None:
    assert listener_name("%s", "a b:1") == "a b:1"
    assert listener_name("lds/%s", "a b:1") == "lds/a b:1"
    assert listener_name(f"xdstp://a/{TYPE}/%s", "a b:1") == f"xdstp://a/{TYPE}/a%20b:1"


@pytest.mark.parametrize("name", ["xdstp:", "xdstp://a", "xdstp://a/type", "xdstp://[/t/x"])
def test_what_only_looks_like_xdstp_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not xdstp://authority/type/id"):
        parse(name)
    assert canonical(name) == name


def test_an_id_may_have_slashes() -> None:
    parsed = parse(f"xdstp://a/{TYPE}/x/y/z")
    assert parsed is not None
    assert (parsed.authority, parsed.resource_type, parsed.id) == ("a", TYPE, "x/y/z")
