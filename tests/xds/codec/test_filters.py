"""HTTP filters, in listeners and per route: what is understood, dropped, refused."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model import (
    ALWAYS,
    NEVER,
    AdaptiveConcurrency,
    AdmissionControl,
    Cors,
    Fault,
    FaultAbort,
    FaultDelay,
    FilterOverride,
    GenericKey,
    GlobalRateLimit,
    HttpFilter,
    LocalRateLimit,
    RateLimit,
    TokenBucket,
)
from meshlib.xds.codec.filter import encode_filter, encode_overrides
from meshlib.xds.protos import to_json

HTTP = "type.googleapis.com/envoy.extensions.filters.http."
FAULT = f"{HTTP}fault.v3.HTTPFault"
LOCAL = f"{HTTP}local_ratelimit.v3.LocalRateLimit"
GLOBAL = f"{HTTP}ratelimit.v3.RateLimit"
CORS = f"{HTTP}cors.v3.CorsPolicy"
STATS = f"{HTTP}grpc_stats.v3.FilterConfig"
ROUTER = {"name": "router", "typed_config": {"@type": f"{HTTP}router.v3.Router"}}
HERE = "listeners/reviews:80: api_listener.api_listener.http_filters[f].typed_config"
BUCKET = {"max_tokens": 5, "fill_interval": "1s"}
ASKED = {"grpc_service": {"envoy_grpc": {"cluster_name": "rls"}}}
GRADIENT = {
    "concurrency_limit_params": {"concurrency_update_interval": "0.1s"},
    "min_rtt_calc_params": {"interval": "60s"},
}


@pytest.fixture
def decode_filter(decode_http):
    """Decodes the only filter of a listener but the router; what it is, and what is ignored."""

    def made(kind, /, **config):
        typed = {"name": "f", "typed_config": {"@type": kind, **config}}
        decoded = decode_http(http_filters=[typed, ROUTER])
        return decoded.resource.http.http_filters[0].config, decoded.ignored

    return made


@pytest.fixture
def decode_override(decode_route):
    """Decodes what a route says of the filter "f"."""

    def made(**config):
        decoded = decode_route(redirect={}, typed_per_filter_config={"f": config})
        return decoded.resource.virtual_hosts[0].routes[0].overrides, decoded.ignored

    return made


@pytest.mark.parametrize(
    ("type_url", "config", "means"),
    [
        (FAULT, {}, Fault()),
        (
            FAULT,
            {"delay": {"fixed_delay": "2s", "percentage": {"numerator": 100}}},
            Fault(delay=FaultDelay(fixed_delay=2.0, percentage=ALWAYS)),
        ),
        (FAULT, {"delay": {"header_delay": {}}}, Fault(delay=FaultDelay(fixed_delay=None))),
        (FAULT, {"abort": {"grpc_status": 7}}, Fault(abort=FaultAbort(grpc_status=7))),
        (FAULT, {"abort": {"header_abort": {}}}, Fault(abort=FaultAbort())),
        (
            LOCAL,
            {"stat_prefix": "s", "token_bucket": BUCKET, "status": {"code": "Continue"}},
            LocalRateLimit(
                stat_prefix="s",
                token_bucket=TokenBucket(max_tokens=5, fill_interval=1.0),
                status=429,
            ),
        ),
        (
            GLOBAL,
            {"domain": "d", "rate_limit_service": ASKED},
            GlobalRateLimit(domain="d", cluster="rls"),
        ),
        (f"{HTTP}cors.v3.Cors", {}, Cors()),
        (
            f"{HTTP}adaptive_concurrency.v3.AdaptiveConcurrency",
            {"gradient_controller_config": GRADIENT},
            AdaptiveConcurrency(),
        ),
        (
            f"{HTTP}admission_control.v3.AdmissionControl",
            {"success_criteria": {"grpc_criteria": {"grpc_success_status": [0, 5]}}},
            AdmissionControl(success_grpc_statuses=(0, 5)),
        ),
    ],
)
def test_a_filter_is_understood_with_its_defaults(decode_filter, type_url, config, means):
    assert decode_filter(type_url, **config) == (means, ())


@pytest.mark.parametrize("version", ["udpa.type.v1", "xds.type.v3"])
def test_a_filter_that_is_written_as_a_typed_struct_is_understood(decode_filter, version):
    value = {
        "stat_prefix": "s",
        "token_bucket": {"max_tokens": 4, "tokens_per_fill": 4, "fill_interval": "60s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
    }
    found, ignored = decode_filter(
        f"type.googleapis.com/{version}.TypedStruct", type_url=LOCAL, value=value
    )
    assert found == LocalRateLimit(
        stat_prefix="s",
        token_bucket=TokenBucket(max_tokens=4, tokens_per_fill=4, fill_interval=60.0),
        filter_enabled=ALWAYS,
        filter_enforced=NEVER,
    )
    assert ignored == ()


@pytest.mark.parametrize("key", ["k", "meshlib.enabled"])
def test_a_key_by_which_nothing_is_overridden_is_told(decode_filter, key):
    enabled = {"runtime_key": key, "default_value": {"numerator": 100}}
    found, ignored = decode_filter(LOCAL, stat_prefix="s", filter_enabled=enabled)
    assert found.filter_enabled == ALWAYS
    path = "api_listener.api_listener.http_filters[f].typed_config.filter_enabled.runtime_key"
    assert ignored == ((path,) if key == "k" else ())


def test_a_typed_struct_that_does_not_fit_its_type_is_refused_with_its_place(decode_filter):
    with pytest.raises(ConfigError, match="no_such_field") as raised:
        decode_filter(
            "type.googleapis.com/xds.type.v3.TypedStruct",
            type_url=LOCAL,
            value={"no_such_field": 1},
        )
    assert [p.where for p in raised.value.problems] == [HERE]


@pytest.mark.parametrize(
    ("type_url", "config", "where", "what"),
    [
        (FAULT, {"delay": {}}, "delay", "neither fixed_delay nor header_delay"),
        (FAULT, {"delay": {"fixed_delay": "0s"}}, "delay.fixed_delay", "must be > 0"),
        (FAULT, {"abort": {"http_status": 199}}, "abort.http_status", "between 200 and 599"),
        (FAULT, {"abort": {"grpc_status": 17}}, "abort.grpc_status", "between 0 and 16"),
        (FAULT, {"abort": {}}, "abort", "none of"),
        (LOCAL, {}, "stat_prefix", "must not be empty"),
        (
            LOCAL,
            {"stat_prefix": "s", "token_bucket": {"max_tokens": 1, "fill_interval": "0.01s"}},
            "token_bucket.fill_interval",
            "at least 0.05 s",
        ),
        (
            LOCAL,
            {"stat_prefix": "s", "descriptors": [{"token_bucket": BUCKET}]},
            "descriptors[0].entries",
            "must not be empty",
        ),
        (GLOBAL, {"rate_limit_service": ASKED}, "domain", "must not be empty"),
        (
            GLOBAL,
            {"domain": "d", "rate_limit_service": {"grpc_service": {"google_grpc": {}}}},
            "rate_limit_service.grpc_service.google_grpc",
            "not supported",
        ),
        (
            GLOBAL,
            {"domain": "d", "rate_limit_service": ASKED, "rate_limits": [{"stage": 1}]},
            "rate_limits[0].stage",
            "between 0 and 0",
        ),
        (
            f"{HTTP}adaptive_concurrency.v3.AdaptiveConcurrency",
            {"gradient_controller_config": {}},
            "gradient_controller_config.min_rtt_calc_params.interval",
            "must be set",
        ),
        (
            f"{HTTP}admission_control.v3.AdmissionControl",
            {"success_criteria": {"http_criteria": {"http_success_status": [{"start": 99}]}}},
            "success_criteria.http_criteria.http_success_status[0]",
            "must be from 100",
        ),
        (f"{HTTP}admission_control.v3.AdmissionControl", {}, "success_criteria", "must be set"),
    ],
)
def test_a_bad_filter_is_refused_with_the_field(decode_filter, type_url, config, where, what):
    with pytest.raises(ConfigError) as raised:
        decode_filter(type_url, **config)
    problems = [str(problem) for problem in raised.value.problems]
    assert [p for p in problems if p.startswith(f"{HERE}.{where}: ") and what in p], problems


def test_what_a_filter_asks_in_vain_is_told(decode_filter):
    _, ignored = decode_filter(
        FAULT, response_rate_limit={"fixed_limit": {"limit_kbps": 1}}, downstream_nodes=["x"]
    )
    assert {path.rpartition(".")[2] for path in ignored} == {
        "response_rate_limit",
        "downstream_nodes",
    }


def test_an_override_stands_bare_or_in_its_wrapping(decode_override):
    bare, _ = decode_override(**{"@type": FAULT})
    assert bare == (FilterOverride(name="f", config=Fault()),)
    wrapping = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
    wrapped, _ = decode_override(**{"@type": wrapping, "config": {"@type": FAULT}})
    assert wrapped == bare
    off, _ = decode_override(**{"@type": wrapping, "disabled": True})
    assert off == (FilterOverride(name="f", disabled=True),)


def test_an_override_that_is_unknown_is_refused_unless_it_is_optional(decode_override):
    with pytest.raises(ConfigError, match=r"unknown filter configuration .*grpc_stats") as raised:
        decode_override(**{"@type": STATS})
    where = "virtual_hosts[v].routes[0].typed_per_filter_config[f]"
    assert [p.where for p in raised.value.problems] == [f"routes/table: {where}"]
    wrapping = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
    optional = {"@type": wrapping, "is_optional": True, "config": {"@type": STATS}}
    assert decode_override(**optional) == ((), (where,))


def test_the_policy_of_cors_stands_in_routes_and_not_in_listeners(decode_override, decode_filter):
    found, _ = decode_override(**{"@type": CORS, "allow_methods": "GET"})
    assert found[0].config == Cors(allow_methods="GET")
    with pytest.raises(ConfigError, match="unknown filter"):
        decode_filter(CORS)
    with pytest.raises(ConfigError, match="not in a listener"):
        encode_filter(HttpFilter(name="cors", config=Cors(allow_methods="GET")))


def test_a_rate_limit_of_a_route_leaves_the_service_to_the_listener(decode_override):
    told = [{"actions": [{"generic_key": {"descriptor_value": "x"}}]}]
    per_route = f"{HTTP}ratelimit.v3.RateLimitPerRoute"
    found, _ = decode_override(**{"@type": per_route, "rate_limits": told})
    limits = (RateLimit(actions=(GenericKey(descriptor_value="x"),)),)
    assert found[0].config == GlobalRateLimit(domain="", cluster="", rate_limits=limits)
    (written,) = encode_overrides(found).values()
    assert to_json(written)["@type"] == per_route


def test_the_lag_of_an_event_loop_does_not_travel():
    config = AdaptiveConcurrency(max_loop_lag=0.1)
    with pytest.raises(ConfigError, match="max_loop_lag"):
        encode_filter(HttpFilter(name="f", config=config))
