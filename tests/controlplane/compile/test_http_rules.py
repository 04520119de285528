"""Each field of a VirtualService's rule, from YAML to Envoy's words."""

import pytest

from meshlib import model
from meshlib.controlplane import Scope

TO_REVIEWS = "route: [{destination: {host: reviews, port: {number: 80}}}]"
REVIEWS = "outbound|80||reviews.default.svc.cluster.local"
FAULT, CORS = model.FAULT.name, model.CORS.name


def overridden(route, name):
    return next(override.config for override in route.overrides if override.name == name)


@pytest.mark.parametrize(
    "said, expected",
    [
        (
            "delay: {fixedDelay: 2s, percentage: {value: 0.1}}",
            model.Fault(
                delay=model.FaultDelay(
                    fixed_delay=2.0,
                    percentage=model.Percentage(numerator=1000, denominator=1_000_000),
                )
            ),
        ),
        (
            "delay: {fixedDelay: 100ms, percent: 50}",
            model.Fault(
                delay=model.FaultDelay(fixed_delay=0.1, percentage=model.Percentage(numerator=50))
            ),
        ),
        (
            "delay: {fixedDelay: 1s}",
            model.Fault(delay=model.FaultDelay(fixed_delay=1.0, percentage=model.NEVER)),
        ),
        (
            "abort: {httpStatus: 418, percentage: {value: 100}}",
            model.Fault(abort=model.FaultAbort(http_status=418, percentage=model.ALWAYS)),
        ),
        (
            "abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}",
            model.Fault(abort=model.FaultAbort(grpc_status=14, percentage=model.ALWAYS)),
        ),
    ],
)
def test_a_fault_is_what_the_route_says_to_the_fault_filter(routes_of, said, expected):
    (route,) = routes_of(f"- {TO_REVIEWS}\n  fault: {{{said}}}")
    assert overridden(route, FAULT) == expected


def test_only_listeners_whose_routes_speak_to_a_filter_have_it(snapshot_of, virtual_service):
    rules = f"- {TO_REVIEWS}\n  corsPolicy: {{}}\n  fault: {{abort: {{httpStatus: 500}}}}"
    made = snapshot_of(virtual_service(rules))
    assert made.listeners["reviews:80"].http.http_filters == (
        model.FAULT,
        model.CORS,
        model.ROUTER,
    )
    plain = snapshot_of(virtual_service(f"- {TO_REVIEWS}"))
    assert plain.listeners["reviews:80"].http.http_filters == (model.ROUTER,)


def test_a_cors_policy_becomes_headers(routes_of):
    (route,) = routes_of(
        f"""
- {TO_REVIEWS}
  corsPolicy:
    allowOrigins: [{{exact: https://a.b}}, {{prefix: https://c}}, {{regex: ".*"}}]
    allowMethods: [GET, POST]
    allowHeaders: [x-a, x-b]
    exposeHeaders: [x-c]
    maxAge: 1h
    allowCredentials: true
    unmatchedPreflights: IGNORE
"""
    )
    assert overridden(route, CORS) == model.Cors(
        allow_origins=(
            model.Exact("https://a.b"),
            model.Prefix("https://c"),
            model.SafeRegex(".*"),
        ),
        allow_methods="GET,POST",
        allow_headers="x-a,x-b",
        expose_headers="x-c",
        max_age="3600",
        allow_credentials=True,
        forward_not_matching_preflights=False,
    )


def test_the_older_word_for_origins_is_exact(routes_of):
    (route,) = routes_of(f"- {TO_REVIEWS}\n  corsPolicy: {{allowOrigin: ['*']}}")
    assert overridden(route, CORS).allow_origins == (model.Exact("*"),)


@pytest.mark.parametrize(
    "said, shares",
    [
        ("mirror: {host: reviews, port: {number: 80}}", [model.ALWAYS]),
        (
            "mirror: {host: reviews, port: {number: 80}}\n  mirrorPercent: 7",
            [model.Percentage(numerator=7)],
        ),
        (
            "mirror: {host: reviews, port: {number: 80}}\n  mirrorPercentage: {value: 0.5}",
            [model.Percentage(numerator=5000, denominator=1_000_000)],
        ),
        ("mirror: {host: reviews, port: {number: 80}}\n  mirrorPercentage: {value: 0}", []),
        (
            (
                "mirrors:\n"
                "    - {destination: {host: reviews, port: {number: 80}}}\n"
                "    - {destination: {host: reviews, port: {number: 80}}, percentage: {value: 2}}"
            ),
            [model.ALWAYS, model.Percentage(numerator=2)],
        ),
    ],
)
def test_copies_go_to_mirrors_without_a_shadow_suffix(routes_of, said, shares):
    (route,) = routes_of(f"- {TO_REVIEWS}\n  {said}")
    assert route.action.request_mirror_policies == tuple(
        model.RequestMirrorPolicy(
            cluster=REVIEWS, runtime_fraction=share, disable_shadow_host_suffix_append=True
        )
        for share in shares
    )


@pytest.mark.parametrize(
    "said, expected",
    [
        ("uri: /a", model.RedirectAction(path_redirect="/a")),
        ("uri: '%PREFIX()%/a'", model.RedirectAction(prefix_rewrite="/a")),
        ("port: 8080", model.RedirectAction(port_redirect=8080)),
        ("port: 443, scheme: https", model.RedirectAction(scheme_redirect="https")),
        ("derivePort: FROM_PROTOCOL_DEFAULT", model.RedirectAction()),
        (
            "derivePort: FROM_REQUEST_PORT, scheme: https",
            model.RedirectAction(scheme_redirect="https", port_redirect=80),
        ),
        (
            "authority: a.b, redirectCode: 307",
            model.RedirectAction(host_redirect="a.b", response_code=307),
        ),
    ],
)
def test_a_redirect_says_only_what_differs(routes_of, said, expected):
    (route,) = routes_of(f"- redirect: {{{said}}}")
    assert route.action == expected


def test_a_path_is_rewritten_by_a_regex(routes_of):
    said = r"rewrite: {uriRegexRewrite: {match: '/a/(.*)', rewrite: '/b/\1'}, authority: x.y}"
    (route,) = routes_of(f"- {TO_REVIEWS}\n  {said}")
    assert route.action.regex_rewrite == model.RegexRewrite(
        pattern="/a/(.*)", substitution=r"/b/\1"
    )
    assert route.action.host_rewrite_literal == "x.y"


def test_retries_are_translated_word_by_word(routes_of):
    (route,) = routes_of(
        f"""
- {TO_REVIEWS}
  retries:
    attempts: 3
    retryOn: "5xx,409,retriable-headers"
    perTryTimeout: 2s
    backoff: 100ms
    retryRemoteLocalities: true
    retryIgnorePreviousHosts: false
"""
    )
    assert route.action.retry_policy == model.RetryPolicy(
        retry_on=("5xx", "retriable-headers", "retriable-status-codes"),
        num_retries=3,
        per_try_timeout=2.0,
        retriable_status_codes=(409,),
        retry_back_off=model.RetryBackOff(base_interval=0.1),
        previous_hosts=False,
        previous_priorities=2,
        host_selection_retry_max_attempts=5,
    )


def test_the_mesh_may_say_how_to_retry_where_a_rule_says_nothing(routes_of):
    mesh = "---\nkind: MeshConfig\ndefaultHttpRetryPolicy: {attempts: 7, retryOn: 5xx}\n"
    (route,) = routes_of(f"- {TO_REVIEWS}", mesh)
    assert route.action.retry_policy.num_retries == 7
    (own,) = routes_of(f"- {TO_REVIEWS}\n  retries: {{attempts: 0}}", mesh)
    assert own.action.retry_policy is None


def test_headers_of_answers_are_changed_and_formats_kept(routes_of):
    (route,) = routes_of(
        """
- headers:
    request: {set: {x-from: '%DOWNSTREAM_REMOTE_ADDRESS%'}}
    response: {add: {x-a: '%REQ(x-b)%'}, remove: [Server]}
  route:
    - {destination: {host: reviews}, weight: 1, headers: {response: {set: {x-v: v1}}}}
    - {destination: {host: reviews}, weight: 1, headers: {request: {set: {host: two}}}}
"""
    )
    assert route.headers.request_headers_to_add[0].value == "%DOWNSTREAM_REMOTE_ADDRESS%"
    assert route.headers.response_headers_to_add[0].value == "%REQ(x-b)%"
    assert route.headers.response_headers_to_remove == ("server",)
    one, two = route.action.cluster.clusters
    assert one.headers.response_headers_to_add[0].append_action == "overwrite_if_exists_or_add"
    assert two.host_rewrite_literal == "two"


@pytest.mark.parametrize(
    "match, expected",
    [
        ("headers: {x: {}}", (model.HeaderMatcher(name="x"),)),
        (
            "withoutHeaders: {x: {exact: a}}",
            (
                model.HeaderMatcher(
                    name="x",
                    match=model.Exact("a"),
                    invert_match=True,
                    treat_missing_header_as_empty=True,
                ),
            ),
        ),
        (
            "authority: {regex: a.*}",
            (model.HeaderMatcher(name=":authority", match=model.SafeRegex("a.*")),),
        ),
        (
            "scheme: {exact: https}",
            (model.HeaderMatcher(name=":scheme", match=model.Exact("https")),),
        ),
    ],
)
def test_matches_become_header_matchers(routes_of, match, expected):
    (route,) = routes_of(f"- match: [{{{match}}}]\n  {TO_REVIEWS}")
    assert route.match.headers == expected


def test_a_match_gives_its_stat_prefix_to_the_route(routes_of):
    (route,) = routes_of(f"- match: [{{uri: {{prefix: /a}}, statPrefix: api}}]\n  {TO_REVIEWS}")
    assert route.stat_prefix == "api"


@pytest.mark.parametrize(
    "match, is_meant",
    [
        ("port: 80", True),
        ("port: 81", False),
        ("gateways: [mesh]", True),
        ("gateways: [edge]", False),
        ("sourceNamespace: default", True),
        ("sourceNamespace: other", False),
        ("sourceLabels: {app: web}", True),
        ("sourceLabels: {app: other}", False),
    ],
)
def test_what_only_the_control_plane_knows_is_resolved_by_it(routes_of, match, is_meant):
    scope = Scope("default", (("app", "web"),))
    routes = routes_of(f"- match: [{{{match}}}]\n  {TO_REVIEWS}", scope=scope)
    assert bool(routes) == is_meant
