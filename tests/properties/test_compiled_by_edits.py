"""Edit after edit, what is compiled on top of what was there is what would be compiled afresh."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.controlplane import Scope, compile_snapshot
from meshlib.controlplane.compile import Compiler
from meshlib.controlplane.fingerprints import Fingerprints
from meshlib.controlplane.manifests import Memory, World, accepted, read_texts
from meshlib.controlplane.scope import Sidecar
from meshlib.controlplane.snapshots import resources_of
from meshlib.errors import ConfigError
from meshlib.model import Locality

NETWORKING = "networking.istio.io/v1"
SCOPES = (
    Scope(),
    Scope("shop", (("app", "a"),), Locality("eu", "1")),
    Scope("default", (("app", "a"), ("version", "v1")), sidecar=Sidecar("127.0.0.1", "10.0.0.1")),
)
names = st.sampled_from("abc")
namespaces = st.sampled_from(["default", "default", "shop", "istio-system"])
hosts = st.one_of(names, st.sampled_from(["a.shop", "b.default.svc.cluster.local", "x.example"]))
export = st.sampled_from([[], ["*"], ["."], ["shop"], ["~"]])
subsets = st.sampled_from(["", "v1", "v2"])
labels = st.sampled_from([{"app": "a"}, {"app": "b"}, {"app": "a", "version": "v1"}])


def made(kind: str, spec: Any, *, version: str = NETWORKING, name: Any = names) -> Any:
    """Where manifests stand is drawn with them: ``(kind, namespace, name)`` and the document."""

    def document(name: str, namespace: str, spec: dict[str, Any]) -> Any:
        metadata = {"name": name, "namespace": namespace}
        told = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
        return (kind, namespace, name), told

    return st.builds(document, name, namespaces, spec)


ports = st.sampled_from([80, 81]).map(lambda n: {"name": "http", "port": n})
destination = st.fixed_dictionaries({"host": hosts}, optional={"subset": st.just("v1")})
rule = st.one_of(
    st.builds(lambda one: {"route": [{"destination": one}]}, destination),
    st.builds(
        lambda one, other, share: {
            "route": [
                {"destination": one, "weight": share},
                {"destination": other, "weight": 100 - share},
            ]
        },
        destination,
        destination,
        st.integers(0, 100),
    ),
    st.builds(lambda name: {"delegate": {"name": name, "namespace": "shop"}}, names),
)
matched = st.builds(
    lambda rule, match: {**rule, "match": [match]},
    rule,
    st.sampled_from([{"uri": {"prefix": "/x"}}, {"sourceLabels": {"app": "a"}}, {"port": 81}]),
)
documents = st.one_of(
    made(
        "Service",
        st.builds(lambda s, p: {"selector": s, "ports": [p]}, labels, ports),
        version="v1",
    ),
    made(
        "WorkloadEntry",
        st.fixed_dictionaries(
            {"address": st.sampled_from(["10.0.0.1", "10.0.0.2"]), "labels": labels},
            optional={"locality": st.just("eu/1"), "weight": st.integers(1, 3)},
        ),
    ),
    made(
        "ServiceEntry",
        st.builds(
            lambda host, to: {
                "hosts": [host],
                "exportTo": to,
                "resolution": "STATIC",
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "workloadSelector": {"labels": {"app": "b"}},
            },
            st.sampled_from(["x.example", "*.example"]),
            export,
        ),
    ),
    made(
        "VirtualService",
        st.builds(
            lambda host, to, rules: {"hosts": [host], "exportTo": to, "http": rules},
            hosts,
            export,
            st.lists(st.one_of(rule, matched), min_size=1, max_size=3),
        ),
    ),
    made(
        "VirtualService",
        st.builds(lambda d: {"http": [{"route": [{"destination": d}]}]}, destination),
    ),
    made(
        "DestinationRule",
        st.builds(
            lambda host, to, simple: {
                "host": host,
                "exportTo": to,
                "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
                "trafficPolicy": {"loadBalancer": {"simple": simple}},
            },
            hosts,
            export,
            st.sampled_from(["ROUND_ROBIN", "RANDOM", "PASSTHROUGH"]),
        ),
    ),
    made(
        "MeshConfig",
        st.sampled_from(
            [{}, {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}, {"connectTimeout": "3s"}]
        ),
        version="mesh.istio.io/v1alpha1",
        name=st.just("istio"),
    ),
)
modes = st.sampled_from(["STRICT", "PERMISSIVE", "DISABLE", "UNSET"])
secured = st.one_of(
    made(
        "PeerAuthentication",
        st.builds(lambda mode: {"mtls": {"mode": mode}}, modes),
        version="security.istio.io/v1",
    ),
    made(
        "PeerAuthentication",
        st.builds(
            lambda selected, mode: {
                "selector": {"matchLabels": selected},
                "portLevelMtls": {"80": {"mode": mode}},
            },
            labels,
            modes,
        ),
        version="security.istio.io/v1",
    ),
    made(
        "AuthorizationPolicy",
        st.builds(
            lambda selected, action, method: {
                "selector": {"matchLabels": selected},
                "action": action,
                "rules": [{"to": [{"operation": {"methods": [method]}}]}],
            },
            labels,
            st.sampled_from(["ALLOW", "DENY"]),
            st.sampled_from(["GET", "PUT"]),
        ),
        version="security.istio.io/v1",
    ),
    made(
        "RequestAuthentication",
        st.builds(lambda name: {"jwtRules": [{"issuer": name, "jwks": "{}"}]}, names),
        version="security.istio.io/v1",
    ),
    made(
        "DestinationRule",
        st.builds(
            lambda host, mode: {"host": host, "trafficPolicy": {"tls": {"mode": mode}}},
            hosts,
            st.sampled_from(["DISABLE", "ISTIO_MUTUAL", "SIMPLE"]),
        ),
    ),
    made(
        "WorkloadEntry",
        st.builds(
            lambda label, account: {
                "address": "10.0.0.3",
                "labels": {"app": "a", "security.istio.io/tlsMode": label},
                "serviceAccount": account,
            },
            st.sampled_from(["istio", "disabled"]),
            names,
        ),
    ),
    made(
        "MeshConfig",
        st.sampled_from([{"trustDomain": "td.example"}, {"enableAutoMtls": False}]),
        version="mesh.istio.io/v1alpha1",
        name=st.just("istio"),
    ),
)
documents = st.one_of(documents, secured)
edits = st.lists(st.tuples(st.integers(0, 3), documents), min_size=5, max_size=40)


def first() -> dict[Any, Any]:
    """Each of three services, of which the first leads to the others, and one has a subset."""
    metadata = {"name": "a", "namespace": "default"}
    told = [
        (
            "Service",
            "v1",
            name,
            {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
        )
        for name in "abc"
    ]
    choices = [{"destination": {"host": "b", "subset": "v1"}, "weight": 50}]
    choices += [{"destination": {"host": "c"}, "weight": 50}]
    told += [("VirtualService", NETWORKING, "a", {"hosts": ["a"], "http": [{"route": choices}]})]
    subset = {"name": "v1", "labels": {"version": "v1"}}
    told += [("DestinationRule", NETWORKING, "b", {"host": "b", "subsets": [subset]})]
    return {
        (kind, "default", name): {
            "apiVersion": version,
            "kind": kind,
            "metadata": {**metadata, "name": name},
            "spec": spec,
        }
        for kind, version, name, spec in told
    }


def world_of(standing: dict[Any, Any], memory: Memory | None = None) -> World:
    """Each in a file of its own, or where it stands would change with others."""
    texts = [(Path("-".join(key)), json.dumps(standing[key])) for key in sorted(standing)]
    return accepted(*read_texts(texts, memory))


@settings(max_examples=60, deadline=None)
@given(edits)
def test_what_edits_leave_behind_is_what_would_be_compiled_afresh(edits: Any) -> None:
    memory, compiler, prints = Memory(), Compiler(), Fingerprints()
    standing = first()
    for fate, (key, document) in edits:
        before = standing
        standing = {k: v for k, v in standing.items() if k != key}
        if fate:
            standing[key] = document
        try:
            afresh = world_of(standing)
        except ConfigError:
            standing = before
            continue
        world = world_of(standing, memory)
        assert world == afresh
        assert prints.of(world) == Fingerprints().of(afresh)
        for scope in SCOPES:
            edited, whole = resources_of(world, scope, compiler), compile_snapshot(afresh, scope)
            assert edited == whole
            assert [*edited.clusters] == [*whole.clusters]
            edited.check()
