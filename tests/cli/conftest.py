"""The command line, run in process."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from meshlib.cli import main

RATINGS = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ratings}
spec:
  hosts: [ratings.default.svc.cluster.local]
  location: MESH_INTERNAL
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
    - {address: 10.0.0.1, labels: {version: v1}}
    - {address: 10.0.0.2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec:
  host: ratings
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
"""
ROUTES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
    - match: [{headers: {end-user: {exact: jason}}}]
      route: [{destination: {host: ratings, subset: v2}}]
      timeout: 500ms
      retries: {attempts: 3, retryOn: 5xx}
    - match: [{uri: {prefix: /old}}]
      redirect: {uri: /new}
    - route:
        - {destination: {host: ratings, subset: v1}, weight: 90}
        - {destination: {host: ratings, subset: v2}, weight: 10}
"""


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of manifests, seen from the folder that holds it."""
    for name in ("MESHLIB_CONFIG", "MESHLIB_CONTROL_PLANE", "GRPC_XDS_BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    folder = Path("mesh")
    folder.mkdir()
    (folder / "ratings.yaml").write_text(RATINGS)
    (folder / "routes.yaml").write_text(ROUTES)
    return folder


@pytest.fixture
def run():
    """``run("analyze", "mesh")``: what click says came of it."""

    def typed(*arguments: object):
        return CliRunner().invoke(main, [str(one) for one in arguments])

    return typed
