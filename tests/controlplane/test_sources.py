"""A watched folder: changes are read once they are finished, and never twice."""

import os
import threading

import pytest

from meshlib.controlplane import Folder, World
from meshlib.errors import ConfigError


def rule(host):
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: x}}\nspec: {{host: {host}}}\n"
    )


def host_in(world):
    assert isinstance(world, World)
    return world.destination_rules[0].spec.host


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "rule.yaml"
    file.write_text(rule("one"))
    return file


def test_a_change_is_told_when_it_is_over(file):
    folder = Folder(file.parent)
    assert host_in(folder.load()) == "one"
    assert folder.poll(0.0) is None
    file.write_text(rule("second"))
    assert folder.poll(1.0) is None
    assert folder.poll(1.05) is None
    assert host_in(folder.poll(1.11)) == "second"
    assert folder.poll(1.5) is None


def test_each_further_change_prolongs_the_quiet_time(file):
    folder = Folder(file.parent)
    folder.load()
    for step in range(1, 6):
        file.write_text(rule("x" * step))
        assert folder.poll(step * 0.09) is None
    assert host_in(folder.poll(0.56)) == "xxxxx"


def test_restless_files_are_read_after_ten_seconds(file):
    folder = Folder(file.parent)
    folder.load()
    told = []
    for step in range(1, 205):
        file.write_text(rule("x" * step))
        told.append(folder.poll(step * 0.05))
    first = next(index for index, world in enumerate(told) if world is not None)
    assert host_in(told[first]) == "x" * (first + 1)
    assert (first + 1) * 0.05 == pytest.approx(10.05)


def test_a_bad_change_is_an_error_and_the_next_good_one_a_world(file):
    folder = Folder(file.parent)
    folder.load()
    file.write_text("kind: [")
    assert folder.poll(1) is None
    assert isinstance(folder.poll(2), ConfigError)
    assert folder.poll(4) is None
    file.write_text(rule("three"))
    assert folder.poll(5) is None
    assert host_in(folder.poll(6)) == "three"


def test_the_same_content_again_is_no_change(file):
    folder = Folder(file.parent)
    folder.load()
    os.utime(file, (1, 1))
    assert folder.poll(1) is None
    assert folder.poll(2) is None


def test_files_come_and_go(file):
    folder = Folder(file.parent)
    folder.load()
    (file.parent / "more.yaml").write_text(rule("more").replace("name: x", "name: y"))
    folder.poll(1)
    assert len(folder.poll(2).destination_rules) == 2
    file.unlink()
    folder.poll(3)
    assert len(folder.poll(4).destination_rules) == 1


def test_a_write_that_left_no_trace_in_the_stamps_is_seen_at_the_second_look(file):
    folder = Folder(file)
    folder.load()
    file.write_text(rule("two"))
    folder.poll(1)
    assert host_in(folder.poll(1.2)) == "two"
    stamps = folder._stat()
    file.write_text(rule("abc"))
    folder._stat = lambda: stamps
    assert folder.poll(2.1) is None
    assert host_in(folder.poll(2.3)) == "abc"


def test_a_config_map_changes_by_the_swap_of_a_link(tmp_path):
    for generation in ("..1", "..2"):
        (tmp_path / generation).mkdir()
        (tmp_path / generation / "rule.yaml").write_text(rule("host" + generation[-1]))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "rule.yaml").symlink_to("..data/rule.yaml")
    folder = Folder(tmp_path)
    assert host_in(folder.load()) == "host1"
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    folder.poll(1)
    assert host_in(folder.poll(2)) == "host2"


def test_a_folder_that_vanishes_is_an_error(tmp_path):
    (tmp_path / "mesh").mkdir()
    folder = Folder(tmp_path / "mesh")
    folder.load()
    (tmp_path / "mesh").rmdir()
    folder.poll(1)
    assert isinstance(folder.poll(2), ConfigError)


def test_the_thread_tells_worlds_and_errors_until_closed(file):
    worlds, errors = [], []
    told = threading.Condition()

    def tell(heard, news):
        with told:
            heard.append(news)
            told.notify_all()

    folder = Folder(file, quiet=0.01)
    folder.load()
    folder.start(lambda world: tell(worlds, world), lambda error: tell(errors, error))
    try:
        file.write_text(rule("two"))
        with told:
            assert told.wait_for(lambda: worlds, timeout=30)
        file.write_text("kind: [")
        with told:
            assert told.wait_for(lambda: errors, timeout=30)
    finally:
        folder.close()
    assert host_in(worlds[-1]) == "two"
    assert not folder._thread.is_alive()


def test_a_folder_without_manifests_is_a_world_of_nothing_and_is_said(file, caplog):
    folder = Folder(file.parent)
    folder.load()
    assert not caplog.records
    file.unlink()
    folder.poll(0.0)
    assert folder.poll(0.2) == World()
    assert "no manifests (*.yaml, *.yml, *.json)" in caplog.text
