"""A member that starts while its control plane is down, on what an earlier life was told."""

import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

import meshlib
from meshlib.mesh.last_good import Keeper
from meshlib.model import HttpConnectionManager, Listener, Rds, Snapshot
from meshlib.testing import control_plane
from meshlib.testing.grpc_servers import serving

SRC = str(Path(__file__).parents[2] / "src")
ECHO = "/test.T/Echo"
MANY = 30.0

LATER_LIFE = """
import json, os, meshlib
with meshlib.Mesh("ratings", control_plane=os.environ["PLANE"]) as mesh:
    with mesh.grpc.channel("reviews:9080") as channel:
        answer = channel.unary_unary("/test.T/Echo")(b"", timeout=30)
    source = mesh.status()["source"]
    print(json.dumps({"answer": answer.decode(), "stale": source["stale"]}))
"""

Manifest = Mapping[str, Any]


@pytest.fixture
def servers(reviews_at: Callable[[int], Manifest]) -> Iterator[Callable[[str], list[Manifest]]]:
    """Starts servers that answer with their names; what leads to each."""
    with ExitStack() as stack:

        def start(name: str) -> list[Manifest]:
            named = serving(ECHO, lambda _request, _call: name.encode())
            return [reviews_at(stack.enter_context(named))]

        yield start


@pytest.fixture
def address(free_port: Callable[[], int]) -> str:
    """Where the control plane is, when it is."""
    return f"127.0.0.1:{free_port()}"


def ask(mesh: meshlib.Mesh) -> bytes:
    with mesh.grpc.channel("reviews:9080") as channel:
        answer: bytes = channel.unary_unary(ECHO)(b"", timeout=MANY)
        return answer


@pytest.fixture
def learned(servers, address, tmp_path) -> Path:
    """A folder that a member left which was told of ``reviews``."""
    folder = tmp_path / "kept"
    with (
        control_plane(servers("one"), listen=address),
        meshlib.Mesh("ratings", control_plane=address, last_known_good=folder) as mesh,
    ):
        assert ask(mesh) == b"one"
        assert mesh.status()["source"]["stale"] is False
    return folder


def test_a_new_process_calls_at_once_while_the_control_plane_is_down(learned, address) -> None:
    environ = {**os.environ, "PYTHONPATH": SRC, "PLANE": address}
    environ["MESHLIB_LAST_KNOWN_GOOD"] = str(learned)
    done = subprocess.run(
        [sys.executable, "-c", LATER_LIFE], env=environ, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == {"answer": "one", "stale": True}


def test_what_is_stale_is_told_once_and_shown(learned, address, caplog) -> None:
    with meshlib.Mesh("ratings", control_plane=address, last_known_good=learned) as mesh:
        assert ask(mesh) == b"one"
        source = mesh.status()["source"]
    assert source["stale"] is True
    assert source["stale_age"] >= 0
    assert caplog.text.count("stale: going by the last known good configuration") == 1


def test_the_control_plane_is_believed_as_soon_as_it_answers(
    learned, address, servers, caplog
) -> None:
    with meshlib.Mesh("ratings", control_plane=address, last_known_good=learned) as mesh:
        assert ask(mesh) == b"one"
        with control_plane(servers("two"), listen=address):
            while ask(mesh) != b"two":
                assert mesh.ready("example.com:80", timeout=MANY)
            assert mesh.status()["source"]["stale"] is False
    assert "nothing is stale any more" in caplog.text


def test_a_control_plane_that_answers_is_asked_and_not_the_disk(
    learned, address, servers, caplog
) -> None:
    with (
        control_plane(servers("two"), listen=address),
        meshlib.Mesh("ratings", control_plane=address, last_known_good=learned) as mesh,
    ):
        assert ask(mesh) == b"two"
    assert "stale" not in caplog.text


def test_a_damaged_file_is_told_and_ignored(learned, address, caplog) -> None:
    (file,) = learned.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with (
        meshlib.Mesh("ratings", control_plane=address, last_known_good=learned) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
        pytest.raises(grpc.RpcError) as failed,
    ):
        channel.unary_unary(ECHO)(b"", timeout=0.3)
    assert "no configuration for listener" in failed.value.details()
    assert f"last known good {file}: is damaged: its checksum is wrong; it is not used" in (
        caplog.text
    )


def test_another_member_does_not_take_it(learned, address, caplog) -> None:
    with (
        meshlib.Mesh("details", control_plane=address, last_known_good=learned) as mesh,
        mesh.grpc.channel("reviews:9080") as channel,
        pytest.raises(grpc.RpcError),
    ):
        channel.unary_unary(ECHO)(b"", timeout=0.3)
    assert "nothing is known" in caplog.text


def test_a_folder_that_cannot_be_written_is_told_once_and_calls_go_on(
    servers, address, tmp_path, caplog
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with (
        control_plane(servers("one"), listen=address),
        meshlib.Mesh("ratings", control_plane=address, last_known_good=blocked / "kept") as mesh,
    ):
        assert ask(mesh) == b"one"
    assert caplog.text.count("the last known good configuration cannot be kept") == 1


def test_what_the_control_plane_stood_by_is_as_young_as_its_last_word() -> None:
    saved: queue.Queue[str] = queue.Queue()

    class Disk:
        def save(self, snapshot: Snapshot, absent: frozenset[str]) -> None:
            saved.put(snapshot.version)

    store: Any = Disk()
    keeper = Keeper(store)
    http = HttpConnectionManager(routes=Rds("r"))
    keeper.remember(
        Snapshot(listeners={"a": Listener(name="a", http=http)}, version="1"), frozenset()
    )
    assert saved.get(timeout=MANY) == "1"
    keeper.contact("it is down")  # until now it was up
    assert saved.get(timeout=MANY) == "1"
    keeper.contact("still down")
    keeper.close()
    assert saved.empty()


def test_a_mesh_that_was_closed_asks_again_for_all_that_it_knew(servers, address) -> None:
    first, second = servers("one"), servers("two")
    mesh = meshlib.Mesh("ratings", control_plane=address)
    with control_plane(first, listen=address), mesh:
        assert ask(mesh) == b"one"
    with control_plane(second, listen=address), mesh:
        while ask(mesh) != b"two":
            assert mesh.ready("example.com:80", timeout=MANY)
