import pytest

from meshlib.errors import ConfigError
from meshlib.xds.names import authority_of, canonical, listener_name, parse

TYPE = "envoy.config.listener.v3.Listener"


def test_o6_names_are_equal_whatever_the_order_of_their_parameters() -> None:
    one, other = (f"xdstp://a/{TYPE}/x?{params}" for params in ("b=2&a=1", "a=1&b=2"))
    assert canonical(one) == canonical(other)
    assert parse(one) == parse(other)


def test_o6_old_names_are_left_alone() -> None:
    for name in ("reviews:9080", "outbound|9080|v1|reviews.default.svc.cluster.local", ""):
        assert canonical(name) == name
        assert parse(name) is None
        assert authority_of(name, {}) is None


def test_o6_an_unknown_authority_is_an_error_and_not_the_default_server() -> None:
    with pytest.raises(ConfigError, match="no authority 'there'"):
        authority_of(f"xdstp://there/{TYPE}/x", {"here": {}})
    assert authority_of(f"xdstp://here/{TYPE}/x", {"here": {}}) == "here"


def test_o6_the_empty_authority_is_one_too() -> None:
    assert authority_of(f"xdstp:///{TYPE}/x", {"": {}}) == ""


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
