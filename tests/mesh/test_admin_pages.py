"""What the admin port shows of a member besides metrics, by Envoy's names and in its messages."""

import asyncio
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from datetime import datetime

import aiohttp
import pytest
from aiohttp import web
from google.protobuf import json_format

from meshlib import Mesh
from meshlib.controlplane import SnapshotCache, serve
from meshlib.identity.authority import Authority
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.mesh.pages import Asked, RefusedError
from meshlib.mesh.pages.answers import framed
from meshlib.model.security import CertificateFiles, RootFile, SdsSecret, Secret, SystemRoots
from meshlib.testing import control_plane
from meshlib.xds.protos import message_class, pool

ADMIN = "envoy.admin.v3"
V3 = "type.googleapis.com/envoy.config"
HTTP = "type.googleapis.com/envoy.extensions.filters"
MANAGER = {
    "@type": f"{HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
    "http_filters": [{"name": "r", "typed_config": {"@type": f"{HTTP}.http.router.v3.Router"}}],
    "route_config": {
        "name": "web",
        "virtual_hosts": [
            {
                "name": "web",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}],
            }
        ],
    },
}
LISTENER = {
    "@type": f"{V3}.listener.v3.Listener",
    "name": "web:80",
    "api_listener": {"api_listener": MANAGER},
}
CLUSTER = {
    "@type": f"{V3}.cluster.v3.Cluster",
    "name": "web",
    "type": "STATIC",
    "load_assignment": {"cluster_name": "web"},
}
NAME = "outbound|9080||reviews.default.svc.cluster.local"
DOMAIN = TrustDomain("cluster.local")
REVIEWS = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "reviews"},
    "spec": {
        "hosts": ["reviews.default.svc.cluster.local"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
        "endpoints": [
            {"address": "127.0.0.1", "ports": {"http": 1}, "weight": 3, "locality": "eu/a/1"},
            {"address": "::1", "ports": {"http": 2}},
        ],
    },
}
WILDCARD = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "wild"},
    "spec": {
        "hosts": ["*.example.com"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "NONE",
    },
}


def ask(mesh, path, /, **parameters):
    query = f"?{urllib.parse.urlencode(parameters, doseq=True)}" if parameters else ""
    try:
        with urllib.request.urlopen(f"http://{mesh.admin_address}{path}{query}", timeout=30) as one:
            return one.status, one.headers, one.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, refused.read().decode()


def text_of(mesh, path, /, **parameters):
    status, headers, text = ask(mesh, path, format="text", **parameters)
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    return text


def json_of(mesh, path, /, **parameters):
    status, headers, text = ask(mesh, path, format="json", **parameters)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    return json.loads(text)


def message(name, value):
    """As strict as any other reader of Envoy's messages."""
    return json_format.ParseDict(value, message_class(f"{ADMIN}.{name}")(), descriptor_pool=pool())


def dumps(mesh):
    """The dumps of ``/config_dump`` by kind, unpacked."""
    found = {}
    for packed in message("ConfigDump", json_of(mesh, "/config_dump")).configs:
        kind = packed.TypeName()
        one = found[kind.rpartition(".")[2]] = message_class(kind)()
        packed.Unpack(one)
    return found


def state(told):
    field = told.DESCRIPTOR.fields_by_name["client_status"]
    return field.enum_type.values_by_number[told.client_status].name


@pytest.fixture
def mesh():
    with Mesh("productpage", config=[REVIEWS, WILDCARD], admin="127.0.0.1:0") as mesh:
        yield mesh


# -- all pages -----------------------------------------------------------------------------------

PAGES = ("/certs", "/clusters", "/config_dump", "/listeners", "/runtime", "/server_info")


def test_the_first_page_says_what_there_is(mesh):
    told = json_of(mesh, "/")
    assert told["meshes"] == ["productpage"]
    assert {*PAGES, "/metrics", "/healthz", "/ready", "/routes"} <= set(told["pages"])
    for path in set(told["pages"]) - {"/routes"}:
        assert ask(mesh, path)[0] == 200
    assert ask(mesh, "/help")[2] == text_of(mesh, "/")


def test_what_nobody_says_a_format_of_comes_as_envoy_gives_it(mesh):
    usual = {path: ask(mesh, path)[1]["Content-Type"].partition(";")[0] for path in PAGES}
    plain = {path for path, content_type in usual.items() if content_type == "text/plain"}
    assert plain == {"/clusters", "/listeners"}
    assert set(usual.values()) == {"text/plain", "application/json"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/drain_listeners", "there is no '/drain_listeners'; / says what there is"),
        ("/stats", "there is no '/stats'"),
        ("/clusters/", "there is no '/clusters/'"),
        ("/clusters?filter=reviews", "/clusters has no parameter 'filter', but format, mesh"),
        ("/clusters?format=xml", "format 'xml' is neither text nor json"),
        ("/clusters?mesh=ratings", "?mesh= has to be one of: productpage"),
        ("/?mask=x", "/ has no parameter 'mask', but format"),
        ("/clusters?" + "&".join("format=text" for _ in range(65)), "more than 64 parameters"),
    ],
)
def test_what_is_asked_in_vain_is_refused(mesh, path, said):
    status, _, text = ask(mesh, path)
    assert status == (404 if said.startswith("there is no") else 400)
    assert said in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(mesh, method):
    asked = urllib.request.Request(f"http://{mesh.admin_address}/clusters", method=method)
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(asked):
        pass
    with refused.value:
        assert refused.value.code == 501
        assert "Access-Control-Allow-Origin" not in refused.value.headers


def test_a_browser_keeps_and_runs_nothing_of_it(mesh):
    for path in (*PAGES, "/", "/metrics", "/healthz"):
        headers = ask(mesh, path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "no-cache" in headers["Cache-Control"]
        assert "Access-Control-Allow-Origin" not in headers


def test_pages_are_for_those_who_have_the_token(monkeypatch):
    monkeypatch.setenv("MESHLIB_ADMIN_TOKEN", "much secret")
    with Mesh("productpage", config=[REVIEWS], admin="127.0.0.1:0") as mesh:
        for path in ("/", "/routes", "/nowhere", *PAGES):
            assert ask(mesh, path)[0] == 401
        assert ask(mesh, "/ready")[::2] == (200, "LIVE\n")


def test_a_reader_that_is_slow_holds_no_lock(mesh):
    host, _, port = mesh.admin_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(b"GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(1) == b"H"
        with mesh._runtime.lock:
            assert "reviews" in text_of(mesh, "/clusters")
            assert "reviews" in text_of(mesh, "/config_dump")


def test_a_list_is_made_while_it_is_read():
    made = iter([{"name": "one"}, {"name": "two"}])
    pieces = framed({"@type": "t"}, first=made, second=())
    while '"one"' not in next(pieces):
        pass
    assert list(made) == [{"name": "two"}]
    assert json.loads("".join(framed({"a": 1}, b=[{}, {"c": 2}], d=()))) == {
        "a": 1,
        "b": [{}, {"c": 2}],
        "d": [],
    }
    assert json.loads("".join(framed({}, b=()))) == {"b": []}


def test_a_name_with_an_end_of_line_in_it_makes_no_line_of_its_own():
    forged = f"web\n{NAME}::127.0.0.1:1::health_flags::healthy\x1b[2J"
    with Mesh("me", config=[REVIEWS], admin="127.0.0.1:0") as mesh:
        engine = mesh._engine
        clusters = {forged: replace(engine.snapshot.clusters[NAME], name=forged)}
        listeners = {forged: replace(engine.snapshot.listeners["reviews:9080"], name=forged)}
        engine.apply(replace(engine.snapshot, clusters=clusters, listeners=listeners))
        for path in ("/clusters", "/listeners", "/config_dump"):
            lines = text_of(mesh, path).split("\n")
            assert any(line.find(r"web\n") >= 0 for line in lines)
            assert not any(line.startswith(NAME) or "\x1b" in line for line in lines)
            assert json.dumps(forged) in json.dumps(json_of(mesh, path))


def test_a_question_is_read_as_browsers_write_it():
    asked = Asked.of("/routes?explain=GET+http%3A%2F%2Fa&header=a:b&header=c:d&mesh=")
    assert asked.path == "/routes"
    assert asked.parameters == {
        "explain": ["GET http://a"],
        "header": ["a:b", "c:d"],
        "mesh": [""],
    }
    with pytest.raises(RefusedError):
        Asked.of("/routes?" + "&" * 100)


# -- several meshes ------------------------------------------------------------------------------


def test_a_page_is_of_one_of_the_meshes_that_share_the_port(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("MESHLIB_ADMIN", f"127.0.0.1:{free.getsockname()[1]}")
    with Mesh("reviews", config=[]), Mesh("productpage", config=[REVIEWS]) as mesh:
        assert json_of(mesh, "/")["meshes"] == ["reviews", "productpage"]
        assert "?mesh= is one of: reviews, productpage" in text_of(mesh, "/")
        status, _, said = ask(mesh, "/clusters")
        assert (status, said) == (400, "?mesh= has to be one of: reviews, productpage\n")
        assert NAME in text_of(mesh, "/clusters", mesh="productpage")
        assert NAME not in text_of(mesh, "/clusters", mesh="reviews")
        assert ask(mesh, "/ready")[2] == "LIVE\n"


# -- /config_dump --------------------------------------------------------------------------------


def test_a_configuration_without_a_control_plane_is_dumped(mesh):
    found = dumps(mesh)
    assert found["BootstrapConfigDump"].bootstrap.node.cluster == "productpage.default"
    listeners = {one.name: one for one in found["ListenersConfigDump"].dynamic_listeners}
    assert set(listeners) == set(mesh.status()["listeners"])
    reviews = listeners["reviews:9080"].active_state
    assert reviews.version_info == mesh.status()["version"]
    assert reviews.listener.TypeName() == "envoy.config.listener.v3.Listener"
    for kind, lists in (
        ("ClustersConfigDump", "dynamic_active_clusters"),
        ("RoutesConfigDump", "dynamic_route_configs"),
        ("EndpointsConfigDump", "dynamic_endpoint_configs"),
    ):
        told = getattr(found[kind], lists)
        assert told
        assert {state(one) for one in told} == {"ACKED"}
    assert ask(mesh, "/config_dump", include_eds="")[0] == 200


def test_what_a_control_plane_sent_is_dumped_with_its_version_and_time():
    with (
        control_plane([REVIEWS]) as plane,
        Mesh("productpage", control_plane=plane.address, admin="127.0.0.1:0") as mesh,
    ):
        assert mesh.ready("reviews:9080", "nobody:80", timeout=30)
        found = dumps(mesh)
        lines = text_of(mesh, "/config_dump").splitlines()
    (cluster,) = found["ClustersConfigDump"].dynamic_active_clusters
    assert cluster.version_info
    assert abs(cluster.last_updated.ToSeconds() - time.time()) < 300
    nobody = next(o for o in found["ListenersConfigDump"].dynamic_listeners if o.name[0] == "n")
    assert (nobody.name, state(nobody)) == ("nobody:80", "DOES_NOT_EXIST")
    assert not nobody.HasField("active_state")
    assert "does not have it" in nobody.error_state.details
    (line,) = [line for line in lines if "nobody:80" in line]
    assert line.split()[:3] == ["listener", "DOES_NOT_EXIST", "nobody:80"]
    assert "does not have it" in line
    assert any(line.split()[:3] == ["cluster", "ACKED", NAME] for line in lines)


async def test_what_is_refused_is_dumped_beside_the_last_good_one():
    cache = SnapshotCache(lambda node: "all", check=False)
    cache.set_snapshot("all", [LISTENER, CLUSTER])
    async with (
        serve(cache, "127.0.0.1:0") as server,
        Mesh("me", control_plane=server.address, admin="127.0.0.1:0") as mesh,
    ):
        assert await mesh.aready("web:80", timeout=30)
        cache.set_snapshot("all", [LISTENER, {**CLUSTER, "connect_timeout": "-1s"}])
        while True:
            found = await asyncio.to_thread(dumps, mesh)
            (told,) = found["ClustersConfigDump"].dynamic_active_clusters
            if state(told) == "NACKED":
                break
    assert "connect_timeout" in told.error_state.details
    assert told.error_state.version_info != told.version_info
    assert told.cluster.TypeName() == "envoy.config.cluster.v3.Cluster"


# -- /clusters -----------------------------------------------------------------------------------


def status_of(mesh, name=NAME):
    told = message("Clusters", json_of(mesh, "/clusters"))
    return next(one for one in told.cluster_statuses if one.name == name)


def by_port(told):
    return sorted(told.host_statuses, key=lambda one: one.address.socket_address.port_value)


def test_each_endpoint_is_told_with_weight_place_and_calls_under_way(mesh):
    told = status_of(mesh)
    assert told.eds_service_name == NAME
    assert not told.added_via_api
    first, second = by_port(told)
    assert (first.weight, first.priority, first.locality.zone) == (3, 0, "a")
    assert first.address.socket_address.port_value == 1
    assert (second.address.socket_address.address, second.weight) == ("::1", 1)
    lines = text_of(mesh, "/clusters").splitlines()
    assert f"{NAME}::127.0.0.1:1::weight::3" in lines
    assert f"{NAME}::127.0.0.1:1::health_flags::healthy" in lines
    assert f"{NAME}::[::1]:2::rq_active::0" in lines
    assert f"{NAME}::default_priority::max_retries::4294967295" in lines


async def test_a_call_that_is_under_way_and_one_that_failed_are_seen():
    seen = {}

    async def handler(request):
        seen["text"] = await asked(mesh, "/clusters?format=text")
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    entry = json.loads(json.dumps(REVIEWS))
    entry["spec"]["endpoints"] = [{"address": "127.0.0.1", "ports": {"http": port}}]
    async with Mesh("productpage", config=[entry], admin="127.0.0.1:0") as mesh:
        async with mesh.aiohttp.session() as session, session.get("http://reviews:9080/") as one:
            assert one.status == 200
        await runner.cleanup()
        async with mesh.aiohttp.session() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get("http://reviews:9080/")
        after = await asked(mesh, "/clusters?format=text")
    assert f"{NAME}::127.0.0.1:{port}::rq_active::1\n" in seen["text"]
    assert f"{NAME}::127.0.0.1:{port}::rq_active::0\n" in after
    assert f"{NAME}::127.0.0.1:{port}::connect_failures_in_a_row::0\n" not in after


async def asked(mesh, path):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{mesh.admin_address}{path}") as answer,
    ):
        return await answer.text()


@pytest.mark.parametrize(
    ("field", "flag", "text"),
    [
        ("ejected", "failed_outlier_check", "/failed_outlier_check"),
        ("unhealthy", "failed_active_health_check", "/failed_active_hc"),
    ],
)
def test_an_endpoint_that_is_left_out_says_why(mesh, field, flag, text):
    endpoint = mesh._engine.clusters[NAME].balance.endpoints["127.0.0.1:1"]
    setattr(endpoint, field, True)
    left_out, other = by_port(status_of(mesh))
    assert getattr(left_out.health_status, flag)
    assert not getattr(other.health_status, flag)
    assert f"{NAME}::127.0.0.1:1::health_flags::{text}\n" in text_of(mesh, "/clusters")


# -- /listeners, /server_info, /ready ------------------------------------------------------------


def test_listeners_are_told_by_name_and_address(mesh):
    told = message("Listeners", json_of(mesh, "/listeners"))
    assert {one.name for one in told.listener_statuses} == set(mesh.status()["listeners"])
    assert "reviews:9080::api_listener\n" in text_of(mesh, "/listeners")


def test_it_says_who_it_is_and_on_which_configuration(mesh):
    told = json_of(mesh, "/server_info")
    own = told.pop("meshlib")
    info = message("ServerInfo", told)
    assert info.version.startswith("meshlib/")
    assert (
        info.state
        == message_class(f"{ADMIN}.ServerInfo").DESCRIPTOR.enum_values_by_name["LIVE"].number
    )
    assert info.node.metadata["NAMESPACE"] == "default"
    assert info.HasField("uptime_current_epoch")
    assert own["config"]["version"] == mesh.status()["version"]
    assert own["config"]["kind"] == "embedded"
    assert own["config"]["age"] >= 0
    assert mesh.status()["version"] in text_of(mesh, "/server_info")


def test_who_reaches_no_control_plane_is_not_live(nowhere):
    with Mesh("productpage", control_plane=nowhere, admin="127.0.0.1:0") as mesh:
        assert not mesh.ready("reviews:9080", timeout=0.1)
        status, _, said = ask(mesh, "/ready")
        assert status == 503
        assert said.splitlines()[0] == "INITIALIZING"
        assert "no configuration yet" in said
        told = json_of(mesh, "/server_info")
        assert (told["state"], told["meshlib"]["config"]["connected"]) == ("INITIALIZING", False)
        assert told["meshlib"]["config"]["server"] == nowhere
        assert "INITIALIZING: no configuration yet" in text_of(mesh, "/server_info")


def test_who_cannot_say_any_more_who_it_is_says_why(tmp_path, nowhere):
    bootstrap = tmp_path / "bootstrap.json"
    server = {"server_uri": nowhere, "channel_creds": [{"type": "insecure"}]}
    bootstrap.write_text(json.dumps({"xds_servers": [server], "node": {"id": "me"}}))
    with Mesh("me", bootstrap=bootstrap, admin="127.0.0.1:0") as mesh:
        kept = bootstrap.rename(tmp_path / "kept.json")
        status, _, said = ask(mesh, "/server_info")
        assert (status, str(bootstrap) in said) == (503, True)
        assert ask(mesh, "/metrics")[0] == 200
        kept.rename(bootstrap)
        assert json_of(mesh, "/server_info")["node"]["id"] == "me"
        bootstrap.unlink()
        assert json_of(mesh, "/server_info")["node"]["id"] == "me"


# -- /routes -------------------------------------------------------------------------------------


def test_a_call_is_explained_as_the_mesh_would_do(mesh):
    told = json_of(mesh, "/routes", explain="GET http://reviews:9080/1?a=b&c=d", header="x: y")
    decision = mesh.route("GET", "http://reviews:9080/1?a=b&c=d", {"x": "y"})
    assert told == json.loads(json.dumps(decision.to_dict()))
    assert told["path"] == "/1?a=b&c=d"
    lines = text_of(mesh, "/routes", explain="GET http://reviews:9080/1").splitlines()
    assert f"cluster     {NAME}" in "\n".join(lines)
    assert lines[0].endswith("matched")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "a method and a URL of a call are wanted"),
        ({"explain": "http://reviews:9080/"}, "a method and a URL"),
        ({"explain": "GET reviews"}, "is not a URL like"),
        ({"explain": "GET http://reviews/" + "x" * 9000}, "a method and a URL"),
        ({"explain": "GET http://reviews/", "header": "x"}, "a header is name:value"),
        ({"explain": "GET http://reviews/", "header": ": x"}, "a header is name:value"),
    ],
)
def test_what_is_no_call_is_not_explained(mesh, parameters, said):
    status, _, text = ask(mesh, "/routes", **parameters)
    assert status == 400
    assert said in text


def test_an_explanation_asks_no_control_plane_for_more(nowhere):
    with Mesh("productpage", control_plane=nowhere, admin="127.0.0.1:0") as mesh:
        told = json_of(mesh, "/routes", explain="GET http://reviews:9080/")
        assert "no configuration for 'reviews:9080' yet" in told["error"]
        told = text_of(mesh, "/config_dump")
        assert "reviews" not in told


def test_an_explanation_leaves_no_trace_in_the_member(mesh):
    before = set(mesh._engine.listeners)
    told = json_of(mesh, "/routes", explain="GET http://one.example.com:80/")
    assert told["virtual_host"]
    assert set(mesh._engine.listeners) == before
    assert mesh.status()["calls"]["calls"] == []


# -- /certs --------------------------------------------------------------------------------------


@pytest.fixture
def authority():
    return Authority.create(MemoryStore(), DOMAIN, time.time())


@pytest.fixture
def certified(authority, tmp_path, monkeypatch):
    """A member with a certificate of files, and that certificate."""
    svid = authority.issue(SpiffeId(DOMAIN, "/ns/default/sa/web"), time.time())
    for name, content in (
        ("svid.pem", svid.certificate_chain),
        ("key.pem", svid.private_key),
        ("bundle.pem", authority.bundle().pem),
    ):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("MESHLIB_CERT_DIR", str(tmp_path))
    with Mesh("web", config=[REVIEWS], admin="127.0.0.1:0") as mesh:
        yield mesh, svid


def test_the_own_certificate_is_told_with_ids_serial_and_end(certified, authority):
    mesh, svid = certified
    (told,) = message("Certificates", json_of(mesh, "/certs")).certificates
    leaf = told.cert_chain[0]
    assert int(leaf.serial_number, 16) == svid.serial
    assert svid.spiffe_id in [name.uri for name in leaf.subject_alt_names]
    assert leaf.expiration_time.ToSeconds() == int(svid.not_after)
    assert leaf.valid_from.ToSeconds() == int(svid.not_before)
    assert len(told.ca_cert) == len(authority.bundle().roots)
    line = text_of(mesh, "/certs").splitlines()[0]
    assert line.split()[:3] == ["chain", f"{svid.serial:x}", svid.spiffe_id]


def test_what_other_connections_are_secured_with_is_told_once_with_its_path(
    certified, authority, tmp_path
):
    mesh, svid = certified
    other = Authority.create(MemoryStore(), TrustDomain("other.example"), time.time())
    believed = tmp_path / "other.pem"
    believed.write_bytes(other.bundle().pem)
    materials = mesh._runtime.security.materials
    own = SdsSecret("default")
    for certificate, roots in (
        (own, RootFile(str(believed))),
        (own, SdsSecret("ROOTCA")),  # the member's own, once more
        (CertificateFiles(str(tmp_path / "svid.pem"), str(tmp_path / "key.pem")), SystemRoots()),
    ):
        materials.of(certificate, roots)
    first, second, third = message("Certificates", json_of(mesh, "/certs")).certificates
    assert [one.path for one in first.ca_cert] == ["<inline>"]
    assert [one.path for one in second.ca_cert] == [str(believed)]
    assert second.ca_cert[0].subject_alt_names[0].uri == "spiffe://other.example"
    assert not third.ca_cert
    assert third.cert_chain[0].path == str(tmp_path / "svid.pem")
    assert int(third.cert_chain[0].serial_number, 16) == svid.serial


def test_a_certificate_that_has_ended_says_so(certified):
    from meshlib.identity.shown import shown
    from meshlib.mesh.pages.certs import _details, _line

    _, svid = certified
    (leaf, *_) = shown(svid.certificate_chain)
    assert _details(leaf, "", leaf.not_after + 1)["days_until_expiration"] == "0"
    odd = replace(leaf, serial="a" * 39)
    assert _details(odd, "", 0)["serial_number"] == "0" + "a" * 39
    assert "EXPIRED" in _line("chain", leaf, "", leaf.not_after + 1)
    assert (
        datetime.fromisoformat(_details(leaf, "", 0)["valid_from"]).timestamp() == leaf.not_before
    )


def test_no_page_shows_a_key(certified):
    mesh, svid = certified
    lines = [line for line in svid.private_key.decode().splitlines() if "-----" not in line]
    for path in (*PAGES, "/", "/metrics"):
        for form in ("json", "text"):
            shown = ask(mesh, path)[2] if path == "/metrics" else ask(mesh, path, format=form)[2]
            assert "PRIVATE KEY" not in shown
            assert not [line for line in lines if line in shown]


async def test_a_secret_of_the_control_plane_is_dumped_by_its_name_alone(authority, monkeypatch):
    monkeypatch.setenv("MESHLIB_SDS", "on")
    svid = authority.issue(SpiffeId(DOMAIN, "/ns/default/sa/web"), time.time())
    chain, key = svid.certificate_chain, svid.private_key
    cache = SnapshotCache(lambda node: "all", check=False)
    cache.set_snapshot(
        "all",
        [
            Secret(name="default", certificate_chain=chain, private_key=key),
            Secret(name="ROOTCA", trusted_ca=authority.bundle().pem),
        ],
    )
    async with (
        serve(cache, "127.0.0.1:0") as server,
        Mesh("web", control_plane=server.address, admin="127.0.0.1:0") as mesh,
    ):
        assert await mesh.aready(timeout=30)
        told = json.loads(await asked(mesh, "/config_dump"))
        certificates = json.loads(await asked(mesh, "/certs"))
    dump = message("ConfigDump", told)
    assert len(dump.configs) == 7
    names = [
        one["name"] for each in told["configs"] for one in each.get("dynamic_active_secrets", ())
    ]
    assert sorted(names) == ["ROOTCA", "default"]
    (leaf, *_) = certificates["certificates"][0]["cert_chain"]
    assert int(leaf["serial_number"], 16) == svid.serial
    shown = json.dumps([told, certificates])
    assert not [line for line in key.decode().splitlines()[1:-1] if line in shown]
