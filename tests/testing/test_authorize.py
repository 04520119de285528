"""Verdicts of access without a call."""

import pytest

from meshlib.errors import ConfigError
from meshlib.testing import Verdict, authorize

PRODUCTPAGE = "cluster.local/ns/default/sa/productpage"
ME = {"app": "reviews"}


def policy(rules, action="ALLOW", name="viewers", namespace="default", **spec):
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": ME}, "action": action, "rules": rules, **spec},
    }


def strict(**ports):
    said = {"portLevelMtls": {number[1:]: {"mode": mode} for number, mode in ports.items()}}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "mtls"},
        "spec": {
            "selector": {"matchLabels": ME},
            "mtls": {"mode": "STRICT"},
            **(said if ports else {}),
        },
    }


VIEWERS = policy(
    [
        {
            "from": [{"source": {"principals": [PRODUCTPAGE]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": ["/reviews/*"]}}],
        }
    ]
)


def test_who_is_allowed_is_let_in_by_a_rule():
    verdict = authorize([VIEWERS], service="reviews", path="/reviews/1", peer=PRODUCTPAGE)
    assert verdict == Verdict(allowed=True, rule="<config>[0]: spec.rules[0]")
    assert verdict


@pytest.mark.parametrize(
    "call",
    [
        {"path": "/reviews/1", "peer": None},
        {"path": "/reviews/1", "peer": "cluster.local/ns/default/sa/ratings"},
        {"path": "/admin", "peer": PRODUCTPAGE},
        {"path": "/reviews/1", "peer": PRODUCTPAGE, "method": "POST"},
    ],
)
def test_who_is_not_allowed_by_any_rule_is_denied(call):
    verdict = authorize([VIEWERS], service="reviews", **call)
    assert verdict == Verdict(allowed=False, status=403, reason="RBAC: access denied")


def test_a_deny_comes_before_what_allows_and_is_named():
    ban = policy([{"to": [{"operation": {"paths": ["/reviews/9"]}}]}], "DENY", "ban")
    verdict = authorize([VIEWERS, ban], service="reviews", path="/reviews/9", peer=PRODUCTPAGE)
    assert (verdict.allowed, verdict.rule) == (False, "<config>[1]: spec.rules[0]")


@pytest.mark.parametrize(
    ("path", "asked", "is_denied"),
    [
        ("/a%2fb", "/a%2Fb", True),
        ("/a%2Fb", "/a%2fb", True),
        ("/c%c3%A4.d*", "/c%C3%a4.d/e", True),
        ("/c%c3%A4.d*", "/c%C3%a4xd/e", False),
        ("*%2fadmin", "/x/y%2Fadmin", True),
        ("*%2fadmin", "/x/y%2FADMIN", False),
        ("*%2fadmin", "/x%2Fadmin/y", False),
        ("/%20%2fB", "/%20%2Fb", False),
        ("/a%2fb/{*}", "/a%2Fb/c", True),
        ("/a%2Fb/{*}", "/a%2fb/c%2fd", True),
        ("/a%2fb/{*}", "/a%2Fb/", False),
        ("/a%2fb/{*}", "/a%2Fb/c/d", False),
        ("/a%2fb/{*}", "/A%2Fb/c", False),
        ("/a%2fb/{*}", "/a%2Fb/c?d=/e", True),
        ("/{*}/%2f.x/{**}", "/a/%2F.x/", True),
        ("/{*}/%2f.x/{**}", "/a/%2F.x/b//c/", True),
        ("/{*}/%2f.x/{**}", "/a/%2F.x", False),
        ("/{*}/%2f.x/{**}", "/a/%2Fyx/", False),
        ("/{**}/%2fadmin", "/a/b/%2Fadmin", True),
        ("/{**}/%2fadmin", "/a/b/%2Fadmin/c", False),
    ],
)
def test_an_escape_is_the_same_in_either_case(path, asked, is_denied):
    """Requests may write it as they like, and a DENY by one spelling would be got around."""
    ban = policy([{"to": [{"operation": {"paths": [path]}}]}], "DENY", "ban")
    verdict = authorize([ban], service="reviews", path=asked, peer=PRODUCTPAGE)
    assert verdict.allowed is not is_denied


def test_a_policy_speaks_to_whom_it_selects():
    assert authorize([VIEWERS], service="ratings")
    assert authorize([VIEWERS], service="reviews.other")
    assert not authorize([VIEWERS], service=("default", {"app": "reviews", "version": "v2"}))


def test_the_policies_of_the_root_namespace_are_everybodys():
    nobody = policy([], namespace="istio-system", selector=None)
    assert not authorize([nobody], service="ratings.other")


def test_a_verified_token_speaks_for_a_call():
    rule = policy([{"from": [{"source": {"requestPrincipals": ["issuer.example/*"]}}]}])
    tokens = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens"},
        "spec": {"jwtRules": [{"issuer": "issuer.example", "jwks": '{"keys": []}'}]},
    }
    claims = {"iss": "issuer.example", "sub": "me", "groups": ["a"]}
    assert authorize([rule, tokens], service="reviews", claims=claims)
    assert not authorize([rule, tokens], service="reviews", claims={**claims, "iss": "other"})
    assert not authorize([rule, tokens], service="reviews")


def test_an_rpc_is_judged_by_its_method():
    rule = policy([{"to": [{"operation": {"paths": ["/pkg.Reviews/Get"]}}]}])
    assert authorize([rule], service="reviews", path="/pkg.Reviews/Get", is_grpc=True)
    denied = authorize([rule], service="reviews", path="/pkg.Reviews/Set", is_grpc=True)
    assert (denied.allowed, denied.reason) == (False, "RBAC: access denied")


def test_nobody_comes_in_by_plain_text_where_mutual_tls_is_strict():
    assert authorize([strict()], service="reviews", peer=PRODUCTPAGE)
    denied = authorize([strict()], service="reviews")
    assert (denied.allowed, denied.reason) == (False, "a verified certificate is required")


def test_a_port_may_be_more_lenient_than_the_others():
    config = [strict(p8080="PERMISSIVE")]
    assert authorize(config, service="reviews", port=8080)
    assert not authorize(config, service="reviews", port=9080)
    assert not authorize(config, service="reviews"), "a port that nobody knows is strict"
    assert authorize(config, service="reviews", port=9080, peer=PRODUCTPAGE)
    denied = authorize(config, service="reviews", port=9080)
    assert denied.reason == "a verified certificate is required", "its connection is closed"


def test_a_grpc_server_knows_its_port_and_not_by_which_address_it_is_called():
    by_port = policy([{"to": [{"operation": {"ports": ["9080"]}}]}])
    asked = {"service": "reviews", "is_grpc": True, "path": "/reviews.Reviews/Get"}
    assert authorize([by_port], port=9080, **asked)
    assert not authorize([by_port], port=9081, **asked)
    assert not authorize([by_port], **asked)
    by_address = policy([{"when": [{"key": "destination.ip", "values": ["127.0.0.1"]}]}])
    assert not authorize([by_address], port=9080, **asked)
    assert authorize([by_address], service="reviews", port=9080)


def test_an_address_and_headers_are_looked_at():
    rule = policy(
        [
            {
                "from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}],
                "when": [{"key": "request.headers[x-team]", "values": ["blue"]}],
            }
        ]
    )
    call = {"service": "reviews", "source_address": "10.1.2.3:4", "headers": {"X-Team": "blue"}}
    assert authorize([rule], **call)
    assert not authorize([rule], **{**call, "source_address": "11.1.2.3:4"})
    assert not authorize([rule], **{**call, "headers": {}})


MESH = {
    "kind": "MeshConfig",
    "extensionProviders": [
        {"name": "asked", "envoyExtAuthzGrpc": {"service": "judge.example", "port": 9000}}
    ],
}
JUDGE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "judge"},
    "spec": {
        "hosts": ["judge.example"],
        "ports": [{"number": 9000, "name": "grpc"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "10.0.0.1"}],
    },
}


def test_who_custom_policies_ask_has_the_last_word_on_what_they_match():
    custom = policy(
        [{"to": [{"operation": {"paths": ["/asked"]}}]}], "CUSTOM", provider={"name": "asked"}
    )
    config = [MESH, JUDGE, custom]
    assert authorize(config, service="reviews", path="/other")
    assert authorize(config, service="reviews", path="/asked", asked=True)
    assert not authorize(config, service="reviews", path="/asked", asked=False)
    assert not authorize(config, service="reviews", path="/asked"), "nobody answers"


def test_a_provider_that_is_not_there_is_an_error():
    custom = policy([{}], "CUSTOM", provider={"name": "nobody"})
    with pytest.raises(ConfigError, match="no extensionProvider 'nobody'"):
        authorize([custom], service="reviews")


def test_xds_resources_are_judged_by_as_well():
    filters = "type.googleapis.com/envoy.extensions.filters"
    deny = {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{filters}.http.rbac.v3.RBAC",
            "rules": {
                "action": "DENY",
                "policies": {
                    "ban": {
                        "permissions": [{"url_path": {"path": {"prefix": "/admin"}}}],
                        "principals": [{"any": True}],
                    }
                },
            },
        },
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{filters}.http.router.v3.Router"},
    }
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "non_forwarding_action": {}}],
    }
    listener = {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "server",
        "api_listener": {
            "api_listener": {
                "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
                "route_config": {"name": "inbound", "virtual_hosts": [host]},
                "http_filters": [deny, router],
            }
        },
    }
    assert authorize([listener], service="reviews", path="/")
    assert authorize([listener], service="reviews", path="/admin/x").rule == "ban"
