import json

import pytest

from meshlib.xds.codec import decode_snapshot

CLUSTER = "outbound|9080||ratings.default.svc.cluster.local"


def test_what_is_printed_is_a_configuration(mesh, run):
    said = run("compile", mesh)
    assert said.exit_code == 0
    snapshot = decode_snapshot(json.loads(said.output))
    assert "ratings:9080" in snapshot.listeners
    assert CLUSTER in snapshot.clusters
    assert not list(snapshot.problems())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("lds", "Listener"),
        ("rds", "RouteConfiguration"),
        ("cds", "Cluster"),
        ("eds", "ClusterLoadAssignment"),
    ],
)
def test_a_type_may_be_chosen(mesh, run, kind, message):
    printed = json.loads(run("compile", mesh, "--type", kind).output)
    assert {one["@type"].rpartition(".")[2] for one in printed} == {message}


def test_a_service_may_be_chosen(mesh, run):
    text = (mesh / "ratings.yaml").read_text().replace("ratings", "details")
    (mesh / "details.yaml").write_text(text)
    printed = json.loads(run("compile", mesh, "--service", "ratings").output)
    assert not [one for one in printed if "details" in json.dumps(one)]
    assert not list(decode_snapshot(printed).problems())


def test_an_unknown_service_is_answered_with_those_that_are_known(mesh, run):
    said = run("compile", mesh, "--service", "nobody")
    assert said.exit_code == 1
    assert "ratings" in said.stderr


def test_the_table_says_where_a_resource_comes_from(mesh, run):
    said = run("compile", mesh, "-o", "table", "--type", "cds").output
    (line,) = [line for line in said.splitlines() if f" {CLUSTER} " in line]
    assert line.split()[2] == "mesh/ratings.yaml:13:1"


def test_an_unknown_type_is_wrong_usage(mesh, run):
    assert run("compile", mesh, "--type", "sds").exit_code == 2
