import pytest

import meshlib


@pytest.mark.parametrize(
    "config", [3, {"kind": "Service"}, [3], [{"kind": "Service"}, "mesh/"], b"mesh/"]
)
def test_what_is_no_config_is_refused_at_once(config) -> None:
    with pytest.raises(meshlib.ConfigError, match=r"Mesh: config: .* is not a folder, a file"):
        meshlib.Mesh("ratings", config=config)


@pytest.mark.parametrize(
    "address", ["here", "here:there", "here:99999", ":18000", "http://here:1", "xds:///here:1", 3]
)
def test_what_is_no_address_of_a_control_plane_is_refused_at_once(address) -> None:
    with pytest.raises(meshlib.ConfigError, match="is not host:port"):
        meshlib.Mesh("ratings", control_plane=address)


@pytest.mark.parametrize(
    "address", ["here:18000", "[::1]:18000", "dns:///here:18000", "unix:/run/mesh.sock"]
)
def test_a_control_plane_may_be_named_as_grpc_names_servers(address) -> None:
    assert meshlib.Mesh("ratings", control_plane=address).options.control_plane == address


def test_a_wrong_address_in_the_environment_names_the_variable(monkeypatch) -> None:
    monkeypatch.setenv("MESHLIB_CONTROL_PLANE", "here")
    with pytest.raises(meshlib.ConfigError, match="MESHLIB_CONTROL_PLANE"):
        meshlib.Mesh("ratings")


def test_two_sources_at_once_are_refused() -> None:
    with pytest.raises(meshlib.ConfigError, match="not config and control_plane"):
        meshlib.Mesh("ratings", config="mesh/", control_plane="here:18000")


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ["a"]},
        {"bootstrap": 3},
        {"propagate": "end-user"},
        {"propagate": ["end user"]},
        {"propagate": [5]},
        {"propagate": [":path"]},
        {"propagate": ["Content-Length"]},
        {"propagate": ["grpc-timeout"]},
    ],
)
def test_what_has_the_wrong_type_is_named(wrong) -> None:
    with pytest.raises(meshlib.ConfigError, match=f"Mesh: {next(iter(wrong))}: "):
        meshlib.Mesh("ratings", **wrong)


def test_whether_metrics_are_wanted_is_no_text() -> None:
    with pytest.raises(meshlib.ConfigError, match="'off' is neither True nor False"):
        meshlib.Mesh("ratings", metrics="off")
