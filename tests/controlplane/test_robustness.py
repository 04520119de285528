"""Whatever stands in a manifest: it is compiled, or refused with places; never a crash."""

import copy

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.controlplane import Scope, compile_snapshot, findings_of, load_documents
from meshlib.controlplane.manifests import read_texts
from meshlib.errors import ConfigError

BOOKINFO = list(
    yaml.safe_load_all(
        """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default, labels: {app: reviews}}
spec:
  selector: {app: reviews}
  clusterIP: 10.1.0.1
  ports: [{name: http, port: 9080, targetPort: web}, {name: grpc, port: 9081}]
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {type: ExternalName, externalName: ratings.example.com, ports: [{port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 10.0.0.1, labels: {app: reviews, version: v1}, ports: {web: 8080}, locality: a/b/c}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [api.example.com, "*.example.org"]
  addresses: [192.0.2.7]
  ports: [{number: 443, name: https, protocol: HTTPS, targetPort: 8443}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1, weight: 2, ports: {https: 9443}, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  exportTo: ["*"]
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 3, connectTimeout: 1s}, http: {maxRetries: 2}}
    outlierDetection: {consecutiveGatewayErrors: 2, interval: 1m30s}
    portLevelSettings: [{port: {number: 9081}, loadBalancer: {simple: LEAST_CONN}}]
    retryBudget: {percent: 12.5, minRetryConcurrency: 1}
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  gateways: [mesh]
  http:
    - name: a
      match: [{uri: {regex: "/x[0-9]+"}, headers: {a: {exact: b}, c: {}}, sourceLabels: {a: b}}]
      route: [{destination: {host: reviews, subset: v1, port: {number: 9080}}, weight: 100}]
      retries: {attempts: 2, perTryTimeout: 1s, retryOn: "5xx,503", backoff: 10ms}
      headers: {request: {set: {host: other}, add: {x: "y"}}}
      rewrite: {uri: /y}
    - redirect: {uri: /z, redirectCode: 302}
      match: [{withoutHeaders: {a: {prefix: x}}, queryParams: {q: {regex: a+}}, port: 9080}]
    - directResponse: {status: 503, body: {bytes: aGVsbG8=}}
      headers: {response: {remove: [z]}}
---
kind: MeshConfig
outboundTrafficPolicy: {mode: ALLOW_ANY}
"""
    )
)

ODD_TEXTS = ["", "*", "a" * 5000, "*.x", "5s", "v1", "reviews", "(", "\x00", "-1", "§", "a.b", "~"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(ODD_TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ODD_TEXTS), inner),
    max_leaves=5,
)


def paths(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(child, (*path, key))


PATHS = [path for path in paths(BOOKINFO) if path]


def test_the_whole_book_is_sound():
    world = load_documents(BOOKINFO)
    assert not [f for f in findings_of(world) if f.severity == "error"]
    snapshot = compile_snapshot(world, Scope())
    snapshot.check()
    assert {"reviews:9080", "reviews:9081", "ratings:9080", "api.example.com:443"} <= set(
        snapshot.listeners
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), JSON), min_size=1, max_size=3))
def test_a_spoilt_manifest_is_refused_or_compiled_soundly(changes):
    documents = copy.deepcopy(BOOKINFO)
    for path, value in changes:
        at = documents
        for step in path[:-1]:
            at = at[step] if isinstance(at, dict | list) and has(at, step) else {}
        if isinstance(at, dict) or (isinstance(at, list) and has(at, path[-1])):
            at[path[-1]] = value
    try:
        world = load_documents(documents)
    except ConfigError:
        return
    findings_of(world)
    compile_snapshot(world, Scope("default", (("a", "b"),))).check()


def has(container, step) -> bool:
    if isinstance(container, list):
        return isinstance(step, int) and step < len(container)
    return step in container


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="a:-[]{}&*!|>'\"#%@ \n\t0x\x00é\ufffe", max_size=60))
def test_any_text_is_read_or_refused(text):
    read_texts([("a.yaml", text)])
