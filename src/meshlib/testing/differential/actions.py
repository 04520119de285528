"""What routes do with requests, at random."""

from ...model import (
    Action,
    ClusterHeader,
    ClusterWeight,
    DirectResponseAction,
    HeaderMutations,
    HeaderValueOption,
    RedirectAction,
    RegexRewrite,
    RouteAction,
    WeightedClusters,
)
from .filters import overrides
from .luck import Luck

CLUSTERS = ("c0", "c1", "c2", "c3")
ACTIONS = (
    "append_if_exists_or_add",
    "add_if_absent",
    "overwrite_if_exists_or_add",
    "overwrite_if_exists",
)
NAMES = ("x-a", "x-b", "x-new", "X-New", "x-other", "user-agent", "x-up")
FORMATS = (
    "plain",
    "other",
    "",
    "100%%",
    "%REQ(x-a)%",
    "[%REQ(x-none?x-b)%]",
    "%REQ(:path):4%",
    "%REQ(:authority)% %REQ(:method)%",
    "%REQ(x-new)%+",
    "%REQ(X-Envoy-Original-Path?:path)%",
    "%PROTOCOL%",
    "%ROUTE_NAME%",
    "%UPSTREAM_CLUSTER%",
    "%VIRTUAL_CLUSTER_NAME%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "%DYNAMIC_METADATA(some:key)%",
    "%METADATA(ROUTE:some:text)%",
    "<%METADATA(ROUTE:some:number)%>",
    "%METADATA(ROUTE:some)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%START_TIME(%Y)%",
    "%HOSTNAME%",
    "%ENVIRONMENT(MESHLIB_DIFFERENTIAL)%",
    "%ENVIRONMENT(MESHLIB_NOT_THERE)%",
)
RESPONSE_FORMATS = (*FORMATS, "%RESP(x-up)%", "%RESP(x-none?x-twice)%", "%UPSTREAM_HOST%")
REWRITES = (
    RegexRewrite(pattern="^/(v[0-9])/", substitution=r"/\1/x/"),
    RegexRewrite(pattern="a|b", substitution="_"),
    RegexRewrite(pattern="(a)(z)?", substitution=r"\2\1\\\0"),
    RegexRewrite(pattern="[a-z]*", substitution="-"),
    RegexRewrite(pattern="^/.*$", substitution="/all"),
)
HOST_REWRITES = (
    RegexRewrite(pattern="^/([a-z]+)/.*", substitution=r"\1.example"),
    RegexRewrite(pattern="^/?(.*)$", substitution=r"h\1"),
)
PREFIXES = ("/", "/new", "/new/", "/a")
HOSTS = ("new.example", "new.example:81", "NEW")
FULL_PATHS = ("/there", "/there?own=1", "there")


def action(luck: Luck) -> Action:
    kind = luck.number(0, 9)
    if kind == 0:
        return redirect(luck)
    if kind == 1:
        return direct_response(luck)
    return forward(luck)


def forward(luck: Luck) -> RouteAction:
    path, host = luck.number(0, 5), luck.number(0, 7)
    return RouteAction(
        cluster=clusters(luck),
        prefix_rewrite=luck.one(PREFIXES) if path == 0 else "",
        regex_rewrite=luck.one(REWRITES) if path == 1 else None,
        host_rewrite_literal=luck.one(HOSTS) if host == 0 else "",
        host_rewrite_header=luck.one(("x-a", "x-none", "X-Host")) if host == 1 else "",
        host_rewrite_path_regex=luck.one(HOST_REWRITES) if host == 2 else None,
        append_x_forwarded_host=luck.chance(0.4) if host <= 2 else False,
        cluster_not_found_response_code=luck.one((503, 404, 500)),
    )


def clusters(luck: Luck) -> str | WeightedClusters | ClusterHeader:
    kind = luck.number(0, 5)
    if kind == 0:
        return ClusterHeader(luck.one(("x-cluster", "X-Cluster")))
    if kind > 2:
        return luck.one(CLUSTERS)
    choices = tuple(
        ClusterWeight(
            name=name,
            weight=luck.one((1, 1, 3, 0, 50)),
            headers=mutations(luck),
            host_rewrite_literal=luck.maybe(lambda: luck.one(HOSTS), 0.2, ""),
            overrides=overrides(luck),
        )
        for name in CLUSTERS[: luck.number(2, 4)]
    )
    first = ClusterWeight(name="c3", weight=2)
    return WeightedClusters(clusters=(first, *choices), header_name="x-number")


def redirect(luck: Luck) -> RedirectAction:
    host, path = luck.one(("", "", *HOSTS)), luck.number(0, 4)
    scheme = luck.number(0, 3)
    return RedirectAction(
        host_redirect=host,
        path_redirect=luck.one(FULL_PATHS) if path == 0 else "",
        prefix_rewrite=luck.one(PREFIXES) if path == 1 else "",
        regex_rewrite=luck.one(REWRITES) if path == 2 else None,
        scheme_redirect=luck.one(("https", "http", "ftp")) if scheme == 0 else "",
        https_redirect=scheme == 1,
        port_redirect=luck.one((0, 81, 443)) if ":" not in host else 0,
        response_code=luck.one((301, 302, 303, 307, 308)),
        strip_query=luck.chance(0.3),
    )


def direct_response(luck: Luck) -> DirectResponseAction:
    status = luck.one((200, 201, 302, 403, 418, 500))
    return DirectResponseAction(status=status, body=luck.one((b"", b"said", b"%PROTOCOL%")))


def mutations(luck: Luck) -> HeaderMutations:
    if luck.chance(0.5):
        return HeaderMutations()
    return HeaderMutations(
        request_headers_to_add=luck.some(lambda: option(luck, FORMATS), 3),
        request_headers_to_remove=luck.some(lambda: luck.one(NAMES), 1),
        response_headers_to_add=luck.some(lambda: option(luck, RESPONSE_FORMATS), 2),
        response_headers_to_remove=luck.some(lambda: luck.one(NAMES), 1),
    )


def option(luck: Luck, formats: tuple[str, ...]) -> HeaderValueOption:
    return HeaderValueOption(
        name=luck.one(NAMES),
        value=luck.one(formats),
        append_action=luck.one(ACTIONS),
        keep_empty_value=luck.chance(0.2),
    )
