"""Cases in which we once differed, each as small as it could be made."""

from ...model import (
    CORS,
    FAULT,
    Action,
    ClusterHeader,
    ClusterWeight,
    Cors,
    DirectResponseAction,
    Exact,
    Fault,
    FaultAbort,
    FilterOverride,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    PathPrefix,
    Prefix,
    Present,
    Range,
    RedirectAction,
    RegexRewrite,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualCluster,
    VirtualHost,
    WeightedClusters,
)
from ...model.filter import ALWAYS
from .case import Case, Sent

TWICE = (("x", "2"), ("x", "30"))
FORWARD = RouteAction(cluster="c1")
REST = Route(action=RouteAction(cluster="c0"))
PLAIN = Sent("GET", "a", "/", ())
PREFLIGHT = Sent(
    "OPTIONS", "a", "/", (("origin", "https://o"), ("access-control-request-method", "PUT"))
)
POLICY = FilterOverride(
    name=CORS.name, config=Cors(allow_origins=(Prefix("https"),), expose_headers="x")
)
ABORT = FilterOverride(
    name=FAULT.name, config=Fault(abort=FaultAbort(http_status=400, percentage=ALWAYS))
)
GETS = VirtualCluster(name="posts", headers=(HeaderMatcher(name=":method", match=Exact("POST")),))


def _case(
    name: str,
    action: Action,
    sent: Sent = PLAIN,
    overrides: tuple[FilterOverride, ...] = (),
    *,
    headers: HeaderMutations = HeaderMutations(),  # noqa: B008 - a frozen value
    virtual_clusters: tuple[VirtualCluster, ...] = (),
) -> Case:
    route = Route(action=action, headers=headers, overrides=overrides)
    return _table(name, (route,), (sent,), virtual_clusters)


def _asked(name: str, matcher: HeaderMatcher) -> Case:
    route = Route(match=RouteMatch(path=PathPrefix("/"), headers=(matcher,)), action=FORWARD)
    return _table(name, (route, REST), (Sent("GET", "a", "/", TWICE), PLAIN))


def _table(
    name: str,
    routes: tuple[Route, ...],
    requests: tuple[Sent, ...],
    virtual_clusters: tuple[VirtualCluster, ...] = (),
) -> Case:
    host = VirtualHost(
        name="host", domains=("*",), routes=routes, virtual_clusters=virtual_clusters
    )
    return Case(0, RouteConfiguration(name=name, virtual_hosts=(host,)), requests)


def _added(name: str, value: str, *, remove: tuple[str, ...] = ()) -> HeaderMutations:
    option = HeaderValueOption(name=name, value=value)
    return HeaderMutations(request_headers_to_add=(option,), request_headers_to_remove=remove)


def _told(value: str, sent: str = "") -> HeaderMutations:
    return HeaderMutations(
        request_headers_to_add=(HeaderValueOption(name="x", value=sent),),
        response_headers_to_add=(HeaderValueOption(name="x-told", value=value),),
    )


def _weighted(host: str) -> RouteAction:
    weight = ClusterWeight(name="c1", weight=1, host_rewrite_literal=host)
    other = ClusterWeight(name="c2", weight=1)
    return RouteAction(cluster=WeightedClusters(clusters=(weight, other), header_name="x-number"))


FOUND = (
    _asked("one of several values fits", HeaderMatcher(name="x", match=Exact("30"))),
    _asked("several values are not one", HeaderMatcher(name="x", match=Exact("2,30"))),
    _asked("no number of several fits", HeaderMatcher(name="x", match=Range(3, 9))),
    _asked("none fits", HeaderMatcher(name="x", match=Exact("2"), invert_match=True)),
    _asked(
        "what is missing is there as nothing",
        HeaderMatcher(name="y", match=Present(), treat_missing_header_as_empty=True),
    ),
    _case(
        "removed before values are filled in",
        FORWARD,
        Sent("GET", "a", "/", (("x-a", "1"),)),
        headers=_added("x-b", "[%REQ(x-a)%]", remove=("x-a",)),
    ),
    _case(
        "nothing is added before all is filled in",
        FORWARD,
        headers=HeaderMutations(
            request_headers_to_add=(
                HeaderValueOption(name="x", value="1", append_action="add_if_absent"),
                HeaderValueOption(name="x", value="2", append_action="add_if_absent"),
                HeaderValueOption(name="x", value="0", append_action="overwrite_if_exists"),
            )
        ),
    ),
    _case(
        "what stands in for a missing variable",
        FORWARD,
        headers=_added("x", "%ENVIRONMENT(MESHLIB_NOT_THERE)%"),
    ),
    _case("answers tell of what was sent", FORWARD, headers=_told("%REQ(x)%", "1")),
    _case(
        "a weight's host comes before the levels around it",
        _weighted("new"),
        Sent("GET", "a", "/", (("x-number", "0"),)),
        headers=_added("x", "%REQ(:authority)%"),
    ),
    _case(
        "a redirect tells of its new path",
        RedirectAction(regex_rewrite=RegexRewrite(pattern="[a-z]*", substitution="-")),
        Sent("GET", "a", "/ab/c?q", ()),
        headers=_told("%REQ(:path)%"),
    ),
    _case("a created thing is where it was asked for", DirectResponseAction(status=201, body=b"x")),
    _case(
        "an answer of its own has no attempts",
        DirectResponseAction(status=200),
        headers=_told("%UPSTREAM_REQUEST_ATTEMPT_COUNT%%VIRTUAL_CLUSTER_NAME%."),
        virtual_clusters=(GETS,),
    ),
    _case(
        "no cluster has no name",
        RouteAction(cluster=ClusterHeader("x"), cluster_not_found_response_code=404),
        headers=_told("%UPSTREAM_CLUSTER%."),
    ),
    _case(
        "calls without a name of their own have none",
        FORWARD,
        headers=_told("%VIRTUAL_CLUSTER_NAME%."),
        virtual_clusters=(GETS,),
    ),
    _case("a preflight exposes too", FORWARD, PREFLIGHT, (POLICY,), headers=_told("1")),
    _case("a redirect is not marked", RedirectAction(host_redirect="b"), PREFLIGHT, (POLICY,)),
    _case("an abort is dressed", FORWARD, PLAIN, (ABORT,), headers=_told("1")),
    _case("slashes alone", FORWARD, Sent("GET", "a", "///?q=//", ())),
)
"""Each table is named as what it is about."""
