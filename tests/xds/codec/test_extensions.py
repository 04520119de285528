"""Filters that are discovered, and what they discover, on the wire."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model import ExtensionConfig, Fault, FilterDiscovery, LocalRateLimit
from meshlib.xds.codec import decode, decode_snapshot, encode, encode_json
from meshlib.xds.protos import from_json
from meshlib.xds.types import EXTENSION

HTTP = "type.googleapis.com/envoy.extensions.filters.http."
FAULT = f"{HTTP}fault.v3.HTTPFault"
ROUTER = f"{HTTP}router.v3.Router"
STATS = f"{HTTP}grpc_stats.v3.FilterConfig"
LAST = {"name": "router", "typed_config": {"@type": ROUTER}}
ADS = {"ads": {}, "resource_api_version": "V3"}
FIELD = "listeners/reviews:80: api_listener.api_listener.http_filters[f].config_discovery"


@pytest.fixture
def discovering(decode_http):
    """The listener whose first filter discovers; its filters, and what is ignored."""

    def made(*, is_optional=False, **discovery):
        fields = {"config_source": ADS, **discovery}
        one = {"name": "f", "config_discovery": fields, "is_optional": is_optional}
        decoded = decode_http(http_filters=[one, LAST])
        return decoded.resource.http.http_filters, decoded.ignored

    return made


def test_a_discovery_names_types_and_a_default(discovering) -> None:
    filters, ignored = discovering(
        type_urls=[FAULT],
        default_config={"@type": FAULT, "max_active_faults": 3},
        apply_default_config_without_warming=True,
    )
    assert filters[0].config == FilterDiscovery(
        types=(Fault,),
        default_config=Fault(max_active_faults=3),
        apply_default_config_without_warming=True,
    )
    assert ignored == ()


def test_types_that_are_not_known_are_told(discovering) -> None:
    filters, ignored = discovering(type_urls=[STATS, FAULT, ROUTER])
    assert filters[0].config == FilterDiscovery(types=(Fault,))
    assert [path.rpartition(".config_discovery.")[2] for path in ignored] == [
        "type_urls[envoy.extensions.filters.http.grpc_stats.v3.FilterConfig]",
        "type_urls[envoy.extensions.filters.http.router.v3.Router]",
    ]


def test_an_optional_filter_of_unknown_types_is_left_out(discovering) -> None:
    filters, ignored = discovering(is_optional=True, type_urls=[STATS])
    assert [one.name for one in filters] == ["router"]
    assert ignored


@pytest.mark.parametrize(
    ("discovery", "problem"),
    [
        ({"type_urls": [STATS]}, "type_urls: no filter that is known here: envoy.extensions"),
        ({}, "type_urls: no filter that is known here: none"),
        ({"type_urls": [FAULT], "config_source": {}}, "config_source: must be ads or self"),
        (
            {"type_urls": [FAULT], "apply_default_config_without_warming": True},
            "apply_default_config_without_warming: needs a default_config",
        ),
        (
            {"type_urls": [FAULT], "default_config": {"@type": ROUTER}},
            "default_config: is none of type_urls",
        ),
    ],
)
def test_a_discovery_that_cannot_work_is_refused(discovering, discovery, problem) -> None:
    with pytest.raises(ConfigError) as refused:
        discovering(**discovery)
    assert f"{FIELD}.{problem}" in str(refused.value)


def test_an_extension_survives_the_wire() -> None:
    made = ExtensionConfig(name="f", config=LocalRateLimit(stat_prefix="x"))
    packed = encode(made)
    decoded = decode(EXTENSION, packed.value)
    assert (decoded.name, decoded.resource, decoded.ignored) == ("f", made, ())
    assert decode_snapshot([encode_json(made)]).extensions == {"f": made}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": "f"}, "extensions/f: typed_config: unknown filter without typed_config"),
        ({"name": "f", "typed_config": {"@type": STATS}}, "extensions/f: typed_config: unknown"),
        ({"name": "f", "typed_config": {"@type": ROUTER}}, "the router cannot be discovered"),
        ({"typed_config": {"@type": FAULT}}, "extensions: name: must not be empty"),
    ],
)
def test_an_extension_that_no_filter_can_use_is_refused(fields, problem) -> None:
    packed = from_json({"@type": EXTENSION, **fields})
    with pytest.raises(ConfigError) as refused:
        decode(packed.type_url, packed.value)
    assert problem in str(refused.value)
