"""Variables that look as if they were meant for a mesh."""

import pytest

import meshlib
from meshlib.mesh.environment import VARIABLES, unheard


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MESHLIB_ACESS_LOG", "MESHLIB_ACCESS_LOG"),
        ("MESHLIB_METRIC", "MESHLIB_METRICS"),
        ("MESHLIB_CONTROLPLANE", "MESHLIB_CONTROL_PLANE"),
    ],
)
def test_a_slip_in_a_name_is_told(name, meant):
    assert unheard({name: "x"}) == (f"{name}: there is no such variable; did you mean {meant}?",)


def test_what_is_heard_and_what_is_not_for_us_is_not_told():
    of_kubernetes = ("MESHLIB_SERVICE_HOST", "MESHLIB_PORT_80_TCP_ADDR", "MESHLIB_PORT")
    assert unheard(dict.fromkeys((*VARIABLES, *of_kubernetes, "MESH_LOG", "PATH"), "x")) == ()


def test_a_format_without_a_log_is_told_and_logged(monkeypatch, caplog):
    monkeypatch.setenv("MESHLIB_ACCESS_LOG_FORMAT", "json")
    said = "MESHLIB_ACCESS_LOG_FORMAT: has no effect without MESHLIB_ACCESS_LOG"
    assert said in meshlib.Mesh(config=[]).ignored()
    assert said in caplog.messages


def test_a_propagator_that_nobody_here_knows_is_told():
    assert unheard({"OTEL_PROPAGATORS": "tracecontext, b3,jaeger"}) == (
        "OTEL_PROPAGATORS: 'jaeger' has no effect on what the mesh hands on",
    )
