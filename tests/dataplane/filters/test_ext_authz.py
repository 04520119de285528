"""A service decides whether requests go on; whatever goes wrong with that, they do not."""

from collections.abc import Callable, Generator
from typing import Any

import pytest

from meshlib.dataplane import (
    AskAuthorization,
    AuthorizationVerdict,
    BodyRead,
    Cause,
    Deliver,
    Engine,
    Failure,
    Options,
    Outcome,
    ReadBody,
    Request,
    Response,
    Serve,
)
from meshlib.dataplane.filters.ext_authz import FILTER
from meshlib.dataplane.message import Connection, Peer
from meshlib.model import (
    ROUTER,
    Cluster,
    Exact,
    FilterOverride,
    HeaderValueOption,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    MetadataMatcher,
    NonForwardingAction,
    Prefix,
    Route,
    RouteConfiguration,
    Static,
    Struct,
    VirtualHost,
    gather,
)
from meshlib.model.authn import ExtAuthz, GrpcAuthorization, HttpAuthorization, RequestBody
from meshlib.testing import FakeClock, always, assignment, get, rpc

GRPC = GrpcAuthorization(cluster="authz", authority="authz.example")
HTTP = HttpAuthorization(cluster="authz", uri="http://authz", path_prefix="/check")
YES, NO = AuthorizationVerdict(ok=True), AuthorizationVerdict(ok=False)
NOBODY = AuthorizationVerdict(None, detail="down")
OURS = MetadataMatcher(filter="rbac", path=("policy",), match=Prefix("ask"))


class Server:
    """A member whose calls are asked about; ``asked`` is what the service was asked."""

    def __init__(self, config: ExtAuthz, *, servers: tuple[str, ...], overrides: Any = ()) -> None:
        host = VirtualHost(
            name="here", domains=("*",), routes=(Route(name="all", action=NonForwardingAction()),)
        )
        http = HttpConnectionManager(
            routes=RouteConfiguration(name="inbound", virtual_hosts=(host,), overrides=overrides),
            http_filters=(HttpFilter(name=FILTER, config=config), ROUTER),
        )
        self.events: list[Any] = []
        self.engine = Engine(
            clock=FakeClock(),
            dice=always(0),
            options=Options(complete=True),
            observe=self.events.append,
        )
        authz = Cluster(name="authz", discovery=Static(assignment(servers, name="authz")))
        self.engine.apply(gather(listeners=[Listener(name="inbound", http=http)], clusters=[authz]))
        self.asked: list[AskAuthorization] = []
        self.read: list[int] = []
        self.body: BodyRead | None = None
        self.told: tuple[tuple[str, str], ...] = ()

    def __call__(
        self, request: Request, verdict: AuthorizationVerdict = YES
    ) -> tuple[Any, Request | None]:
        """What the caller gets, and what the handler saw."""
        steps: Generator[Any, Any, Outcome] = self.engine.inbound(request, ())
        seen, effect = None, next(steps)
        while not isinstance(effect, Deliver):
            answer: object
            match effect:
                case ReadBody(limit):
                    self.read.append(limit)
                    answer = self.body
                case AskAuthorization():
                    self.asked.append(effect)
                    answer = verdict
                case Serve():
                    seen, answer = effect.request, Response(200, (("x-from", "handler"),))
                case _:
                    raise AssertionError(effect)
            effect = steps.send(answer)
        respond = effect.record.respond
        headers = effect.outcome.headers if isinstance(effect.outcome, Response) else ()
        self.told = headers if respond is None else respond(headers)
        with pytest.raises(StopIteration):
            steps.send(None)
        return effect.outcome, seen

    @property
    def record(self) -> Any:
        return self.events[-1].record


@pytest.fixture
def server() -> Callable[..., Server]:
    def make(
        service: Any = GRPC,
        *,
        servers: tuple[str, ...] = ("10.0.0.1:9191",),
        overrides: Any = (),
        **fields: Any,
    ) -> Server:
        config = ExtAuthz(service=service, **fields)
        return Server(config, servers=servers, overrides=overrides)

    return make


def option(name: str, value: str, action: str = "overwrite_if_exists_or_add") -> HeaderValueOption:
    return HeaderValueOption(name=name, value=value, append_action=action)


def test_a_request_that_the_service_lets_pass_reaches_the_handler(server: Any) -> None:
    member = server()
    outcome, seen = member(get("reviews:9080", "/p?q=1", headers=(("accept", "x"),)))
    assert outcome.status == 200
    assert seen.headers == (("accept", "x"),)
    (asked,) = member.asked
    assert (asked.endpoint.key, asked.service, asked.timeout) == ("10.0.0.1:9191", GRPC, 0.2)
    assert asked.headers == (
        (":method", "GET"),
        (":path", "/p?q=1"),
        (":scheme", "http"),
        (":authority", "reviews:9080"),
        ("accept", "x"),
    )
    assert asked.endpoint.active == 0


def test_a_refusal_is_answered_in_the_words_of_the_service(server: Any) -> None:
    member = server()
    told = (option("x-why", "quota"), option("content-length", "9"))
    verdict = AuthorizationVerdict(False, 402, response_headers=told, body=b"pay first")
    outcome, seen = member(get("reviews:9080"), verdict)
    assert seen is None
    assert (outcome.status, outcome.body) == (402, b"pay first")
    assert outcome.headers == (
        ("content-length", "9"),
        ("content-type", "text/plain"),
        ("x-why", "quota"),
    )
    assert member.record.flags == ("UAEX",)
    assert member.record.details == "ext_authz_denied"


def test_a_refusal_without_words_is_a_403(server: Any) -> None:
    outcome, seen = server()(get("reviews:9080"), NO)
    assert (outcome.status, outcome.body, seen) == (403, b"", None)


def test_a_refused_rpc_ends_with_the_status_that_http_means(server: Any) -> None:
    told = (option("x-why", "quota"), option("content-type", "text/html"), option("a-bin", "x"))
    verdict = AuthorizationVerdict(False, 401, response_headers=told, body=b"who are you")
    outcome, seen = server()(rpc("reviews:9080", "/a.B/C"), verdict)
    assert seen is None
    assert (outcome.cause, outcome.grpc_status) == (Cause.UNAUTHORIZED, 16)
    assert (outcome.detail, outcome.trailers) == ("who are you", (("x-why", "quota"),))


# --- whatever goes wrong ---


def test_without_an_answer_nobody_is_let_in(server: Any) -> None:
    member = server()
    outcome, seen = member(get("reviews:9080"), NOBODY)
    assert (outcome.status, outcome.body, seen) == (403, b"", None)
    assert member.record.details == "ext_authz_error: down"


def test_an_rpc_without_an_answer_is_denied(server: Any) -> None:
    outcome, _ = server(status_on_error=503)(rpc("reviews:9080", "/a.B/C"), NOBODY)
    assert (outcome.grpc_status, outcome.detail) == (14, "")


def test_the_status_of_a_failure_is_the_configurations(server: Any) -> None:
    outcome, _ = server(status_on_error=503)(get("reviews:9080"), NOBODY)
    assert outcome.status == 503


def test_a_failure_opens_only_where_that_is_asked_for(server: Any) -> None:
    outcome, seen = server(failure_mode_allow=True)(get("reviews:9080"), NOBODY)
    assert outcome.status == 200
    assert seen is not None


@pytest.mark.parametrize("service", [GRPC, GrpcAuthorization(cluster="unknown"), None])
def test_nobody_to_ask_lets_nobody_in(server: Any, service: Any) -> None:
    member = server(service, servers=())
    outcome, seen = member(get("reviews:9080"))
    assert (outcome.status, seen, member.asked) == (403, None, [])


def test_the_service_has_no_more_time_than_the_caller(server: Any) -> None:
    member = server(timeout=5.0)
    request = get("reviews:9080")
    request.deadline = 1.5
    member(request)
    assert member.asked[0].timeout == 1.5


@pytest.mark.parametrize(
    ("name", "value"), [("x y", "1"), ("", "1"), ("x", "1\r\nx-admin: yes"), (":", "x")]
)
def test_an_answer_that_cannot_be_obeyed_is_none(server: Any, name: str, value: str) -> None:
    verdict = AuthorizationVerdict(True, request_headers=(option(name, value),))
    outcome, seen = server()(get("reviews:9080"), verdict)
    assert (outcome.status, seen) == (403, None)


# --- what goes on ---


def test_headers_of_the_service_take_the_place_of_the_callers(server: Any) -> None:
    member = server()
    verdict = AuthorizationVerdict(
        True,
        request_headers=(
            option("x-user", "jason"),
            option("x-also", "2", "append_if_exists_or_add"),
            option(":method", "DELETE"),
            option("host", "evil"),
        ),
        headers_to_remove=("x-secret", "host"),
        response_headers=(option("x-from", "authz"),),
        dynamic_metadata=Struct((("tier", "gold"),)),
    )
    sent = (("host", "a"), ("x-user", "admin"), ("x-also", "1"), ("x-secret", "s"))
    _, seen = member(get("reviews:9080", headers=sent), verdict)
    assert seen.headers == (
        ("host", "a"),
        ("x-also", "1"),
        ("x-user", "jason"),
        ("x-also", "2"),
    )
    assert seen.method == "GET"
    assert seen.dynamic_metadata.get(FILTER, "tier") == "gold"
    assert member.told == (("x-from", "authz"),)


def test_a_value_is_appended_where_there_is_one(server: Any) -> None:
    more = (option("x-a", "2", "append_if_exists"), option("x-b", "2", "append_if_exists"))
    verdict = AuthorizationVerdict(True, request_headers=more)
    _, seen = server()(get("reviews:9080", headers=(("x-a", "1"), ("x-a", "0"))), verdict)
    assert seen.headers == (("x-a", "1,2"), ("x-a", "0"))


@pytest.mark.parametrize(
    ("path", "to_set", "to_remove", "wanted"),
    [
        ("/p", (("a", "b c"),), (), "/p?a=b%20c"),
        ("/p?a=1&b=2&a=3", (("a", "4"),), (), "/p?b=2&a=4"),
        ("/p?a=1&b", (), ("a",), "/p?b"),
        ("/p?a=1", (), ("a",), "/p"),
        ("/p?%61=1", (), ("a",), "/p"),
    ],
)
def test_parameters_are_set_and_removed(
    server: Any, path: str, to_set: Any, to_remove: Any, wanted: str
) -> None:
    verdict = AuthorizationVerdict(
        True, query_parameters_to_set=to_set, query_parameters_to_remove=to_remove
    )
    _, seen = server()(get("reviews:9080", path), verdict)
    assert seen.path == wanted


# --- what the service is shown ---


def test_only_what_is_allowed_and_not_hidden_is_shown(server: Any) -> None:
    member = server(
        allowed_headers=(Prefix("X-", ignore_case=True), Exact(":path")),
        disallowed_headers=(Exact("x-secret"),),
    )
    member(get("reviews:9080", headers=(("x-a", "1"), ("x-secret", "2"), ("cookie", "3"))))
    assert member.asked[0].headers == ((":path", "/"), ("x-a", "1"))


def test_an_http_service_is_shown_a_few_headers_in_any_case(server: Any) -> None:
    member = server(HTTP)
    member(
        get("reviews:9080", headers=(("authorization", "Bearer x"), ("cookie", "3"))),
        AuthorizationVerdict(True, 200),
    )
    names = [name for name, _ in member.asked[0].headers]
    assert names == [":method", ":path", ":authority", "authorization"]


def test_of_a_grpc_call_whose_host_is_unknown_none_is_shown(server: Any) -> None:
    member = server()
    request = rpc("", "/a.B/C")
    member(request)
    assert ":authority" not in dict(member.asked[0].headers)


def test_the_caller_and_the_configurations_own_words_are_told(server: Any) -> None:
    said = ExtAuthz(context_extensions=(("place", "table"), ("a", "inner")))
    override = FilterOverride(name=FILTER, config=said)
    member = server(
        context_extensions=(("a", "outer"), ("b", "kept")),
        overrides=(override,),
        include_peer_certificate=True,
    )
    request = get("reviews:9080")
    request.connection = Connection(peer=Peer(secure=True, spiffe_id="spiffe://a/b"))
    member(request)
    (asked,) = member.asked
    assert asked.request.connection.peer.spiffe_id == "spiffe://a/b"
    assert asked.include_peer_certificate
    assert asked.extensions == (("a", "inner"), ("b", "kept"), ("place", "table"))


# --- whom it is asked about ---


def test_only_requests_that_a_policy_matched_are_asked_about(server: Any) -> None:
    member = server(filter_enabled_metadata=OURS)
    outcome, _ = member(get("reviews:9080"), NO)
    assert (outcome.status, member.asked) == (200, [])
    matched = get("reviews:9080").noted("rbac", Struct((("policy", "ask-me"),)))
    assert member(matched, NO)[0].status == 403


def test_a_place_may_do_without(server: Any) -> None:
    override = FilterOverride(name=FILTER, config=ExtAuthz(enabled=False))
    member = server(overrides=(override,))
    assert member(get("reviews:9080"), NO)[0].status == 200


# --- the body ---

BODY = RequestBody(max_request_bytes=8)


def test_the_body_is_shown_where_that_is_asked_for(server: Any) -> None:
    member = server(with_request_body=RequestBody(max_request_bytes=8, pack_as_bytes=True))
    member.body = BodyRead(b"hello", complete=True)
    assert member(get("reviews:9080"))[0].status == 200
    (asked,) = member.asked
    assert (asked.body, asked.pack_as_bytes, member.read) == (member.body, True, [8])
    assert dict(asked.headers)["x-envoy-auth-partial-body"] == "false"


def test_a_body_that_is_too_long_is_refused_unless_a_part_will_do(server: Any) -> None:
    member = server(with_request_body=BODY)
    member.body = BodyRead(b"8 bytes.", complete=False)
    outcome, seen = member(get("reviews:9080"))
    assert (outcome.status, seen, member.asked) == (413, None, [])
    lenient = server(with_request_body=RequestBody(max_request_bytes=8, allow_partial_message=True))
    lenient.body = member.body
    spoof = (("x-envoy-auth-partial-body", "false"),)
    assert lenient(get("reviews:9080", headers=spoof))[0].status == 200
    shown = [v for k, v in lenient.asked[0].headers if k == "x-envoy-auth-partial-body"]
    assert shown == ["true"]


def test_a_body_that_cannot_be_had_lets_nobody_in(server: Any) -> None:
    member = server(with_request_body=BODY)
    outcome, seen = member(get("reviews:9080"))
    assert (outcome.status, seen, member.asked) == (403, None, [])
    assert "cannot be had" in member.record.details


def test_the_message_of_a_call_is_shown_as_it_stands_on_the_wire(server: Any) -> None:
    member = server(with_request_body=BODY)
    request = rpc("reviews:9080", "/a.B/C")
    request.body = b"abc"
    outcome, _ = member(request)
    assert not isinstance(outcome, Failure)
    assert member.asked[0].body == BodyRead(b"\0\0\0\0\3abc", complete=True)
    assert member.read == []


# --- a service that answers in HTTP ---


def http_answer(status: int, *headers: tuple[str, str], body: bytes = b"") -> AuthorizationVerdict:
    return AuthorizationVerdict(
        status == 200,
        status,
        response_headers=tuple(HeaderValueOption(name=n, value=v) for n, v in headers),
        body=body,
    )


def test_headers_of_an_http_answer_go_where_the_configuration_says(server: Any) -> None:
    service = HttpAuthorization(
        cluster="authz",
        uri="http://authz",
        allowed_upstream_headers=(Prefix("x-up"),),
        allowed_client_headers_on_success=(Exact("set-cookie"),),
    )
    member = server(service)
    answer = http_answer(
        200,
        ("x-up-1", "a"),
        ("set-cookie", "c"),
        ("x-other", "o"),
        ("x-envoy-auth-headers-to-remove", "X-Secret, x-b"),
    )
    _, seen = member(
        get("reviews:9080", headers=(("x-secret", "s"), ("x-b", "b"), ("x-up-1", "mine"))), answer
    )
    assert seen.headers == (("x-up-1", "a"),)
    assert ("set-cookie", "c") in member.told
    assert "x-other" not in dict(member.told)


@pytest.mark.parametrize(("allowed", "kept"), [((), True), ((Exact("x-why"),), False)])
def test_a_refusal_over_http_tells_the_caller_what_is_allowed(
    server: Any, allowed: Any, kept: bool
) -> None:
    service = HttpAuthorization(cluster="authz", uri="http://authz", allowed_client_headers=allowed)
    answer = http_answer(
        302, ("location", "/login"), ("x-why", "w"), ("x-other", "o"), ("connection", "close")
    )
    outcome, _ = server(service)(get("reviews:9080"), answer)
    told = dict(outcome.headers)
    assert (outcome.status, told["location"], told["x-why"]) == (302, "/login", "w")
    assert ("x-other" in told) is kept
    assert "connection" not in told


def test_a_service_that_breaks_gives_no_verdict(server: Any) -> None:
    assert server(HTTP)(get("reviews:9080"), http_answer(503))[0].status == 403
    assert server(HTTP)(get("reviews:9080"), NOBODY)[0].status == 403


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (YES, {"ok": 1}),
        (AuthorizationVerdict(False), {"denied": 1}),
        (AuthorizationVerdict(None), {"error": 1}),
    ],
)
def test_verdicts_are_counted_by_place(server: Any, verdict: Any, said: dict[str, int]) -> None:
    member = server()
    member(get("reviews:9080"), verdict)
    none = dict.fromkeys(("ok", "denied", "error", "disabled", "failure_mode_allowed"), 0)
    assert member.engine.access == {f"inbound/{FILTER}": none | said}
