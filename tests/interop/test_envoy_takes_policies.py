"""What policies and mutual TLS are compiled to, read by the real Envoy."""

import asyncio
import json

import pytest

from meshlib.controlplane import Scope, compile_snapshot, load_documents
from meshlib.controlplane.node import ClientKind
from meshlib.controlplane.profiles import adapt
from meshlib.controlplane.scope import Sidecar
from meshlib.xds.codec import encode_json

SCOPE = Scope("default", (("app", "reviews"),), sidecar=Sidecar("127.0.0.1", "127.0.0.2"))
SECURITY = "security.istio.io/v1"
ADS = {
    "name": "ads",
    "type": "STATIC",
    "load_assignment": {
        "cluster_name": "ads",
        "endpoints": [
            {
                "lb_endpoints": [
                    {
                        "endpoint": {
                            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
                        }
                    }
                ]
            }
        ],
    },
}


def manifest(kind, spec, name="x", group=SECURITY):
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec}


def source(**said):
    return {"from": [{"source": said}]}


def when(key, *values, **others):
    return {"when": [{"key": key, "values": list(values), **others}]}


RULES = [
    source(
        principals=["cluster.local/ns/a/sa/b", "*/sa/c", "d/*", "*"],
        namespaces=["a", "b*"],
        trustDomains=["td", "*.td"],
        ipBlocks=["10.0.0.0/8", "::1"],
        remoteIpBlocks=["10.0.0.1"],
        requestPrincipals=["i/s", "*", "i/*"],
    ),
    source(serviceAccounts=["ns/a", "b"], notRequestPrincipals=["*"]),
    {
        "to": [
            {
                "operation": {
                    "hosts": ["a", "*.b", "c*"],
                    "methods": ["GET", "P*"],
                    "paths": ["/a", "/b/*", "*/c", "/d/{*}/{**}"],
                    "ports": ["80"],
                    "notPaths": ["/e"],
                }
            }
        ]
    },
    when("request.headers[X-a]", "a", "b*", "*"),
    when("request.auth.claims[a][b]", "c", notValues=["d", "*e"]),
    when("request.auth.audiences", "a"),
    when("destination.ip", "10.0.0.1"),
    when("connection.sni", "a.b", "*.c"),
    when("experimental.envoy.filters.a.b[c]", "[d]"),
]
MANIFESTS = [
    {
        "kind": "MeshConfig",
        "trustDomainAliases": ["td"],
        "extensionProviders": [
            {
                "name": "p",
                "envoyExtAuthzHttp": {
                    "service": "reviews.default.svc.cluster.local",
                    "port": 80,
                    "pathPrefix": "/check",
                    "includeRequestHeadersInCheck": ["x-*"],
                    "includeAdditionalHeadersInCheck": {"a": "b"},
                    "headersToUpstreamOnAllow": ["c"],
                    "includeRequestBodyInCheck": {"maxRequestBytes": 9},
                },
            }
        ],
    },
    manifest(
        "Service",
        {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 80}]},
        "reviews",
        "v1",
    ),
    manifest(
        "WorkloadEntry",
        {"address": "127.0.0.2", "labels": {"app": "reviews"}},
        "w",
        "networking.istio.io/v1",
    ),
    manifest(
        "RequestAuthentication",
        {
            "jwtRules": [
                {
                    "issuer": "b",
                    "jwksUri": "https://b.example/keys",
                    "fromHeaders": [{"name": "x", "prefix": "y "}],
                    "fromParams": ["p"],
                    "fromCookies": ["c"],
                    "outputPayloadToHeader": "o",
                    "outputClaimToHeaders": [{"header": "h", "claim": "c"}],
                },
            ]
        },
    ),
    *(
        manifest("AuthorizationPolicy", {"action": action, "rules": RULES}, action.lower())
        for action in ("ALLOW", "DENY", "AUDIT")
    ),
    manifest(
        "AuthorizationPolicy",
        {"action": "CUSTOM", "provider": {"name": "p"}, "rules": [{}]},
        "custom",
    ),
]


def static(resource):
    made = encode_json(resource)
    made.pop("@type")
    return made


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
async def test_envoy_takes_policies_and_each_mode(envoy, tmp_path, testdata, mode):
    peers = manifest("PeerAuthentication", {"mtls": {"mode": mode}})
    keys = json.loads((testdata / "jwt_vectors.json").read_text())["istio"]["jwks"]
    tokens = manifest("RequestAuthentication", {"jwtRules": [{"issuer": "a", "jwks": keys}]}, "a")
    world = load_documents([*MANIFESTS, peers, tokens])
    snapshot = adapt(compile_snapshot(world, SCOPE), ClientKind.ENVOY, lambda _: None)
    listeners = [static(one) for name, one in snapshot.listeners.items() if "inbound" in name]
    assert len(listeners) == 1
    api = {"api_type": "GRPC", "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}]}
    configured = {
        "node": {"id": "n", "cluster": "k"},
        "dynamic_resources": {"ads_config": api},
        "static_resources": {
            "clusters": [ADS, *map(static, snapshot.clusters.values())],
            "listeners": listeners,
        },
    }
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(configured))
    process = await asyncio.create_subprocess_exec(
        *(str(envoy), "--mode", "validate", "-c", str(config), "-l", "error"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-2000:]
