import pytest

from meshlib import Mesh

SERVICE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "reviews"},
    "spec": {
        "hosts": ["reviews.default.svc.cluster.local"],
        "ports": [{"number": 9080, "name": "grpc", "protocol": "GRPC"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "10.0.0.1"}],
    },
}


@pytest.mark.parametrize(
    "url",
    [
        "reviews:9080",
        "reviews",
        "/1",
        "",
        "http://",
        "http://reviews:abc/",
        "http://reviews:99999/",
    ],
)
def test_what_is_no_url_is_no_question(url) -> None:
    with Mesh(config=[SERVICE]) as mesh, pytest.raises(ValueError, match="is not a URL like http"):
        mesh.route("GET", url)


@pytest.mark.parametrize("url", ["grpc://reviews:9080/Reviews/Get", "xds:///reviews:9080/R/G"])
def test_a_grpc_call_is_asked_about_as_it_is_made(url) -> None:
    with Mesh(config=[SERVICE]) as mesh:
        assert mesh.route("POST", url).endpoints == ("10.0.0.1:9080",)
