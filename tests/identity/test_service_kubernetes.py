"""The tokens of service accounts, as an API server (here: one of our own) judges them."""

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from meshlib.identity import kubernetes
from meshlib.identity.authenticators import UnauthenticatedError
from meshlib.identity.authority import Authority
from meshlib.identity.kubernetes import ApiServer
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore

GOOD = {
    "authenticated": True,
    "audiences": ["istio-ca"],
    "user": {"username": "system:serviceaccount:bookinfo:reviews"},
}


@pytest.fixture
def cluster(tmp_path):
    """``(api_server, answers, asked)``: what it is to answer next, and what it was asked."""
    authority = Authority.create(MemoryStore(), TrustDomain("kube"), time.time())
    svid = authority.issue(SpiffeId.parse("spiffe://kube/api"), time.time(), hosts=["127.0.0.1"])
    (tmp_path / "pair").write_bytes(svid.private_key + svid.certificate_chain)
    (tmp_path / "ca.crt").write_bytes(authority.bundle().pem)
    (tmp_path / "token").write_text("our-own\n")
    answers, asked = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append((self.path, self.headers["authorization"], json.loads(body)))
            text = json.dumps(answers.pop()).encode()
            self.send_response(201)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"https://127.0.0.1:{server.server_address[1]}"
    yield (
        ApiServer(url=url, token_file=tmp_path / "token", roots_file=tmp_path / "ca.crt"),
        answers,
        asked,
    )
    server.shutdown()
    thread.join()
    server.server_close()


async def test_the_api_server_says_whose_a_token_is(cluster):
    api_server, answers, asked = cluster
    answers.append({"status": GOOD})
    assert await api_server.review("a.b.c") == ("bookinfo", "reviews")
    ((path, authorization, review),) = asked
    assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert authorization == "Bearer our-own"
    assert review["spec"] == {"token": "a.b.c", "audiences": ["meshlib-ca", "istio-ca"]}


@pytest.mark.parametrize(
    "answer",
    [
        {"status": GOOD | {"authenticated": False}},
        {"status": GOOD | {"authenticated": "true"}},
        {"status": GOOD | {"audiences": ["vault"]}},
        {"status": GOOD | {"audiences": []}},
        {"status": GOOD | {"user": {"username": "system:node:one"}}},
        {"status": GOOD | {"user": {"username": "system:serviceaccount:bookinfo:"}}},
        {"status": GOOD | {"user": None}},
        {"status": None},
        {},
        [],
    ],
)
async def test_anything_but_a_clear_yes_is_a_no(cluster, answer):
    api_server, answers, _ = cluster
    answers.append(answer)
    with pytest.raises(UnauthenticatedError):
        await api_server.review("a.b.c")


async def test_without_the_api_server_nobody_is_let_in(tmp_path):
    (tmp_path / "token").write_text("our-own")
    gone = ApiServer(
        url="https://127.0.0.1:1", token_file=tmp_path / "token", roots_file=tmp_path / "none"
    )
    with pytest.raises(UnauthenticatedError, match="could not be asked"):
        await gone.review("a.b.c")


def test_in_a_pod_the_api_server_is_where_the_cluster_says(tmp_path, monkeypatch):
    monkeypatch.setattr(kubernetes, "MOUNTED", tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert ApiServer.of_pod(environ) is None
    (tmp_path / "token").write_text("our-own")
    assert ApiServer.of_pod(environ).url == "https://[fd00::1]:6443"
    assert ApiServer.of_pod({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).url == "https://10.0.0.1:443"
    assert ApiServer.of_pod({}) is None
