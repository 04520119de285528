"""What a member of the mesh obeys as a server."""

import pytest

from meshlib import model
from meshlib.controlplane import Scope, findings_of
from meshlib.model.rbac import Rbac, RbacRules, UrlPath

HOST = "reviews.default.svc.cluster.local"
SERVER = Scope("default", (("app", "reviews"),))
CORS_RULE = """
- match: [{uri: {prefix: /api}}]
  corsPolicy: {allowOrigins: [{exact: "https://a.b"}]}
  route: [{destination: {host: reviews}}]
- match: [{sourceLabels: {app: web}}]
  route: [{destination: {host: reviews}}]
- route: [{destination: {host: reviews}}]
"""
LIMIT = "envoy.filters.http.local_ratelimit"
LIMIT_TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
FAULT_TYPE = "envoy.extensions.filters.http.fault.v3.HTTPFault"
VALUE = f"""
        value:
          name: {LIMIT}
          typed_config:
            "@type": type.googleapis.com/{LIMIT_TYPE}
            stat_prefix: http
            token_bucket: {{max_tokens: 4, fill_interval: 60s}}"""


def envoy_filter(patches, head="", namespace="default"):
    return f"""---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: patch, namespace: {namespace}}}
spec:
  {head}
  configPatches:
{patches}
"""


def inserting(context="SIDECAR_INBOUND", operation="INSERT_BEFORE", match="{}", value=VALUE):
    return f"""
    - applyTo: HTTP_FILTER
      match: {{context: {context}, listener: {match}}}
      patch:
        operation: {operation}{value}"""


def merging(apply_to="HTTP_ROUTE", context="SIDECAR_INBOUND", match="{}"):
    return f"""
    - applyTo: {apply_to}
      match: {{context: {context}, routeConfiguration: {match}}}
      patch:
        operation: MERGE
        value:
          typed_per_filter_config:
            {LIMIT}:
              "@type": type.googleapis.com/{LIMIT_TYPE}
              stat_prefix: merged
              token_bucket: {{max_tokens: 1, fill_interval: 60s}}"""


def names(listener):
    return [one.name.rpartition(".")[2] for one in listener.http.http_filters]


def overrides(host):
    return [override.config.stat_prefix for route in host.routes for override in route.overrides]


def test_a_server_answers_preflights_of_its_own_hosts(snapshot_of, virtual_service):
    listener = snapshot_of(virtual_service(CORS_RULE), scope=SERVER).listeners["inbound"]
    assert names(listener) == ["cors", "router"]
    (host,) = listener.http.routes.virtual_hosts
    api, rest, default = host.routes
    assert api.match.path == model.PathPrefix("/api")
    assert isinstance(api.action, model.NonForwardingAction)
    assert api.overrides[0].config.allow_origins == (model.Exact("https://a.b"),)
    assert (rest.overrides, default.name) == ((), "default")


def test_who_is_not_the_server_has_nothing_to_obey(snapshot_of, virtual_service):
    assert "inbound" not in snapshot_of(virtual_service(CORS_RULE)).listeners


def test_a_filter_is_put_into_the_listener_of_those_selected(snapshot_of):
    text = envoy_filter(inserting(), "workloadSelector: {labels: {app: reviews}}")
    listener = snapshot_of(text, scope=SERVER).listeners["inbound"]
    assert names(listener) == ["local_ratelimit", "router"]
    assert listener.http.http_filters[0].config.token_bucket.max_tokens == 4
    assert "inbound" not in snapshot_of(text).listeners


RBAC = """
        value:
          name: envoy.filters.http.rbac
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
            rules:
              action: DENY
              policies:
                nobody:
                  permissions: [{url_path: {path: {prefix: /admin}}}]
                  principals: [{%s}]"""


def test_a_filter_may_keep_somebody_out(snapshot_of, world_of):
    text = envoy_filter(inserting(value=RBAC % "any: true"))
    listener = snapshot_of(text, scope=SERVER).listeners["inbound"]
    assert names(listener) == ["rbac", "router"]
    (policy,) = listener.http.http_filters[0].config.rules.policies
    assert policy.permissions == (UrlPath(model.Prefix("/admin")),)
    assert found(world_of(text)) == []


def test_a_rule_that_nobody_here_understands_is_an_error(world_of):
    text = envoy_filter(inserting(value=RBAC % "filter_state: {key: x}"))
    ((code, severity, said),) = found(world_of(text))
    assert (code, severity) == ("ML0106", "error")
    assert said.endswith("policies[nobody].principals[0].filter_state: is not supported")


ASKING = """
        value:
          name: envoy.filters.http.ext_authz
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
            transport_api_version: V3
            grpc_service: {envoy_grpc: {cluster_name: "%s"}}"""


def test_a_service_may_be_asked_about_callers(snapshot_of, world_of):
    text = envoy_filter(inserting(value=ASKING % f"outbound|81||{HOST}"))
    listener = snapshot_of(text, scope=SERVER).listeners["inbound"]
    assert names(listener) == ["ext_authz", "router"]


def test_while_nobody_can_be_asked_about_callers_nobody_is_let_in(snapshot_of, world_of):
    text = envoy_filter(inserting(value=ASKING % "nowhere"))
    ((code, severity, said),) = found(world_of(text))
    assert (code, severity) == ("ML0101", "error")
    assert "no cluster 'nowhere' is known" in said
    guard, _ = snapshot_of(text, scope=SERVER).listeners["inbound"].http.http_filters
    assert guard.config == Rbac(rules=RbacRules())


def test_a_filter_does_not_take_the_place_of_one_that_keeps_somebody_out(snapshot_of):
    tokens = """---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec: {jwtRules: [{issuer: i, jwks: '{}'}]}
"""
    value = """
        value:
          name: envoy.filters.http.jwt_authn
          typed_config:
            "@type": a/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"""
    text = tokens + envoy_filter(inserting(operation="INSERT_FIRST", value=value))
    filters = snapshot_of(text, scope=SERVER).listeners["inbound"].http.http_filters
    assert [len(one.config.providers) for one in filters[:-1]] == [0, 1]
    assert len({one.name for one in filters}) == 3


def test_a_filter_of_the_root_namespace_is_everybodys(snapshot_of):
    text = envoy_filter(inserting(), namespace="istio-system")
    assert "inbound" in snapshot_of(text, scope=Scope("anywhere")).listeners
    elsewhere = envoy_filter(inserting(), namespace="other")
    assert "inbound" not in snapshot_of(elsewhere).listeners


@pytest.mark.parametrize(
    "operation, neighbour, expected",
    [
        ("INSERT_FIRST", "", ["local_ratelimit", "fault", "router"]),
        ("INSERT_BEFORE", "envoy.filters.http.fault", ["local_ratelimit", "fault", "router"]),
        ("INSERT_BEFORE", "envoy.filters.http.router", ["fault", "local_ratelimit", "router"]),
        ("INSERT_AFTER", "envoy.filters.http.fault", ["fault", "local_ratelimit", "router"]),
        ("INSERT_AFTER", "", ["fault", "local_ratelimit", "router"]),
        ("INSERT_AFTER", "envoy.filters.http.router", ["fault", "local_ratelimit", "router"]),
    ],
)
def test_a_filter_is_put_beside_its_neighbour(
    snapshot_of, virtual_service, operation, neighbour, expected
):
    rule = (
        "- fault: {abort: {httpStatus: 500, percentage: {value: 1}}}\n"
        "  route: [{destination: {host: reviews}}]"
    )
    match = f"{{filterChain: {{filter: {{subFilter: {{name: '{neighbour}'}}}}}}}}"
    made = snapshot_of(
        virtual_service(rule), envoy_filter(inserting("SIDECAR_OUTBOUND", operation, match))
    )
    assert names(made.listeners["reviews:80"]) == expected


def test_a_filter_may_be_for_one_port(snapshot_of):
    made = snapshot_of(envoy_filter(inserting("ANY", match="{portNumber: 81}"))).listeners
    assert names(made["reviews:80"]) == ["router"]
    assert names(made["reviews:81"]) == ["local_ratelimit", "router"]


@pytest.mark.parametrize("apply_to", ["HTTP_ROUTE", "VIRTUAL_HOST"])
def test_a_servers_routes_speak_to_its_filters(snapshot_of, apply_to):
    vhost = '{vhost: {name: "inbound|http|80"}}'
    made = snapshot_of(envoy_filter(inserting() + merging(apply_to, match=vhost)))
    (host,) = made.listeners["inbound"].http.routes.virtual_hosts
    found = [o.config.stat_prefix for o in host.overrides] + overrides(host)
    assert found == ["merged"]


def test_one_route_of_one_host_is_patched(snapshot_of, virtual_service):
    rule = "- name: {name}\n  match: [{{uri: {{prefix: /{name}}}}}]\n  redirect: {{}}\n"
    match = "{vhost: {name: 'reviews.default.svc.cluster.local:80', route: {name: a}}}"
    made = snapshot_of(
        virtual_service(rule.format(name="a") + rule.format(name="b")),
        envoy_filter(merging(context="SIDECAR_OUTBOUND", match=match)),
    )
    for port, expected in ((80, ["merged"]), (81, [])):
        table = made.routes[f"outbound|{port}||reviews.default.svc.cluster.local"]
        assert overrides(table.virtual_hosts[0]) == expected


def test_rate_limits_of_a_host_are_merged(snapshot_of):
    patch = """
    - applyTo: VIRTUAL_HOST
      match: {context: SIDECAR_OUTBOUND}
      patch:
        operation: MERGE
        value: {rate_limits: [{actions: [{remote_address: {}}]}]}"""
    table = snapshot_of(envoy_filter(patch)).routes["80"]
    assert table.virtual_hosts[0].rate_limits == (
        model.RateLimit(actions=(model.RemoteAddress(),)),
    )


def found(world):
    return [(f.code, f.severity, f.message) for f in findings_of(world)]


@pytest.mark.parametrize(
    "patch, expected",
    [
        (
            "{applyTo: CLUSTER, patch: {operation: MERGE}}",
            ("ML0105", "warning", "MERGE of CLUSTER has no effect"),
        ),
        (
            "{applyTo: HTTP_FILTER, patch: {operation: REMOVE}}",
            ("ML0105", "warning", "REMOVE of HTTP_FILTER has no effect"),
        ),
        (
            "{applyTo: CLUSTER, match: {cluster: {service: x}}, patch: {operation: MERGE}}",
            ("ML0105", "warning", "cluster cannot be judged: the patch has no effect"),
        ),
        (
            "{applyTo: HTTP_ROUTE, match: {context: GATEWAY}, patch: {operation: MERGE}}",
            (
                "ML0105",
                "warning",
                "context GATEWAY is not of a workload: the patch has no effect",
            ),
        ),
        (
            "{applyTo: HTTP_ROUTE, patch: {operation: MERGE, value: {route: {timeout: 1s}}}}",
            ("ML0105", "warning", "route.timeout cannot be merged: the patch has no effect"),
        ),
        (
            (
                "{applyTo: HTTP_FILTER, patch: {operation: INSERT_FIRST, value: {name: x, "
                "typed_config: {'@type': a/envoy.extensions.filters.http.lua.v3.Lua}}}}"
            ),
            (
                "ML0105",
                "warning",
                "filter envoy.extensions.filters.http.lua.v3.Lua is not supported",
            ),
        ),
        (
            (
                "{applyTo: HTTP_FILTER, match: {proxy: {proxyVersion: 1}}, patch: {"
                "operation: INSERT_FIRST, value: {name: x, "
                "typed_config: {'@type': a/envoy.extensions.filters.http.rbac.v3.RBAC}}}}"
            ),
            ("ML0105", "error", "proxy cannot be judged: the patch has no effect"),
        ),
        (
            (
                "{applyTo: HTTP_FILTER, patch: {operation: INSERT_FIRST, value: {name: x, "
                "typed_config: {'@type': a/envoy.extensions.filters.http.oauth2.v3.OAuth2}}}}"
            ),
            (
                "ML0105",
                "error",
                "filter envoy.extensions.filters.http.oauth2.v3.OAuth2 is not supported",
            ),
        ),
    ],
)
def test_patches_that_mean_nothing_here_are_named(world_of, snapshot_of, patch, expected):
    text = envoy_filter(f"    - {patch}")
    assert found(world_of(text)) == [expected]
    assert snapshot_of(text) == snapshot_of()


def test_a_patch_that_envoy_would_refuse_is_an_error(world_of):
    value = VALUE.replace("max_tokens: 4", "max_tokens: 0")
    ((code, severity, said),) = found(world_of(envoy_filter(inserting(value=value))))
    assert (code, severity) == ("ML0106", "error")
    assert "max_tokens" in said


def test_a_rate_limit_service_has_to_be_known(world_of):
    value = """
        value:
          name: envoy.filters.http.ratelimit
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
            domain: d
            rate_limit_service:
              transport_api_version: V3
              grpc_service: {envoy_grpc: {cluster_name: nobody}}"""
    ((code, severity, said),) = found(world_of(envoy_filter(inserting(value=value))))
    assert (code, severity) == ("ML0101", "error")
    assert "'nobody'" in said
