"""Whose word counts as to whom they call for."""

import pytest

from meshlib import Mesh
from meshlib.errors import ConfigError
from meshlib.mesh.engine import engine_of
from meshlib.mesh.options import options

UNSET = {
    **dict.fromkeys(("service", "namespace", "version", "labels", "mtls")),
    **dict.fromkeys(("config", "control_plane", "bootstrap", "outbound_traffic_policy")),
}


def test_gateways_are_named_by_the_environment_or_by_the_application():
    environ = {"MESHLIB_TRUSTED_GATEWAYS": "spiffe://a/ns/edge/sa/gw, spiffe://a/ns/edge/sa/other"}
    chosen = options(**UNSET, propagate=(), environ=environ)
    assert engine_of(chosen, lambda _event: None).options.gateways == {
        "spiffe://a/ns/edge/sa/gw",
        "spiffe://a/ns/edge/sa/other",
    }
    said = options(**UNSET, propagate=(), trusted_gateways=["spiffe://b/gw"], environ=environ)
    assert said.trusted_gateways == ("spiffe://b/gw",)
    assert options(**UNSET, propagate=(), environ={}).trusted_gateways == ()


@pytest.mark.parametrize("name", ["gateway", "10.0.0.1", "spiffe://a/../b"])
def test_what_is_no_identity_is_no_gateway(name):
    with pytest.raises(ConfigError, match="trusted_gateways"):
        options(**UNSET, propagate=(), trusted_gateways=[name], environ={})


def test_a_mesh_is_told_of_its_gateways_as_an_argument():
    assert Mesh("me", trusted_gateways=["spiffe://b/gw"]).options.trusted_gateways == (
        "spiffe://b/gw",
    )
    with pytest.raises(ConfigError, match="trusted_gateways"):
        Mesh("me", trusted_gateways=["gateway"])
