"""Meshes of one program that name the same admin port are shown by it together."""

import logging
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshlib import Mesh
from meshlib.mesh.admin_ports import PORTS

FACTS = "meshlib_config_applied_total"


@pytest.fixture(autouse=True)
def where(monkeypatch):
    """The admin port that the environment of the program names."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        named = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MESHLIB_ADMIN", named)
    return named


def ask(where, path="/metrics"):
    try:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def samples(where, name=FACTS):
    families = text_string_to_metric_families(ask(where)[1])
    return [one for family in families for one in family.samples if one.name == name]


def shown(where):
    return [one.labels.get("mesh") for one in samples(where)]


def test_a_mesh_alone_shows_what_it_always_did(where):
    with Mesh("reviews", config=[]):
        assert shown(where) == [None]


def test_two_meshes_are_told_apart_on_one_port(where):
    with Mesh("reviews", config=[]) as one, Mesh("ratings", config=[]) as other:
        assert shown(where) == ["reviews", "ratings"]
        assert one.admin_address == other.admin_address == where


def test_no_series_is_there_twice_though_both_do_the_same(where):
    with Mesh("reviews", config=[]), Mesh("reviews", config=[]), Mesh(config=[]), Mesh(config=[]):
        assert shown(where) == ["reviews", "reviews-2", "unnamed", "unnamed-2"]
        found = [
            (one.name, *sorted(one.labels.items()))
            for family in text_string_to_metric_families(ask(where)[1])
            for one in family.samples
        ]
    assert len(found) == len(set(found)) > 0


def test_what_the_program_counts_as_a_whole_is_of_no_mesh(where, monkeypatch, tmp_path):
    monkeypatch.setenv("MESHLIB_ACCESS_LOG", str(tmp_path / "calls.log"))
    with Mesh("reviews", config=[]), Mesh("ratings", config=[]):
        found = samples(where, "meshlib_access_log_dropped_total")
        assert {"path": str(tmp_path / "calls.log")} in [one.labels for one in found]
        assert not [one for one in found if "mesh" in one.labels]


class Waiting:
    """A mesh that has heard of nobody so far."""

    name = "ratings"

    def own_metrics(self):
        return iter(())

    def unready(self):
        return "no configuration yet"


def test_a_program_is_ready_when_all_of_its_meshes_are(where):
    with Mesh("reviews", config=[]):
        assert ask(where, "/readyz") == (200, "ready\n")
        waiting = Waiting()
        port = PORTS.join(waiting, where, "")
        assert ask(where, "/readyz") == (503, "ratings: no configuration yet\n")
        assert ask(where, "/healthz")[0] == 200
        PORTS.leave(waiting, port)
        assert ask(where, "/readyz") == (200, "ready\n")


def test_the_port_is_there_until_the_last_one_closes(where):
    first, second = Mesh("reviews", config=[]), Mesh("ratings", config=[])
    first.start()
    second.start()
    first.close()
    assert shown(where) == ["ratings"]
    assert first.admin_address is None
    second.close()
    with pytest.raises(urllib.error.URLError):
        ask(where)
    second.start()
    assert shown(where) == [None]
    second.close()


def test_any_free_port_is_for_one_mesh_alone():
    with (
        Mesh("reviews", config=[], admin="127.0.0.1:0") as one,
        Mesh("ratings", config=[], admin="127.0.0.1:0") as other,
    ):
        assert one.admin_address != other.admin_address
        assert shown(one.admin_address) == [None]


def test_who_has_another_token_is_not_shown_there(where, monkeypatch, caplog):
    with Mesh("reviews", config=[]):
        monkeypatch.setenv("MESHLIB_ADMIN_TOKEN", "much secret")
        with caplog.at_level(logging.ERROR, "meshlib"), Mesh("ratings", config=[]) as other:
            assert other.admin_address is None
            assert shown(where) == [None]
    assert "ratings is not shown" in caplog.text
    assert "much secret" not in caplog.text
