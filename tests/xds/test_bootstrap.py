import json
from pathlib import Path

import pytest

from meshlib.errors import ConfigError
from meshlib.xds.bootstrap import Bootstrap, CertificateProvider

TEMPLATE = "client_default_listener_resource_name_template"
INSECURE = [{"type": "insecure"}]
SUPPORTED = "supported are insecure and tls"
SERVER = {"server_uri": "cp:15010", "channel_creds": INSECURE}


def problems_of(source: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        Bootstrap.load(source)
    return [str(problem) for problem in refused.value.problems]


def test_a_bootstrap_as_istio_writes_it_is_understood() -> None:
    made = Bootstrap.load(
        {
            "xds_servers": [
                {
                    "server_uri": "unix:///etc/istio/proxy/XDS",
                    "channel_creds": INSECURE,
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {
                "id": "sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local",
                "metadata": {"GENERATOR": "grpc", "LABELS": {"app": "x"}},
                "locality": {"region": "r", "zone": "z"},
            },
            "certificate_providers": {
                "default": {
                    "plugin_name": "file_watcher",
                    "config": {
                        "certificate_file": "cert.pem",
                        "private_key_file": "key.pem",
                        "ca_certificate_file": "ca.pem",
                        "refresh_interval": "900s",
                    },
                }
            },
            "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
            "something_new": 1,
        }
    )
    [server] = made.xds_servers
    assert (server.server_uri, server.channel_creds.type) == (
        "unix:///etc/istio/proxy/XDS",
        "insecure",
    )
    assert server.server_features == ("xds_v3",)
    assert made.node.metadata["GENERATOR"] == "grpc"
    assert made.node.locality == {"region": "r", "zone": "z"}
    assert made.certificate_providers["default"] == CertificateProvider(
        plugin_name="file_watcher",
        certificate_file="cert.pem",
        private_key_file="key.pem",
        ca_certificate_file="ca.pem",
        refresh_interval=900.0,
    )
    assert made.client_default_listener_resource_name_template == "%s"
    assert made.ignored == (
        "bootstrap: certificate_providers.default",
        "bootstrap: server_listener_resource_name_template",
    )


def test_a_file_a_text_and_a_dict_are_one(tmp_path: Path) -> None:
    parsed = {"xds_servers": [SERVER], "node": {"id": "me"}}
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps(parsed))
    assert Bootstrap.load(parsed) == Bootstrap.load(json.dumps(parsed)) == Bootstrap.load(file)
    assert Bootstrap.load(str(file)) == Bootstrap.load(file)


def test_the_environment_names_a_file_first_and_a_text_second(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps({"xds_servers": [SERVER], "node": {"id": "file"}}))
    environ = {
        "GRPC_XDS_BOOTSTRAP": str(file),
        "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps({"xds_servers": [SERVER], "node": {"id": "text"}}),
    }
    both = Bootstrap.from_env(environ)
    del environ["GRPC_XDS_BOOTSTRAP"]
    text = Bootstrap.from_env(environ)
    assert both is not None
    assert text is not None
    assert (both.node.id, text.node.id) == ("file", "text")
    assert Bootstrap.from_env({}) is None


@pytest.mark.parametrize(
    ("parsed", "expected"),
    [
        ({}, ["bootstrap: xds_servers: needs at least one server"]),
        (
            {
                "xds_servers": [SERVER],
                "client_default_listener_resource_name_template": "xdstp://a/t/%s",
            },
            [
                f"bootstrap: {TEMPLATE}: there is no authority 'a'",
            ],
        ),
        ({"xds_servers": {}}, ["bootstrap: xds_servers: must be a list, not {}"]),
        (
            {"xds_servers": [{"channel_creds": INSECURE}]},
            ["bootstrap: xds_servers[0].server_uri: must be set"],
        ),
        (
            {"xds_servers": [SERVER, {"server_uri": 5, "channel_creds": [{"type": "alts"}]}]},
            [
                "bootstrap: xds_servers[1].server_uri: must be a string, not 5",
                f"bootstrap: xds_servers[1].channel_creds: lists alts; {SUPPORTED}",
            ],
        ),
        (
            {"xds_servers": [{"server_uri": "x"}]},
            [f"bootstrap: xds_servers[0].channel_creds: lists nothing; {SUPPORTED}"],
        ),
        (
            {"xds_servers": [SERVER], "node": {"metadata": 1, "locality": {"zone": 2}}},
            [
                "bootstrap: node.locality.zone: must be a string, not 2",
                "bootstrap: node.metadata: must be an object, not 1",
            ],
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(parsed: object, expected: list[str]) -> None:
    assert problems_of(parsed) == expected


def test_a_file_that_is_not_json_is_told_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text('{\n  "xds_servers": oops\n}')
    assert problems_of(file) == ["bootstrap.json:2:18: not JSON: Expecting value"]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path / "missing.json")
    assert "missing.json: cannot be read" in problem


def test_the_first_credentials_that_are_supported_are_taken() -> None:
    creds = [{"type": "google_default"}, {"type": "tls", "config": {"ca_certificate_file": "ca"}}]
    made = Bootstrap.load({"xds_servers": [{"server_uri": "x", "channel_creds": creds}]})
    assert made.xds_servers[0].channel_creds.type == "tls"
    assert made.xds_servers[0].channel_creds.config == {"ca_certificate_file": "ca"}


def test_a_bootstrap_for_one_server_tells_what_istio_nodes_tell() -> None:
    made = Bootstrap.for_server(
        "127.0.0.1:18000", namespace="shop", labels={"version": "v1"}, service="reviews"
    )
    assert made.xds_servers[0].server_uri == "127.0.0.1:18000"
    assert made.node.user_agent_name == "meshlib"
    assert made.node.cluster == "reviews.shop"
    assert made.node.metadata["NAMESPACE"] == "shop"
    assert made.node.metadata["LABELS"] == {"version": "v1"}
    assert made.node.metadata["WORKLOAD_NAME"] == "reviews"
    kind, _, name, domain = made.node.id.split("~")
    assert (kind, domain) == ("sidecar", "shop.svc.cluster.local")
    assert name.startswith("reviews-")
    assert name.endswith(".shop")


def test_a_node_id_of_ones_own_is_kept() -> None:
    assert Bootstrap.for_server("x", node_id="me").node.id == "me"
