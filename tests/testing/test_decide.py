import pytest

from meshlib.errors import ConfigError
from meshlib.testing import always, decide, one_service

TYPE = "type.googleapis.com/envoy.config.{}"
SERVICE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "reviews"},
    "spec": {
        "hosts": ["reviews.default.svc.cluster.local"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 9080, "name": "http"}],
        "endpoints": [{"address": "10.0.0.1"}],
    },
}
ROUTES = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews"},
    "spec": {
        "hosts": ["reviews"],
        "http": [
            {
                "name": "from productpage",
                "match": [{"sourceLabels": {"app": "productpage"}}],
                "route": [{"destination": {"host": "reviews"}}],
                "timeout": "2s",
            },
            {"name": "others", "route": [{"destination": {"host": "reviews"}}]},
        ],
    },
}
CLUSTER = "outbound|9080||reviews.default.svc.cluster.local"


def test_manifests_are_judged_by_the_real_engine() -> None:
    decision = decide([SERVICE], url="http://reviews:9080/x?q=1")
    assert decision.cluster == CLUSTER
    assert decision.endpoints == ("10.0.0.1:9080",)
    assert (decision.path, decision.authority) == ("/x?q=1", "reviews:9080")


@pytest.mark.parametrize(
    ("source", "route"),
    [
        (None, "others"),
        ("productpage", "from productpage"),
        ("productpage.default", "from productpage"),
        (("default", {"app": "productpage"}), "from productpage"),
        (("default", {"app": "other"}), "others"),
        ({"labels": {"app": "productpage"}}, "from productpage"),
        ({"namespace": "default"}, "others"),
    ],
)
def test_it_matters_who_asks(source, route: str) -> None:
    assert decide([SERVICE, ROUTES], source=source).route == route


def test_a_source_of_another_namespace_sees_other_names() -> None:
    url = "http://reviews.default:9080/"
    assert decide([SERVICE], url=url, source="ratings.other").cluster == CLUSTER
    assert decide([SERVICE], source="ratings.other").cluster == "PassthroughCluster"


def test_a_source_that_is_none_of_these_is_refused() -> None:
    with pytest.raises(TypeError, match="a source is"):
        decide([SERVICE], source=7)  # type: ignore[arg-type]


def test_a_grpc_call_is_asked_for_by_its_scheme() -> None:
    decision = decide([SERVICE, ROUTES], url="grpc://reviews:9080/pkg.Service/Method")
    assert decision.path == "/pkg.Service/Method"


@pytest.mark.parametrize(
    ("mode", "cluster"),
    [("ALLOW_ANY", "PassthroughCluster"), ("REGISTRY_ONLY", "BlackHoleCluster")],
)
def test_a_foreign_host_is_decided_by_the_mesh_config(mode: str, cluster: str) -> None:
    settings = {"kind": "MeshConfig", "outboundTrafficPolicy": {"mode": mode}}
    assert decide([settings, SERVICE], url="http://example.com/").cluster == cluster


def route_table(*clusters: str) -> dict[str, object]:
    weights = [{"name": name, "weight": 50} for name in clusters]
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": weights}}}
    host = {"name": "host", "domains": ["*"], "routes": [route]}
    kind = TYPE.format("route.v3.RouteConfiguration")
    return {"@type": kind, "name": "table", "virtual_hosts": [host]}


def test_bare_routes_are_those_of_whatever_host_is_asked_for() -> None:
    table = route_table("a", "b")
    assert decide([table], url="http://anything/").cluster == "a"
    assert decide([table], url="http://anything/", dice=always(0.5)).cluster == "b"


def test_the_runtime_says_other_fractions() -> None:
    table = route_table("canary")
    (host,) = table["virtual_hosts"]  # type: ignore[misc]
    fraction = {"default_value": {"numerator": 0}, "runtime_key": "canary"}
    host["routes"][0]["match"]["runtime_fraction"] = fraction
    assert decide([table]).error == "no route matches"
    assert decide([table], runtime={"canary": 50}).cluster == "canary"
    assert decide([table], runtime={"canary": 50}, dice=always(0.5)).cluster is None


def test_what_filters_and_the_caller_would_have_said_can_be_given() -> None:
    table = route_table("a")
    (host,) = table["virtual_hosts"]  # type: ignore[misc]
    path = [{"key": "user"}, {"key": "id"}]
    host["routes"][0]["match"]["dynamic_metadata"] = [
        {"filter": "jwt", "path": path, "value": {"string_match": {"exact": "joe"}}}
    ]
    host["request_headers_to_add"] = [
        {
            "header": {
                "key": "x",
                "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DYNAMIC_METADATA(jwt:roles)%",
            }
        }
    ]
    said = {"jwt": {"user": {"id": "joe"}, "roles": ["a", 1, None, True]}}
    decision = decide([table], dynamic_metadata=said, remote_address="10.0.0.1:80")
    assert decision.request_headers == (("x", '10.0.0.1 ["a",1,null,true]'),)
    assert decide([table]).error == "no route matches"


def test_resources_with_listeners_are_taken_as_they_are() -> None:
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "rds": {"route_config_name": "table", "config_source": {"ads": {}}},
        "http_filters": [{"name": "router", "typed_config": router}],
    }
    listener = {
        "@type": TYPE.format("listener.v3.Listener"),
        "name": "reviews:9080",
        "api_listener": {"api_listener": manager},
    }
    assert decide([listener, route_table("a")]).cluster == "a"
    elsewhere = decide([listener, route_table("a")], url="http://ratings:9080/")
    assert elsewhere.cluster == "PassthroughCluster"


def test_a_snapshot_is_taken_as_it_is() -> None:
    assert decide(one_service()).cluster == "reviews"


def test_manifests_and_resources_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="do not mix"):
        decide([SERVICE, route_table("a")])


def test_what_would_be_refused_is_refused() -> None:
    unknown = {**ROUTES, "spec": {"hosts": ["reviews"], "htpp": []}}
    with pytest.raises(ConfigError, match="htpp"):
        decide([SERVICE, unknown])


WILD = [
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name},
        "spec": {
            "hosts": [host],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "NONE",
        },
    }
    for name, host in (("all", "*.example.org"), ("api", "*.api.example.org"))
]


@pytest.mark.parametrize(
    ("host", "cluster"),
    [
        ("www.example.org", "outbound|80||*.example.org"),
        ("v1.api.example.org", "outbound|80||*.api.example.org"),
        ("api.example.org", "outbound|80||*.example.org"),
        ("example.org", "PassthroughCluster"),
        ("example.com", "PassthroughCluster"),
    ],
)
def test_a_wildcard_host_answers_for_every_name_below_it(host: str, cluster: str) -> None:
    assert decide(WILD, url=f"http://{host}/").cluster == cluster
