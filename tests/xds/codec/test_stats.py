"""What Istio has counted of calls, on the wire."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model.telemetry import MetricOverride, Stats

GOOGLE = "type.googleapis.com"
ROUTER = {
    "name": "router",
    "typed_config": {"@type": f"{GOOGLE}/envoy.extensions.filters.http.router.v3.Router"},
}
STATS = {
    "metrics": [
        {"name": "requests_total", "dimensions": {"path": "request.url_path"}},
        {"tags_to_remove": ["source_app"]},
        {"name": "request_bytes", "drop": True},
    ],
}


@pytest.mark.parametrize(
    "config",
    [
        {"@type": f"{GOOGLE}/stats.PluginConfig", **STATS},
        {
            "@type": f"{GOOGLE}/udpa.type.v1.TypedStruct",
            "type_url": f"{GOOGLE}/stats.PluginConfig",
            "value": STATS,
        },
        {
            "@type": f"{GOOGLE}/xds.type.v3.TypedStruct",
            "type_url": f"{GOOGLE}/stats.PluginConfig",
            "value": STATS,
        },
    ],
    ids=["plain", "udpa", "xds"],
)
def test_istio_says_what_is_counted(decode_http, config):
    decoded = decode_http(http_filters=[{"name": "istio.stats", "typed_config": config}, ROUTER])
    stats = decoded.resource.http.http_filters[0].config
    assert stats == Stats(
        metrics=(
            MetricOverride(name="requests_total", dimensions=(("path", "request.url_path"),)),
            MetricOverride(tags_to_remove=("source_app",)),
            MetricOverride(name="request_bytes", drop=True),
        ),
    )
    assert decoded.ignored == ()


def test_a_label_that_is_no_expression_is_refused(decode_http):
    config = {
        "@type": f"{GOOGLE}/stats.PluginConfig",
        "metrics": [{"dimensions": {"a": "no.such"}}],
    }
    with pytest.raises(ConfigError, match=r"metrics\[0\]\.dimensions\[a\]: speaks of 'no'"):
        decode_http(http_filters=[{"name": "istio.stats", "typed_config": config}, ROUTER])


def test_what_nobody_here_can_tell_is_told(decode_http):
    config = {
        "@type": f"{GOOGLE}/stats.PluginConfig",
        "metrics": [{"dimensions": {"a": "node.id"}}],
    }
    decoded = decode_http(http_filters=[{"name": "istio.stats", "typed_config": config}, ROUTER])
    assert [path.rpartition(".")[2] for path in decoded.ignored] == ["dimensions[a]"]


def test_metrics_that_are_not_counted_and_an_interval_are_told(decode_http):
    config = {
        "@type": f"{GOOGLE}/stats.PluginConfig",
        "metrics": [{"name": "requests_total"}, {"name": "requests"}],
        "tcp_reporting_duration": "10s",
    }
    decoded = decode_http(http_filters=[{"name": "istio.stats", "typed_config": config}, ROUTER])
    stats = decoded.resource.http.http_filters[0].config
    assert stats.reporting_interval == 10.0
    where = "api_listener.api_listener.http_filters[istio.stats].typed_config"
    told = (f"{where}.tcp_reporting_duration", f"{where}.metrics[1].name")
    assert decoded.ignored == told
