"""What a member is called in metrics, and whom it tells."""

from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from meshlib import Mesh
from meshlib.mesh.options import options
from meshlib.mesh.workload import Workload
from meshlib.middleware._grpc_request import joined
from meshlib.model.workload import PeerFacts
from meshlib.xds.codec.peer_metadata import decode_peer

SAID, ID = "x-envoy-peer-metadata", "x-envoy-peer-metadata-id"


def workload(environ=None, **given):
    names = ("service", "namespace", "version", "labels", "config", "control_plane", "bootstrap")
    rest = {"mtls": None, "outbound_traffic_policy": None, "propagate": ()}
    chosen = dict.fromkeys(names) | rest | given
    return Workload(options(**chosen, environ={}), environ or {})


def test_a_member_is_called_by_its_service_and_version():
    assert workload(service="reviews", version="v2").facts == PeerFacts(
        workload="reviews",
        namespace="default",
        canonical_service="reviews",
        canonical_revision="v2",
        app="reviews",
        version="v2",
        cluster="Kubernetes",
    )


def test_labels_of_a_member_name_it_as_in_istio():
    labels = {"service.istio.io/canonical-name": "opinions", "app": "stars"}
    facts = workload(service="reviews", labels=labels).facts
    assert (facts.workload, facts.canonical_service, facts.app) == ("reviews", "opinions", "stars")
    assert (facts.canonical_revision, facts.version) == ("latest", "unknown")


@pytest.mark.parametrize("name", ["MESHLIB_WORKLOAD", "ISTIO_META_WORKLOAD_NAME"])
@pytest.mark.parametrize("cluster", ["MESHLIB_CLUSTER", "ISTIO_META_CLUSTER_ID"])
def test_the_environment_names_workload_and_cluster(name, cluster):
    made = workload({name: "reviews-v1", cluster: "west"}, service="reviews")
    assert (made.facts.workload, made.facts.cluster) == ("reviews-v1", "west")
    assert (made.facts.canonical_service, made.facts.app) == ("reviews", "reviews")
    assert made.labels == {
        "service.istio.io/workload-name": "reviews-v1",
        "topology.istio.io/cluster": "west",
    }


def test_who_says_nothing_of_itself_is_unknown():
    facts = workload().facts
    assert (facts.workload, facts.canonical_service, facts.app) == ("unknown",) * 3


def test_an_introduction_tells_the_facts_and_a_node_id_of_istios_shape():
    made = workload(service="reviews", version="v2")
    told = dict(made.introduction)
    assert decode_peer(told[SAID]) == made.facts
    kind, _, name, domain = told[ID].split("~")
    assert (kind, domain) == ("sidecar", "default.svc.cluster.local")
    assert name.startswith("reviews-v2-")
    assert name.endswith(".default")


async def answer(request):
    return web.json_response({name.lower(): value for name, value in request.headers.items()})


@asynccontextmanager
async def served_by(mesh):
    app = web.Application()
    app.router.add_get("/", answer)
    mesh.aiohttp.setup(app)
    async with mesh, TestServer(app) as server:
        yield server


def config(server):
    return [entry(server, "inside", "MESH_INTERNAL"), entry(server, "abroad", "MESH_EXTERNAL")]


def entry(server, name, location):
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "hosts": [name],
            "location": location,
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "127.0.0.1", "ports": {"http": server.port}}],
        },
    }


async def test_hosts_of_the_mesh_are_told_who_calls_and_others_are_not():
    async with (
        served_by(Mesh("inside", config=[])) as server,
        Mesh("caller", config=config(server), metrics=True) as mesh,
        mesh.aiohttp.session() as session,
    ):
        async with session.get("http://inside:80/") as inside:
            assert {SAID, ID} <= set(await inside.json())
        for url in (f"http://127.0.0.1:{server.port}/", "http://abroad:80/"):
            async with session.get(url) as outside:
                assert not {SAID, ID} & set(await outside.json())


async def test_who_hands_on_all_that_he_received_does_not_call_in_anothers_name():
    given = {"X-Envoy-Peer-Metadata": "another", "x-mine": "mine"}
    async with (
        served_by(Mesh("inside", config=[])) as server,
        Mesh("caller", config=config(server), metrics=True) as mesh,
        mesh.aiohttp.session() as session,
        session.get("http://inside:80/", headers=given) as inside,
    ):
        seen = await inside.json()
    assert decode_peer(seen[SAID]).workload == "caller"
    assert seen["x-mine"] == "mine"


def test_of_grpc_calls_it_is_the_same():
    mine = (("x-envoy-peer-metadata", "me"),)
    given = (("X-Envoy-Peer-Metadata", "another"), ("x-mine", "mine"))
    assert joined(given, mine) == (("x-mine", "mine"), *mine)
    assert joined(given, ()) == (("x-mine", "mine"),)


async def test_who_asks_is_told_who_answers_and_others_are_not():
    async with served_by(Mesh("inside", config=[], metrics=True)) as server:
        assert decode_peer(
            await told_by(server, Mesh("caller", config=config(server), metrics=True))
        )
        assert await told_by(server, Mesh("stranger", config=config(server))) is None


async def test_who_wants_no_metrics_tells_nobody():
    async with (
        served_by(Mesh("inside", config=[])) as server,
        Mesh("caller", config=config(server)) as mesh,
        mesh.aiohttp.session() as session,
        session.get("http://inside:80/") as inside,
    ):
        assert not {SAID, ID} & set(await inside.json())


async def told_by(server, mesh):
    async with (
        mesh,
        mesh.aiohttp.session() as session,
        session.get("http://inside:80/") as answer,
    ):
        return answer.headers.get(SAID)
