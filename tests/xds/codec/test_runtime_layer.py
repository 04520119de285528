import pytest

from meshlib.errors import ConfigError
from meshlib.model import Percentage
from meshlib.model.runtime import RuntimeLayer
from meshlib.xds.codec import decode, decode_snapshot, encode
from meshlib.xds.types import RUNTIME


def layer_of(**values: object) -> RuntimeLayer:
    snapshot = decode_snapshot([{"@type": RUNTIME, "name": "rtds", "layer": values}])
    return snapshot.runtimes["rtds"]


def test_a_layer_survives_the_wire() -> None:
    layer = RuntimeLayer(
        name="rtds",
        values=(
            ("a.flag", True),
            ("a.share", Percentage(numerator=5, denominator=1_000_000)),
            ("number", 12.5),
            ("word", "yes"),
        ),
    )
    packed = encode(layer)
    decoded = decode(packed.type_url, packed.value)
    assert (decoded.resource, decoded.ignored) == (layer, ())


def test_keys_of_structures_are_joined_by_dots() -> None:
    assert layer_of(routes={"canary": {"share": 5}}).values == (("routes.canary.share", 5.0),)


@pytest.mark.parametrize(
    ("value", "share"),
    [
        (5, 0.05),
        (0, 0.0),
        (200, 1.0),
        ({"numerator": 5}, 0.05),
        ({"numerator": 5, "denominator": "TEN_THOUSAND"}, 0.0005),
    ],
)
def test_a_whole_number_means_per_cent_and_a_fraction_itself(value: object, share: float) -> None:
    assert layer_of(canary=value).shares() == {"canary": share}


@pytest.mark.parametrize("value", [True, "5", 0.5, -1, {"numerator": 5, "denominator": "DOZEN"}])
def test_what_is_no_fraction_says_nothing_of_one(value: object) -> None:
    assert "canary" not in layer_of(canary=value).shares()


def test_what_a_layer_cannot_say_is_told_by_its_key() -> None:
    from meshlib.xds.protos import from_json

    packed = from_json({"@type": RUNTIME, "name": "rtds", "layer": {"a": {"b": [1], "c": 2}}})
    decoded = decode(packed.type_url, packed.value)
    assert decoded.ignored == ("layer[a.b]",)
    assert decoded.resource.values == (("a.c", 2.0),)


def test_a_layer_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="name: must not be empty"):
        decode_snapshot([{"@type": RUNTIME, "layer": {}}])


def test_the_last_layer_that_says_something_counts() -> None:
    layers = [
        {"@type": RUNTIME, "name": name, "layer": values}
        for name, values in (("one", {"a": 1, "b": 2}), ("two", {"b": 3}))
    ]
    assert decode_snapshot(layers).runtime == {"a": 0.01, "b": 0.03}
