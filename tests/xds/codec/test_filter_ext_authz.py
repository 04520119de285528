"""External authorization on the wire: what is understood, and that nothing is passed over."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Exact, Prefix
from meshlib.model.authn import ExtAuthz, GrpcAuthorization, HttpAuthorization

HTTP = "type.googleapis.com/envoy.extensions.filters.http."
EXT_AUTHZ = f"{HTTP}ext_authz.v3.ExtAuthz"
ROUTER = {"name": "router", "typed_config": {"@type": f"{HTTP}router.v3.Router"}}
GRPC = {"grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "0.5s"}}
URI = {"uri": "http://authz", "cluster": "authz", "timeout": "1s"}


@pytest.fixture
def decoded(decode_http):
    """The only filter of a listener but the router; what it is, and what is ignored."""

    def made(**config):
        typed = {"name": "f", "typed_config": {"@type": EXT_AUTHZ, **config}}
        found = decode_http(http_filters=[typed, ROUTER])
        return found.resource.http.http_filters[0].config, found.ignored

    return made


def test_a_grpc_service_is_read_with_its_own_timeout(decoded):
    config, ignored = decoded(**GRPC, transport_api_version="V3", failure_mode_allow=True)
    service = GrpcAuthorization(cluster="authz")
    assert config == ExtAuthz(service=service, timeout=0.5, failure_mode_allow=True)
    assert ignored == ()


def test_without_a_timeout_it_is_200_milliseconds(decoded):
    config, _ = decoded(grpc_service={"envoy_grpc": {"cluster_name": "authz"}})
    assert (config.timeout, config.status_on_error) == (0.2, 403)


def test_headers_of_an_http_service_may_stand_in_the_older_place(decoded):
    asked = {
        "allowed_headers": {"patterns": [{"prefix": "x-"}]},
        "headers_to_add": [{"key": "X-A", "value": "1"}],
    }
    service = {"server_uri": URI, "path_prefix": "/check", "authorization_request": asked}
    config, _ = decoded(http_service=service)
    assert config.allowed_headers == (Prefix("x-"),)
    assert config.service == HttpAuthorization(
        cluster="authz", uri="http://authz", path_prefix="/check", headers_to_add=(("x-a", "1"),)
    )
    config, _ = decoded(
        http_service=service, allowed_headers={"patterns": [{"exact": "y", "ignore_case": True}]}
    )
    assert config.allowed_headers == (Exact("y", ignore_case=True),)


@pytest.mark.parametrize("field", ["clear_route_cache"])
def test_what_has_no_effect_here_is_told(decoded, field):
    _, ignored = decoded(**GRPC, **{field: True})
    assert any(path.endswith(field) for path in ignored)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "neither grpc_service nor http_service"),
        ({"grpc_service": {"google_grpc": {"target_uri": "a"}}}, "is not supported"),
        ({"grpc_service": {}}, "no cluster to ask"),
        ({"grpc_service": {"envoy_grpc": {}}}, "must not be empty"),
        ({"grpc_service": {**GRPC["grpc_service"], "timeout": "0s"}}, "must be > 0"),
        ({"http_service": {"server_uri": URI, "path_prefix": "check"}}, "must begin with /"),
        ({"http_service": {"server_uri": URI, "retry_policy": {}}}, "is not understood"),
        ({**GRPC, "filter_enabled": {"default_value": {"numerator": 0}}}, "is not understood"),
        ({**GRPC, "deny_at_disable": {"default_value": True}}, "is not understood"),
        ({**GRPC, "metadata_context_namespaces": ["a"]}, "is not understood"),
        ({**GRPC, "failure_mode_allow_header_add": True}, "is not understood"),
        ({**GRPC, "with_request_body": {"max_request_bytes": 0}}, "must be at least 1"),
    ],
)
def test_what_is_not_understood_is_refused(decoded, config, problem):
    with pytest.raises(ConfigError, match=problem):
        decoded(**config)


@pytest.fixture
def of_a_place(decode_http):
    """What a table says of the filter."""

    def made(**said):
        packed = {"@type": f"{HTTP}ext_authz.v3.ExtAuthzPerRoute", **said}
        found = decode_http(
            rds=None,
            route_config={
                "name": "t",
                "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": []}],
                "typed_per_filter_config": {"f": packed},
            },
        )
        return found.resource.http.routes.overrides[0].config

    return made


def test_a_place_switches_it_off_or_adds_words(of_a_place):
    assert of_a_place(disabled=True) == ExtAuthz(enabled=False)
    said = of_a_place(check_settings={"context_extensions": {"b": "2", "a": "1"}})
    assert said == ExtAuthz(context_extensions=(("a", "1"), ("b", "2")))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "neither disabled nor check_settings"),
        ({"disabled": False}, "must be true|neither"),
        ({"check_settings": {"disable_request_body_buffering": True}}, "is not understood"),
    ],
)
def test_a_place_that_says_anything_else_is_refused(of_a_place, said, problem):
    with pytest.raises(ConfigError, match=problem):
        of_a_place(**said)
