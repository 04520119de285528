"""Why the mesh answers by itself, in the words that Envoy has for it."""

import pytest

from meshlib.dataplane import (
    CallEnded,
    Connection,
    Deliver,
    Engine,
    Event,
    Peer,
    Request,
    Serve,
)
from meshlib.model import (
    ALWAYS,
    ROUTER,
    Cors,
    DirectResponseAction,
    Exact,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalRateLimit,
    NonForwardingAction,
    PathWithEscapedSlashesAction,
    Route,
    RouteConfiguration,
    TokenBucket,
    VirtualHost,
    gather,
)
from meshlib.model.rbac import Rbac, RbacRules
from meshlib.telemetry.details import details_of
from meshlib.testing import FakeClock, always

SERVED = Route(action=NonForwardingAction())
ANSWERED = Route(action=DirectResponseAction(status=403))
NOTHING = TokenBucket(max_tokens=1, fill_interval=3600.0)
LIMIT = LocalRateLimit(token_bucket=NOTHING, filter_enabled=ALWAYS, filter_enforced=ALWAYS)
NOBODY = Rbac(rules=RbacRules())
UNTRUSTED = Connection(peer=Peer(), refusal="nobody knows you")
PREFLIGHT = (("origin", "http://a"), ("access-control-request-method", "GET"))
REDIRECTING = PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT
REJECTING = PathWithEscapedSlashesAction.REJECT_REQUEST


def told(request: Request, *filters: object, route: Route = SERVED, **http) -> str:
    events: list[Event] = []
    engine = Engine(clock=FakeClock(), dice=always(0.0), observe=events.append)
    chain = tuple(HttpFilter(name=str(n), config=one) for n, one in enumerate(filters))
    table = RouteConfiguration(
        name="inbound", virtual_hosts=(VirtualHost(name="here", domains=("*",), routes=(route,)),)
    )
    manager = HttpConnectionManager(routes=table, http_filters=(*chain, ROUTER), **http)
    engine.apply(gather(listeners=[Listener(name="inbound", http=manager)]))
    for _ in range(2 if LIMIT in filters else 1):
        steps = engine.inbound(request)
        effect = next(steps)
        assert isinstance(effect, Deliver | Serve)
        steps.close()
    ended = [event for event in events if isinstance(event, CallEnded)]
    return ended[-1].record.details or details_of(ended[-1])


def asking(path: str = "/", method: str = "GET", **more) -> Request:
    return Request("", method, path, "reviews", **more)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (told(asking(), route=ANSWERED), "direct_response"),
        (told(asking(), LIMIT), "local_rate_limited"),
        (
            told(asking(), NOBODY),
            "rbac_access_denied_matched_policy[none]",
        ),
        (
            told(
                asking(method="OPTIONS", headers=PREFLIGHT),
                Cors(allow_origins=(Exact("http://a"),), filter_enabled=ALWAYS),
            ),
            "cors_response",
        ),
        (told(asking(connection=UNTRUSTED)), "downstream_peer_not_trusted"),
        (told(asking("/%zz"), NOBODY), "path_normalization_failed"),
        (told(asking(method="G=T"), NOBODY), "http1.invalid_method"),
        (
            told(asking("/a%2fb"), path_with_escaped_slashes_action=REDIRECTING),
            "escaped_slashes_url_redirected",
        ),
        (
            told(asking("/a%2fb"), path_with_escaped_slashes_action=REJECTING),
            "path_normalization_failed",
        ),
        (told(asking()), "downstream_remote_disconnect"),
    ],
)
def test_envoys_word_stands_for_an_answer_of_the_mesh(said: str, words: str) -> None:
    assert said == words
