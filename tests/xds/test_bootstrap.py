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


@pytest.mark.parametrize(
    "strange", [float("nan"), float("inf"), 10**400, {1: 2}, {3}, [b"x"], "\ud800", {"\ud800": 1}]
)
def test_a_node_that_cannot_be_said_is_refused_at_once(strange: object) -> None:
    told = {"xds_servers": [SERVER], "node": {"metadata": {"fine": [1, None, 2.5], "a": strange}}}
    assert problems_of(told) == ["bootstrap: node.metadata: 'a' is not what JSON can say"]


def test_half_a_surrogate_pair_is_no_name(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps({"xds_servers": [SERVER], "node": {"id": "\ud800"}}))
    assert problems_of(file) == ["bootstrap.json: node.id: '\\ud800' is not Unicode"]


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


def problems_of_server(**fields: object) -> list[str]:
    server = {"server_uri": "x", "channel_creds": INSECURE, **fields}
    return problems_of({"xds_servers": [server]})


def a_token(file: str = "token") -> list[dict[str, object]]:
    return [{"type": "jwt_token_file", "config": {"jwt_token_file": file}}]


def test_a_token_is_not_sent_in_the_open() -> None:
    [problem] = problems_of_server(call_creds=a_token())
    assert problem.startswith("bootstrap: xds_servers[0].call_creds: a token goes over TLS only")


def test_a_token_file_has_a_name() -> None:
    [problem] = problems_of_server(call_creds=a_token(""), channel_creds=[{"type": "tls"}])
    where = "bootstrap: xds_servers[0].call_creds[0].config.jwt_token_file"
    assert problem == f"{where}: must be set"


def test_call_credentials_of_other_clients_are_ignored_and_told() -> None:
    creds = [{"type": "sts"}, *a_token("t")]
    server = {"server_uri": "x", "channel_creds": [{"type": "tls"}], "call_creds": creds}
    made = Bootstrap.load({"xds_servers": [server]})
    assert made.xds_servers[0].token_file == "t"
    assert made.ignored == ("bootstrap: xds_servers[0].call_creds: sts",)


def test_google_default_is_refused_by_name() -> None:
    [problem] = problems_of_server(channel_creds=[{"type": "google_default"}])
    assert problem == f"bootstrap: xds_servers[0].channel_creds: lists google_default; {SUPPORTED}"


def test_a_certificate_goes_with_its_key() -> None:
    creds = [{"type": "tls", "config": {"certificate_file": "c", "refresh_interval": "soon"}}]
    where = "bootstrap: xds_servers[0].channel_creds[0].config"
    assert problems_of_server(channel_creds=creds) == [
        f"{where}.private_key_file: certificate_file and private_key_file go together",
        f"{where}.refresh_interval: must be a duration like \"600s\", not 'soon'",
    ]


def test_certificate_providers_of_other_clients_are_told() -> None:
    made = Bootstrap.load(
        {"xds_servers": [SERVER], "certificate_providers": {"odd": {"plugin_name": "meshca"}}}
    )
    assert made.certificate_providers["odd"].plugin_name == "meshca"
    assert "bootstrap: certificate_providers.odd" in made.ignored


def test_delta_is_spoken_with_servers_that_say_so_or_where_it_is_asked_for() -> None:
    silent, said = (
        Bootstrap.load({"xds_servers": [{**SERVER, "server_features": features}]}).xds_servers[0]
        for features in ([], ["xds_v3", "delta"])
    )
    assert (silent.speaks_delta, said.speaks_delta) == (False, True)
    assert Bootstrap.for_server("x", delta=True).xds_servers[0].speaks_delta


def test_the_name_of_what_a_server_obeys_may_be_given() -> None:
    key = "server_listener_resource_name_template"
    named = Bootstrap.load({"xds_servers": [SERVER], key: "what/i/obey"})
    each = Bootstrap.load({"xds_servers": [SERVER], key: "lds/%s"})
    assert (named.listener_of("inbound"), each.listener_of("inbound")) == ("what/i/obey", "inbound")


def test_a_server_is_trusted_where_the_bootstrap_says_so() -> None:
    made = Bootstrap.load({"xds_servers": [{**SERVER, "server_features": ["trusted_xds_server"]}]})
    assert made.xds_servers[0].is_trusted
    assert made.ignored == ()
    assert not Bootstrap.load({"xds_servers": [SERVER]}).xds_servers[0].is_trusted
    assert Bootstrap.for_server("x").xds_servers[0].is_trusted


WHOLE = {
    "xds_servers": [
        {
            "server_uri": "one:1",
            "channel_creds": [
                {"type": "tls", "config": {"ca_certificate_file": "ca", "refresh_interval": "5s"}}
            ],
            "call_creds": [{"type": "jwt_token_file", "config": {"jwt_token_file": "token"}}],
            "server_features": ["fail_on_data_errors"],
        }
    ],
    "node": {"id": "me", "cluster": "c", "metadata": {"A": [1]}, "locality": {"zone": "z"}},
    "certificate_providers": {
        "mine": {"plugin_name": "file_watcher", "config": {"ca_certificate_file": "ca"}}
    },
    "authorities": {
        "there": {
            "xds_servers": [{"server_uri": "two:2", "channel_creds": [{"type": "insecure"}]}],
            "client_listener_resource_name_template": "xdstp://there/x.Listener/%s",
        }
    },
    "client_default_listener_resource_name_template": "clients/%s",
    "server_listener_resource_name_template": "grpc/server?xds.resource.listening_address=%s",
}


def places(value, path=()):
    """Where anything stands in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from places(each, (*path, key))


def instead(value, path, other):
    if not path:
        return other
    copied = value.copy()
    copied[path[0]] = instead(value[path[0]], path[1:], other)
    return copied


def blamed(parsed):
    """The places of what is wrong; none, if it is taken."""
    try:
        Bootstrap.load(parsed)
    except ConfigError as refused:
        return [each.where for each in refused.problems]
    return []


@pytest.mark.parametrize("other", [None, True, -1, 1e400, "", "\0", [], [[]], {}, {"": {}}])
def test_whatever_stands_in_the_place_of_something_is_taken_or_refused_with_its_place(other):
    assert Bootstrap.load(WHOLE).node.id == "me"
    for path in filter(None, places(WHOLE)):
        where = blamed(instead(WHOLE, path, other))
        assert all(each.startswith("bootstrap: ") for each in where)
        named = [key for key in path if isinstance(key, str)]
        assert not where or any(key in each for each in where for key in named)
