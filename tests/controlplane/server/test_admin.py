"""The admin interface over HTTP: who may read it, and what it says."""

import json
import re

import aiohttp
import pytest

from meshlib.controlplane import ControlPlane
from meshlib.errors import ConfigError

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "ratings"},
    "spec": {"ports": [{"name": "http", "port": 9080}]},
}
CLUSTER = "outbound|9080||ratings.default.svc.cluster.local"


@pytest.fixture
async def plane():
    async with ControlPlane([SERVICE], listen="127.0.0.1:0", admin="127.0.0.1:0") as made:
        yield made


async def get(plane, path, **headers):
    url = f"http://{plane.admin_address}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def said(plane, path):
    status, text = await get(plane, path)
    assert status == 200, text
    return json.loads(text)


async def ask(connect, plane, node_id, *, error=None):
    stream = await connect(plane.address, node_id=node_id)
    await stream.ask("cds", CLUSTER)
    await stream.next()
    await stream.ask("cds", CLUSTER, error=error)
    await stream.ask("eds", CLUSTER)  # once it is answered, so was what came before
    await stream.accept(CLUSTER)
    return stream


async def test_elsewhere_than_on_loopback_it_wants_a_token(monkeypatch):
    monkeypatch.delenv("MESHLIB_ADMIN_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="not loopback: an admin token is needed"):
        ControlPlane([], admin="0.0.0.0:0")


async def test_with_the_token_it_may_be_read_and_without_it_not(monkeypatch):
    monkeypatch.setenv("MESHLIB_ADMIN_TOKEN", "sesame")
    async with ControlPlane([], listen="127.0.0.1:0", admin="0.0.0.0:0") as plane:
        for path in ("/api/v1/status", "/api/v1/clients", "/metrics"):
            assert (await get(plane, path))[0] == 401
            assert (await get(plane, path, Authorization="Bearer simsim"))[0] == 401
            assert (await get(plane, path, Authorization="Bearer sesame"))[0] == 200


async def test_a_token_is_wanted_on_loopback_too_if_there_is_one():
    async with ControlPlane(
        [], listen="127.0.0.1:0", admin="127.0.0.1:0", admin_token="sesame"
    ) as plane:
        assert (await get(plane, "/api/v1/status"))[0] == 401


async def test_health_needs_no_token(monkeypatch):
    monkeypatch.setenv("MESHLIB_ADMIN_TOKEN", "sesame")
    async with ControlPlane([], listen="127.0.0.1:0", admin="0.0.0.0:0") as plane:
        assert await get(plane, "/healthz") == (200, "ok\n")
        assert await get(plane, "/readyz") == (200, "ready\n")


async def test_a_token_is_never_logged(monkeypatch, caplog):
    monkeypatch.setenv("MESHLIB_ADMIN_TOKEN", "sesame")
    caplog.set_level(0)
    async with ControlPlane([], listen="127.0.0.1:0", admin="0.0.0.0:0") as plane:
        await get(plane, "/metrics", Authorization="Bearer sesame")
        assert "sesame" not in json.dumps(plane.status) + repr(plane)
    assert "sesame" not in caplog.text


async def test_clients_are_listed_by_name(plane, connect):
    await ask(connect, plane, "anna")
    await ask(connect, plane, "anna")
    await ask(connect, plane, "picky", error=f"clusters/{CLUSTER}: no")
    clients = (await said(plane, "/api/v1/clients"))["clients"]
    assert [(one["id"], one["streams"], one["rejecting"]) for one in clients] == [
        ("anna", 2, False),
        ("picky", 1, True),
    ]


async def test_a_client_is_told_with_its_versions_and_refusals(plane, connect):
    await ask(connect, plane, "picky", error=f"clusters/{CLUSTER}: no")
    client = await said(plane, "/api/v1/clients/picky")
    cds = client["streams"][0]["types"]["cds"]
    assert (cds["state"], cds["acked"]) == ("NACK", "")
    assert client["nacks"][0]["text"] == f"clusters/{CLUSTER}: no"
    assert client["nacks"][0]["version"] == cds["sent"]


async def test_a_clients_config_is_told_by_type_with_what_it_refused(plane, connect):
    await ask(connect, plane, "picky", error=f"clusters/{CLUSTER}: no")
    types = (await said(plane, "/api/v1/config/picky/cds"))["streams"][0]["types"]
    assert set(types) == {"cds"}
    assert types["cds"]["resources"][0]["name"] == CLUSTER
    assert [(one["name"], one["refused"]) for one in types["cds"]["names"]] == [(CLUSTER, True)]


@pytest.mark.parametrize(
    ("path", "key", "known"),
    [
        ("/api/v1/clients/nobody", "clients", ["anna"]),
        ("/api/v1/config/nobody", "clients", ["anna"]),
        ("/api/v1/config/anna/xds", "types", "rds"),
    ],
)
async def test_who_asks_for_what_is_not_there_is_told_what_is(plane, connect, path, key, known):
    await ask(connect, plane, "anna")
    status, text = await get(plane, path)
    assert status == 404
    assert known == json.loads(text)[key] or known in json.loads(text)[key]


async def test_prometheus_reads_what_is_counted(plane, connect):
    await ask(connect, plane, "anna")
    await ask(connect, plane, "picky", error="no")
    await plane.apply([SERVICE])
    with pytest.raises(ConfigError):
        await plane.apply([{"kind": "Nonsense"}])
    status, text = await get(plane, "/metrics")
    assert status == 200
    lines = text.splitlines()
    assert all(
        re.fullmatch(r"# (HELP|TYPE) \w+ .+|[a-z_]+(\{([a-z]+=\"[^\"]*\",?)+\})? [0-9.e+-]+", line)
        for line in lines
    ), text
    for line in (
        'streams{kind="other",protocol="sotw"} 2',
        "rejecting_streams 1",
        'pushes_total{type="cds"} 2',
        'nacks_total{type="cds"} 1',
        'acks_total{type="cds"} 1',
        "applied_total 2",
        "refused_edits_total 1",
        f'config_info{{version="{plane.version}"}} 1',
        'ack_seconds_bucket{le="+Inf"} 4',
        "ack_seconds_count 4",
    ):
        assert f"meshlib_control_plane_{line}" in lines


# A NACK may take the edit back for all


OTHER = {"metadata": {"name": "other"}}
OTHER_CLUSTER = "outbound|9080||other.default.svc.cluster.local"


async def test_with_the_knob_a_refused_edit_is_taken_back_for_all(connect):
    async with ControlPlane([SERVICE], listen="127.0.0.1:0", rollback_on_nack=True) as plane:
        good = plane.version
        picky, other = [await connect(plane.address, node_id=name) for name in ("picky", "other")]
        for stream in (picky, other):
            await stream.ask("cds", "*")
            await stream.accept("*")
        await plane.apply([SERVICE, SERVICE | OTHER])
        bad = plane.version
        assert len((await other.accept("*")).resources) == 3
        await picky.next()
        await picky.ask("cds", "*", error=f"clusters/{OTHER_CLUSTER}: no")
        assert len((await other.accept("*")).resources) == 2
        assert len((await picky.accept("*")).resources) == 2
        assert plane.version == good
        assert bad in str(plane.errors[0])
        assert OTHER_CLUSTER in str(plane.errors[0])
        assert plane.status["errors"] == [str(plane.errors[0])]


async def test_a_refusal_of_what_was_there_before_takes_nothing_back(connect):
    async with ControlPlane([SERVICE], listen="127.0.0.1:0", rollback_on_nack=True) as plane:
        await plane.apply([SERVICE, SERVICE | OTHER])
        version = plane.version
        await ask(connect, plane, "picky", error=f"clusters/{CLUSTER}: no")
        assert not plane._changes, "nothing is under way either"
        assert plane.version == version
        assert plane.errors == ()
