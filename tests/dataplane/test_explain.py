import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.dataplane import CallEnded, Choice, Copy, Options, decide
from meshlib.model import (
    CORS,
    FAULT,
    ClusterWeight,
    Cors,
    DirectResponseAction,
    Exact,
    FilterOverride,
    HashCookie,
    HashHeader,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    HealthStatus,
    NonForwardingAction,
    PathExact,
    PathPrefix,
    Percentage,
    RedirectAction,
    RequestMirrorPolicy,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RuntimeFraction,
    Snapshot,
    Static,
    VirtualCluster,
    WeightedClusters,
    sourced,
)
from meshlib.model.filter import ROUTER
from meshlib.testing import (
    REVIEWS,
    A,
    B,
    VirtualMesh,
    assignment,
    endpoint,
    get,
    one_service,
    play,
    seeded,
)

WEIGHTED = WeightedClusters(
    clusters=(ClusterWeight(name="canary", weight=1), ClusterWeight(name="reviews", weight=3))
)


def test_a_decision_tells_everything_that_would_happen() -> None:
    policy = RetryPolicy(retry_on=("5xx",))
    added = HeaderMutations(request_headers_to_add=(HeaderValueOption(name="x", value="1"),))
    action = RouteAction(
        cluster="reviews",
        timeout=3.0,
        retry_policy=policy,
        prefix_rewrite="/v2",
        host_rewrite_literal="ratings",
    )
    route = Route(
        name="api",
        match=RouteMatch(path=PathPrefix("/api")),
        action=action,
        headers=added,
        metadata=sourced("reviews.yaml:7"),
    )
    sick = endpoint(B, health_status=HealthStatus.UNHEALTHY)
    snapshot = one_service(routes=(route,), discovery=Static(assignment([A, sick])))
    decision = decide(VirtualMesh(snapshot).engine, get(REVIEWS, "/api/x?q", headers=(("y", "2"),)))
    assert decision.virtual_host == "host"
    assert decision.route == "api"
    assert decision.route_metadata.source == "reviews.yaml:7"
    assert decision.cluster == "reviews"
    assert decision.clusters == (Choice(cluster="reviews", weight=1),)
    assert decision.endpoints == (A, f"{B} (UNHEALTHY)")
    assert (decision.path, decision.authority) == ("/v2/x?q", "ratings")
    assert decision.request_headers == (
        ("y", "2"),
        ("x", "1"),
        ("x-envoy-original-host", "reviews:9080"),
        ("x-envoy-original-path", "/api/x?q"),
    )
    assert (decision.timeout, decision.retry_policy) == (3.0, policy)
    assert decision.error == ""
    assert json.loads(json.dumps(decision.to_dict()))["cluster"] == "reviews"


def test_a_decision_tells_each_rule_that_was_tried_and_why_it_was_not_taken() -> None:
    beta = HeaderMatcher(name="x-user", match=Exact("beta"))
    to = RouteAction(cluster="reviews")
    routes = (
        Route(name="exact", match=RouteMatch(path=PathExact("/b")), action=to),
        Route(name="beta", match=RouteMatch(headers=(beta,)), action=to),
        Route(name="all", action=to, metadata=sourced("reviews.yaml:9")),
        Route(name="late", action=to),
    )
    decision = decide(VirtualMesh(one_service(routes=routes)).engine, get(REVIEWS, "/a"))
    assert [(t.outcome, t.reason) for t in decision.trace] == [
        ("skipped", "path does not match"),
        ("skipped", "header x-user=beta"),
        ("matched", ""),
        ("not reached", ""),
    ]
    assert decision.trace[0].source == "reviews:9080/host/exact"
    assert decision.trace[1].rule == "path=* and header x-user=beta"
    assert decision.trace[2].source == "reviews.yaml:9"


def test_what_the_mesh_answers_by_itself_is_shown() -> None:
    direct = Route(action=DirectResponseAction(status=503, body=b"sorry"))
    decision = decide(VirtualMesh(one_service(routes=(direct,))).engine, get(REVIEWS))
    assert decision.cluster is None
    assert decision.response is not None
    assert (decision.response.status, decision.response.body) == (503, "sorry")
    moved = Route(action=RedirectAction(host_redirect="new"))
    decision = decide(VirtualMesh(one_service(routes=(moved,))).engine, get(REVIEWS))
    assert decision.response is not None
    assert decision.response.headers == (("location", "http://new/"),)
    served = Route(action=NonForwardingAction())
    decision = decide(VirtualMesh(one_service(routes=(served,))).engine, get(REVIEWS))
    assert decision.response is None


def altered(snapshot: Snapshot, http: dict[str, Any], **host: Any) -> Snapshot:
    """With other fields of the connection manager and of the virtual host."""
    (listener,) = snapshot.listeners.values()
    routes = listener.http.routes
    assert isinstance(routes, RouteConfiguration)
    hosts = tuple(replace(each, **host) for each in routes.virtual_hosts)
    manager = replace(listener.http, routes=replace(routes, virtual_hosts=hosts), **http)
    return replace(snapshot, listeners={listener.name: replace(listener, http=manager)})


def test_a_decision_tells_what_else_becomes_of_such_a_call() -> None:
    told = HeaderValueOption(name="x-told", value="%UPSTREAM_CLUSTER% for %REQ(x-new)%")
    new = HeaderValueOption(name="x-new", value="1")
    policy = Cors(allow_origins=(Exact("*"),))
    route = Route(
        action=RouteAction(
            cluster="reviews",
            hash_policy=(HashHeader(header_name="x-new"), HashCookie(name="u", ttl=0.0)),
            request_mirror_policies=(
                RequestMirrorPolicy(cluster="shadow", runtime_fraction=Percentage(numerator=5)),
            ),
        ),
        headers=HeaderMutations(request_headers_to_add=(new,), response_headers_to_add=(told,)),
        overrides=(FilterOverride(name=CORS.name, config=policy),),
    )
    gets = VirtualCluster(name="gets", headers=(HeaderMatcher(name=":method"),))
    filters = {"http_filters": (CORS, FAULT, ROUTER)}
    snapshot = altered(one_service(routes=(route,)), filters, virtual_clusters=(gets,))
    decision = decide(VirtualMesh(snapshot).engine, get(REVIEWS))
    assert decision.virtual_cluster == "gets"
    assert decision.mirrors == (Copy(cluster="shadow", share=0.05),)
    assert decision.filters == (CORS.name,)
    assert decision.hash_key is not None
    names = [name for name, _ in decision.response_headers]
    assert names == ["x-told", "set-cookie"]
    assert decision.response_headers[0][1] == "reviews for 1"


def test_a_host_that_requires_tls_is_explained_by_its_redirect() -> None:
    snapshot = altered(one_service(), {}, require_tls="all")
    decision = decide(VirtualMesh(snapshot).engine, get(REVIEWS))
    assert decision.response is not None
    assert decision.response.headers == (("location", "https://reviews:9080/"),)
    assert [tried.outcome for tried in decision.trace][:1] == ["matched"]


def test_a_path_that_means_nothing_is_explained_as_a_bad_request() -> None:
    engine = VirtualMesh(altered(one_service(), {"normalize_path": True})).engine
    assert decide(engine, get(REVIEWS, "/a/../b")).path == "/b"
    refused = decide(engine, get(REVIEWS, "/%00"))
    assert refused.response is not None
    assert refused.response.status == 400


def test_a_request_that_leads_nowhere_says_why() -> None:
    nothing = Route(match=RouteMatch(path=PathExact("/x")), action=NonForwardingAction())
    engine = VirtualMesh(one_service(routes=(nothing,))).engine
    assert decide(engine, get(REVIEWS)).error == "no route matches"
    assert decide(engine, get("new:80")).error == "no configuration for 'new:80' yet"
    engine = VirtualMesh(one_service(action=RouteAction(cluster="gone"))).engine
    assert decide(engine, get(REVIEWS)).error == "no cluster 'gone'"
    hostless = one_service(domains=("a",))
    assert decide(VirtualMesh(hostless).engine, get(REVIEWS)).error == (
        "no virtual host for 'reviews:9080'"
    )


@pytest.mark.parametrize(
    ("passthrough", "cluster"), [(True, "PassthroughCluster"), (False, "BlackHoleCluster")]
)
def test_a_foreign_host_is_decided_by_the_policy(passthrough: bool, cluster: str) -> None:
    mesh = VirtualMesh(options=Options(complete=True, passthrough=passthrough))
    assert decide(mesh.engine, get("example.com:80")).cluster == cluster


@given(
    seed=st.integers(0, 2**32),
    share=st.integers(0, 100),
    path=st.sampled_from(["/", "/beta", "/x"]),
    headed=st.booleans(),
)
def test_a_decision_is_what_the_engine_does_with_the_same_luck(
    seed: int, share: int, path: str, headed: bool
) -> None:
    lucky = RuntimeFraction(numerator=share)
    routes = (
        Route(
            name="lucky",
            match=RouteMatch(path=PathPrefix("/beta"), runtime_fraction=lucky),
            action=RouteAction(cluster="canary"),
        ),
        Route(
            name="headed",
            match=RouteMatch(headers=(HeaderMatcher(name="x"),), runtime_fraction=lucky),
            action=RouteAction(cluster="reviews", prefix_rewrite="/h"),
        ),
        Route(name="split", action=RouteAction(cluster=WEIGHTED)),
    )
    mesh = VirtualMesh(one_service(routes=routes))
    request = get(REVIEWS, path, headers=(("x", "1"),) if headed else ())
    mesh.dice = seeded(seed)
    decision = decide(mesh.engine, request)
    mesh.dice = seeded(seed)
    call = play(mesh, request)
    ended = mesh.events[-1]
    assert isinstance(ended, CallEnded)
    assert ended.record.route is not None
    assert decision.route == ended.record.route.config.name
    if ended.record.cluster is None:
        assert decision.error == "no cluster 'canary'"
        return
    assert decision.cluster == ended.record.cluster.name
    sent = call.trace[0]
    assert (sent["path"], sent["authority"]) == (decision.path, decision.authority)
    assert sent["headers"] == dict(decision.request_headers)
    assert sent["endpoint"] in decision.endpoints
