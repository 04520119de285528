"""A member shows those who run it what it counts, and whether it lives and is ready."""

import gzip
import logging
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import meshlib
from meshlib.mesh.admin_port import AdminPort

ROUTES = [
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {
            "hosts": ["reviews.default.svc.cluster.local"],
            "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "127.0.0.1"}],
        },
    }
]


def ask(address, path="/metrics", **headers):
    request = urllib.request.Request(f"http://{address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, refused.read().decode()


@pytest.fixture
def mesh():
    with meshlib.Mesh("productpage", config=ROUTES, admin="127.0.0.1:0") as mesh:
        yield mesh


def test_a_member_shows_its_metrics(mesh):
    status, headers, text = ask(mesh.admin_address)
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    cluster = "outbound|9080||reviews.default.svc.cluster.local"
    healthy = {"cluster": cluster, "state": "healthy"}
    assert [
        sample.value
        for sample in families["meshlib_cluster_endpoints"].samples
        if sample.labels == healthy
    ] == [1]
    assert families["istio_requests"].type == "counter"


def test_a_program_with_an_endpoint_of_its_own_has_the_same_text(mesh):
    families = {family.name for family in text_string_to_metric_families(mesh.metrics())}
    _, _, shown = ask(mesh.admin_address)
    assert families == {family.name for family in text_string_to_metric_families(shown)}


def test_openmetrics_is_spoken_to_those_who_ask_for_it(mesh):
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    _, headers, text = ask(mesh.admin_address, Accept=asked)
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(text)} >= {"meshlib_config_age_seconds"}


def test_whoever_takes_it_packed_gets_it_packed_where_that_is_worth_it(mesh):
    url = f"http://{mesh.admin_address}"
    packed = urllib.request.Request(f"{url}/metrics", headers={"Accept-Encoding": "gzip, br"})
    with urllib.request.urlopen(packed, timeout=10) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        text = gzip.decompress(answer.read()).decode()
    assert "meshlib_cluster_endpoints" in text
    small = urllib.request.Request(f"{url}/healthz", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(small, timeout=10) as answer:
        assert (answer.headers["Content-Encoding"], answer.read()) == (None, b"ok\n")


def test_who_speaks_http_1_0_gets_the_same_text(mesh):
    host, _, port = mesh.admin_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as old:
        old.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        with old.makefile("rb") as read:
            head, _, text = read.read().partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"meshlib_cluster_endpoints" in text
    assert text.endswith(b"\n")


def test_it_lives_and_is_ready(mesh):
    assert ask(mesh.admin_address, "/healthz")[::2] == (200, "ok\n")
    assert ask(mesh.admin_address, "/readyz")[::2] == (200, "ready\n")
    assert ask(mesh.admin_address, "/nowhere")[0] == 404


def test_who_is_not_ready_says_why():
    port = AdminPort("127.0.0.1:0", "", metrics=str, unready=lambda: "no configuration yet: down")
    port.start()
    try:
        assert ask(port.address, "/readyz")[::2] == (503, "no configuration yet: down\n")
        assert ask(port.address, "/healthz")[0] == 200
    finally:
        port.close()


def test_a_page_with_a_name_of_its_own_for_this_machine_reads_nothing(mesh):
    assert ask(mesh.admin_address, Host="evil.example.com")[0] == 403
    assert ask(mesh.admin_address, Host="localhost:80")[0] == 200
    assert ask(mesh.admin_address, Host="[::1]:80")[0] == 200


def test_a_token_is_asked_of_all_but_orchestrators(monkeypatch):
    monkeypatch.setenv("MESHLIB_ADMIN_TOKEN", "much secret")
    with meshlib.Mesh("productpage", config=ROUTES, admin="127.0.0.1:0") as mesh:
        where = mesh.admin_address
        status, headers, _ = ask(where)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert ask(where, Authorization="Bearer wrong")[0] == 401
        assert ask(where, Authorization="Bearer much secret")[0] == 200
        assert ask(where, "/readyz")[0] == 200
        assert "secret" not in repr(mesh.options)


@pytest.mark.parametrize("admin", ["0.0.0.0:15020", "example.com:1", "15020", "127.0.0.1:x", 5])
def test_without_a_token_it_is_for_this_machine_alone(admin):
    with pytest.raises(meshlib.ConfigError, match="MESHLIB_ADMIN"):
        meshlib.Mesh("productpage", admin=admin)


def test_the_environment_may_name_it(monkeypatch):
    monkeypatch.setenv("MESHLIB_ADMIN", "127.0.0.1:0")
    with meshlib.Mesh("productpage") as mesh:
        assert ask(mesh.admin_address, "/healthz")[0] == 200
    assert mesh.admin_address is None


def test_metrics_are_on_or_off(monkeypatch):
    monkeypatch.setenv("MESHLIB_METRICS", "perhaps")
    with pytest.raises(meshlib.ConfigError, match="'on' nor 'off'"):
        meshlib.Mesh("productpage")


@pytest.mark.parametrize(
    ("admin", "metrics", "introduced"),
    [
        ("", None, False),
        ("", True, True),
        ("127.0.0.1:0", None, True),
        ("127.0.0.1:0", False, False),
    ],
)
def test_peers_are_told_who_this_is_where_somebody_reads_metrics(admin, metrics, introduced):
    with meshlib.Mesh("productpage", config=ROUTES, admin=admin, metrics=metrics) as mesh:
        assert bool(mesh._engine.around.introduction) is introduced


def test_it_closes_with_the_mesh_and_opens_again(mesh):
    before = mesh.admin_address
    mesh.close()
    with pytest.raises(urllib.error.URLError):
        ask(before)
    mesh.start()
    assert ask(mesh.admin_address, "/healthz")[0] == 200


def test_a_port_that_others_have_keeps_no_member_from_its_work(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            caplog.at_level(logging.ERROR, "meshlib"),
            meshlib.Mesh("productpage", config=ROUTES, admin=where) as mesh,
        ):
            assert mesh.admin_address is None
            assert mesh.route("GET", "http://reviews:9080/").cluster
    assert "cannot be had" in caplog.text
