"""Secrets that resources name are discovered, kept by one alone, and shown to nobody."""

import asyncio
import time
from dataclasses import replace

import pytest

from meshlib.controlplane import SnapshotCache, serve
from meshlib.identity.authority import Authority
from meshlib.identity.secret_source import SecretSource
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.mesh.discovered import Discovered
from meshlib.model.security import CertificateValidation, SdsSecret, Secret, UpstreamTls
from meshlib.testing.ads import AdsPair
from meshlib.xds.bootstrap import Bootstrap
from meshlib.xds.bootstrap_servers import ChannelCreds, Server, is_local
from meshlib.xds.csds import Client, answer
from meshlib.xds.types import CLUSTER, SECRET

DOMAIN = TrustDomain("cluster.local")
API = "kubernetes://api"
FAR = Bootstrap.for_server("127.0.0.1:1", node_id="me")
TLS = UpstreamTls(
    certificate=SdsSecret("default"),
    validation=CertificateValidation(roots=SdsSecret(API)),
)


@pytest.fixture
def authority():
    return Authority.create(MemoryStore(), DOMAIN, time.time())


@pytest.fixture
def own(authority):
    svid = authority.issue(SpiffeId(DOMAIN, "/ns/default/sa/me"), time.time())
    chain, key = svid.certificate_chain, svid.private_key
    return Secret(name="default", certificate_chain=chain, private_key=key)


@pytest.fixture
async def plane():
    cache = SnapshotCache(lambda _node: "all", check=False)
    async with serve(cache, "127.0.0.1:0") as server:
        cache.port = int(server.address.rpartition(":")[2])
        cache.status = server.status
        yield cache


@pytest.fixture
def chain(world):
    """All that listener ``a`` needs, its cluster secured."""
    made = world.chain("a", "x")
    made = replace(made, clusters={"x": replace(made.clusters["x"], tls=TLS)})
    rooms = (made.listeners, made.routes, made.clusters, made.endpoints)
    return [one for room in rooms for one in room.values()]


def keeper(*, is_identity=True):
    return Discovered(SecretSource(DOMAIN, clock=time.time), is_identity)


async def until(me, holds):
    await asyncio.to_thread(me.until, holds)


async def test_what_a_cluster_names_is_there_before_the_cluster(
    plane, member, chain, own, authority
):
    roots = authority.bundle().pem
    secrets = [own, Secret(name="ROOTCA", trusted_ca=roots), Secret(name=API, trusted_ca=roots)]
    plane.set_snapshot("all", [*chain, *secrets])
    mine = keeper()
    me = member(plane.port, keeper=mine)
    me.client.watch("a")
    await until(me, lambda: "x" in me.snapshot.clusters)
    assert mine.source.current().svid.spiffe_id == "spiffe://cluster.local/ns/default/sa/me"
    assert mine.source.named(API).trusted_ca == roots
    assert me.problems == []


async def test_no_key_is_shown_to_who_asks_what_this_client_knows(plane, member, chain, own):
    plane.set_snapshot("all", [*chain, own])
    me = member(plane.port, keeper=keeper())
    me.client.watch("a")
    key = own.private_key.splitlines()[1]
    await asyncio.to_thread(settled, me, "default")
    entries = me.client.entries()
    dump = answer(b"", [Client(node=FAR.node, entries=entries)], lambda t: t)
    assert b"default" in dump
    assert key not in dump
    told = repr((entries, me.client.status(), me.snapshot, me.problems))
    assert key.decode() not in told
    assert me.client.status()["types"][SECRET]["resources"]["default"]["cached"]


def settled(me, name):
    end = time.monotonic() + 20
    while not any(e.name == name and e.resource is not None for e in me.client.entries()):
        assert time.monotonic() < end


@pytest.fixture
def local(encoding):
    """A pair on one machine, and the keeper of its secrets."""
    mine = keeper(is_identity=False)
    server = Server(server_uri="127.0.0.1:18000", delta=encoding == "delta")
    pair = AdsPair(servers={None: (server,)}, keeper=mine)
    pair.watch("a")
    pair.connect()
    return pair


def test_a_cluster_waits_for_the_secrets_that_it_names(local, world, authority):
    local.serve(world.chain("a", "x"))
    before = local.snapshot
    secured = replace(world.cluster("x"), tls=TLS)
    local.respond(CLUSTER, secured, version="2")
    assert local.names(SECRET) == (API,)
    assert local.snapshot == before
    local.respond(SECRET, Secret(name=API, trusted_ca=authority.bundle().pem))
    assert local.snapshot.clusters["x"] == secured
    assert [one.name for one in local.secrets] == [API]


def test_a_cluster_does_without_a_secret_that_does_not_come(local, world):
    """Then nobody is connected to: nothing makes it plain text."""
    secured = replace(world.cluster("x"), tls=TLS)
    local.serve(world.chain("a", "x"))
    local.respond(CLUSTER, secured, version="2")
    local.jump(16.0)
    assert local.snapshot.clusters["x"] == secured
    assert "sent nothing" in local.discovery.trouble(SECRET, API)


def test_names_that_no_resource_names_any_more_are_given_up(local, world, authority):
    local.serve(world.chain("a", "x"))
    local.respond(CLUSTER, replace(world.cluster("x"), tls=TLS), version="2")
    local.respond(SECRET, Secret(name=API, trusted_ca=authority.bundle().pem))
    local.respond(CLUSTER, world.cluster("x"), version="3")
    assert local.names(SECRET) == ()
    assert local.secrets[-1].secret is None


async def test_an_exchange_is_handed_on(plane, member, chain, own, authority):
    roots = Secret(name="ROOTCA", trusted_ca=authority.bundle().pem)
    plane.set_snapshot("all", [*chain, own, roots])
    mine = keeper()
    serials: list[int] = []
    mine.source.watch(lambda found: serials.append(found.svid.serial if found.svid else 0))
    me = member(plane.port, keeper=mine)
    me.client.watch("a")
    mine.source.watch(lambda _: me.heard.put(None))
    await until(me, lambda: any(serials))
    svid = authority.issue(SpiffeId(DOMAIN, "/ns/default/sa/me"), time.time())
    chain_, key = svid.certificate_chain, svid.private_key
    plane.update("all", [Secret(name="default", certificate_chain=chain_, private_key=key)])
    await until(me, lambda: svid.serial in serials)


async def test_a_secret_that_cannot_be_used_is_refused_and_the_one_before_kept(
    plane, member, chain, authority
):
    roots = Secret(name="ROOTCA", trusted_ca=authority.bundle().pem)
    plane.set_snapshot("all", [*chain, roots])
    mine = keeper()
    me = member(plane.port, keeper=mine)
    mine.source.watch(lambda _: me.heard.put(None))
    me.client.watch("a")
    await until(me, mine.source.current)
    plane.update("all", [Secret(name="ROOTCA", trusted_ca=b"nothing of the kind")])
    said = "has no roots in PEM"
    await until(me, lambda: any("NACK" in one and said in one for one in me.problems))
    assert mine.source.current().bundles["cluster.local"].pem == roots.trusted_ca


async def test_the_own_name_is_not_asked_for_where_it_is_known_otherwise(
    plane, member, chain, own, authority
):
    secrets = [own, Secret(name=API, trusted_ca=authority.bundle().pem)]
    plane.set_snapshot("all", [*chain, *secrets])
    mine = keeper(is_identity=False)
    me = member(plane.port, keeper=mine)
    me.client.watch("a")
    await until(me, lambda: "x" in me.snapshot.clusters)
    assert list(me.client.status()["types"][SECRET]["resources"]) == [API]
    assert mine.source.named("default") is None


async def test_secrets_are_not_asked_for_in_plain_text_from_afar(
    plane, member, chain, own, monkeypatch
):
    monkeypatch.setattr("meshlib.xds.bootstrap_servers.is_local", lambda _: False)
    plane.set_snapshot("all", [*chain, own])
    mine = keeper()
    me = member(plane.port, keeper=mine)
    me.client.watch("a")
    await until(me, lambda: "x" in me.snapshot.clusters)
    assert any("default" in said and "reached in plain text" in said for said in me.problems)
    assert mine.source.named("default") is None


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("127.0.0.1:18000", True),
        ("localhost:18000", True),
        ("[::1]:18000", True),
        ("ipv4:127.0.0.1:18000", True),
        ("dns:///localhost:18000", True),
        ("unix:/run/plane.sock", True),
        ("10.0.0.1:18000", False),
        ("localhost.evil.example:18000", False),
        ("plane:18000", False),
        ("dns://127.0.0.1/plane:18000", False),
        ("xds:///plane", False),
    ],
)
def test_only_what_stays_on_this_machine_is_local(target, local):
    assert is_local(target) is local
    assert Server(server_uri=target).keeps_secrets is local
    assert Server(server_uri=target, channel_creds=ChannelCreds("tls")).keeps_secrets
