"""What becomes of calls while the control plane cannot be asked."""

import grpc
import pytest

import meshlib
from meshlib.testing import control_plane
from meshlib.testing.grpc_servers import serving

MANY = 30.0
SOON = 0.3
ECHO = "/test.T/Echo"


@pytest.fixture
def nowhere(free_port) -> str:
    """Where nobody listens yet."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def echo():
    """A server that is no member of any mesh; its port."""
    with serving(ECHO, lambda request, _call: request) as port:
        yield port


def test_unless_told_otherwise_a_call_waits_until_its_deadline(nowhere) -> None:
    with (
        meshlib.Mesh("ratings", control_plane=nowhere) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
        pytest.raises(grpc.RpcError) as failed,
    ):
        channel.unary_unary(ECHO)(b"", timeout=SOON)
    assert failed.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert "no configuration for listener 'reviews:9080' in time" in failed.value.details()


def test_a_call_may_fail_at_once_and_its_error_names_the_listener(nowhere) -> None:
    with (
        meshlib.Mesh("ratings", control_plane=nowhere, on_no_config="fail") as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
        pytest.raises(grpc.RpcError) as failed,
    ):
        channel.unary_unary(ECHO)(b"", timeout=MANY)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "no configuration for listener 'reviews:9080': control plane" in failed.value.details()
    assert "NOCONFIG" in failed.value.mesh.flags


async def test_a_coroutine_fails_at_once_too(nowhere) -> None:
    async with meshlib.Mesh("ratings", control_plane=nowhere, on_no_config="fail") as mesh:
        channel = mesh.grpc.aio_channel("reviews:9080")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(ECHO)(b"", timeout=MANY)
    assert "no configuration for listener 'reviews:9080': " in failed.value.details()


def test_a_call_may_go_out_as_it_would_without_the_mesh(nowhere, echo, caplog) -> None:
    with (
        meshlib.Mesh("ratings", control_plane=nowhere, on_no_config="direct") as mesh,
        mesh.grpc.channel(f"localhost:{echo}") as channel,
    ):
        call = channel.unary_unary(ECHO)
        assert call(b"one", timeout=MANY) == b"one"
        assert call(b"two", timeout=MANY) == b"two"
        assert mesh.route("GET", f"http://localhost:{echo}/").cluster == "PassthroughCluster"
    assert caplog.text.count("are called without the mesh") == 1


def test_a_control_plane_that_answers_is_waited_for_whatever_the_policy() -> None:
    with (
        control_plane([]) as plane,
        meshlib.Mesh("ratings", control_plane=plane.address, on_no_config="fail") as mesh,
    ):
        assert mesh.ready("example.com:80")


def test_calls_wait_again_when_the_control_plane_is_back(nowhere) -> None:
    with meshlib.Mesh("ratings", control_plane=nowhere, on_no_config="fail") as mesh:
        with mesh.grpc.channel("reviews:9080") as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(ECHO)(b"", timeout=MANY)
        with control_plane([], listen=nowhere):
            assert mesh.ready("reviews:9080", timeout=MANY)
            assert mesh.ready("example.com:80", timeout=MANY)


@pytest.mark.parametrize("word", ["WAIT", "hope", "last good"])
def test_a_policy_that_nobody_knows_is_refused(word) -> None:
    with pytest.raises(meshlib.ConfigError, match="is none of wait, fail, direct, last_good"):
        meshlib.Mesh("ratings", on_no_config=word)


def test_the_last_good_needs_a_folder() -> None:
    with pytest.raises(meshlib.ConfigError, match="MESHLIB_LAST_KNOWN_GOOD"):
        meshlib.Mesh("ratings", on_no_config="last_good")


def test_nothing_goes_out_direct_where_only_the_mesh_may_be_called() -> None:
    with pytest.raises(meshlib.ConfigError, match="REGISTRY_ONLY forbids that"):
        meshlib.Mesh("r", on_no_config="direct", outbound_traffic_policy="REGISTRY_ONLY")


@pytest.mark.parametrize("seconds", [0, -1, "soon"])
def test_an_age_is_a_number_of_seconds(seconds) -> None:
    with pytest.raises(meshlib.ConfigError, match="is not a number of seconds above 0"):
        meshlib.Mesh("ratings", last_known_good_max_age=seconds)


def test_the_environment_says_it_where_the_program_does_not(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MESHLIB_ON_NO_CONFIG", "fail")
    monkeypatch.setenv("MESHLIB_LAST_KNOWN_GOOD", str(tmp_path))
    monkeypatch.setenv("MESHLIB_LAST_KNOWN_GOOD_MAX_AGE", "60")
    options = meshlib.Mesh("ratings").options
    assert (options.on_no_config, options.last_known_good) == ("fail", tmp_path)
    assert options.last_known_good_max_age == 60
    assert meshlib.Mesh("ratings", on_no_config="wait").options.on_no_config == "wait"


def test_a_folder_means_that_it_is_used(tmp_path) -> None:
    assert meshlib.Mesh("ratings", last_known_good=tmp_path).options.on_no_config == "last_good"
