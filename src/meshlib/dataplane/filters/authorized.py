"""What an authorization service's answer does: to the request, to the response, to the caller."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from urllib.parse import parse_qsl, quote

from ...model import HeaderValueOption, StringMatcher
from ...model.authn import HttpAuthorization
from ..message import Headers
from ..routing.formatting import Facts
from ..routing.header_levels import Change, Level
from ..routing.matchers import Regex, TextTest, text_test
from ..steps import AuthorizationVerdict

TO_REMOVE = "x-envoy-auth-headers-to-remove"
LEAST_ERROR = 500
SUCCESS = 200
APPEND_IF_EXISTS = "append_if_exists"
"""What an authorization service says by ``append``; nobody else in Envoy does."""
SET = "overwrite_if_exists_or_add"
UNTOUCHED = ("host", "te", ":method", ":path", ":authority", ":scheme", ":protocol")
OF_CONNECTION = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""They describe the service's own answer on its way to us."""
WITH_REFUSALS = frozenset(
    {"location", "www-authenticate", "proxy-authenticate", "content-type", "set-cookie"}
)
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
OBSCENE = "an answer with a header that cannot be sent"


def mutation(
    add: Iterable[HeaderValueOption], remove: Iterable[str] = ()
) -> Callable[[Headers], Headers]:
    """Values stand for themselves: nothing is filled in."""
    wanted = [one for one in add if one.name not in UNTOUCHED]
    more = [one for one in wanted if one.append_action == APPEND_IF_EXISTS]
    changes = tuple(
        Change(one.name, one.value, one.append_action, keep_empty_value=True)
        for one in wanted
        if one.append_action != APPEND_IF_EXISTS
    )
    gone = frozenset(name for name in remove if name not in UNTOUCHED)
    level = Level(gone, changes, is_filled=False)
    return lambda headers: _appended(level(headers, _unfilled), more)


def _appended(headers: Headers, more: Iterable[HeaderValueOption]) -> Headers:
    """To the first of the name, where there is one."""
    found = list(headers)
    for one in more:
        place = next((at for at, pair in enumerate(found) if pair[0] == one.name), None)
        if place is not None:
            found[place] = one.name, f"{found[place][1]},{one.value}"
    return tuple(found)


def _unfilled(headers: Headers) -> Facts:
    raise AssertionError(f"there is nothing to fill in: {headers}")


def checked(verdict: AuthorizationVerdict) -> AuthorizationVerdict:
    """An answer that cannot be obeyed to the letter is none."""
    for one in (*verdict.request_headers, *verdict.response_headers):
        if not _is_sendable(one.name, one.value):
            return AuthorizationVerdict(None, detail=f"{OBSCENE}: {one.name!r}")
    return verdict


def _is_sendable(name: str, value: str) -> bool:
    if not name.removeprefix(":") or not TOKEN.issuperset(name.removeprefix(":")):
        return False
    return all(c == "\t" or (c >= " " and c != "\x7f") for c in value)


def headers_told(verdict: AuthorizationVerdict, *, is_grpc: bool) -> Headers:
    """The headers of a refusal; of gRPC they are trailers, where bytes and HTTP's own are not."""
    made = mutation(verdict.response_headers)(())
    if not is_grpc:
        return tuple(pair for pair in made if pair[0] not in OF_CONNECTION)
    return tuple(pair for pair in made if _is_metadata(pair[0]))


def _is_metadata(name: str) -> bool:
    if name in OF_CONNECTION or name == "content-type" or name.endswith("-bin"):
        return False
    return not name.startswith(("grpc-", ":"))


def with_parameters(path: str, verdict: AuthorizationVerdict) -> str:
    """The path with its query as the service wants it."""
    to_set, to_remove = verdict.query_parameters_to_set, verdict.query_parameters_to_remove
    if not to_set and not to_remove:
        return path
    plain, _, query = path.partition("?")
    gone = {*to_remove, *(name for name, _ in to_set)}
    kept = [pair for pair in query.split("&") if pair and _name(pair) not in gone]
    made = [f"{quote(name)}={quote(value)}" for name, value in to_set]
    asked = "&".join((*kept, *made))
    return f"{plain}?{asked}" if asked else plain


def _name(pair: str) -> str:
    found = parse_qsl(pair, keep_blank_values=True)
    return found[0][0] if found else ""


class Answers:
    """An HTTP answer, read as a verdict: which of its headers go where, the configuration says."""

    __slots__ = ("_on_success", "_refused", "_upstream")

    def __init__(self, service: HttpAuthorization, regex: Regex) -> None:
        self._upstream = _tests(service.allowed_upstream_headers, regex)
        self._refused = _tests(service.allowed_client_headers, regex)
        self._on_success = _tests(service.allowed_client_headers_on_success, regex)

    def __call__(self, verdict: AuthorizationVerdict) -> AuthorizationVerdict:
        answered = [one for one in verdict.response_headers if one.name not in OF_CONNECTION]
        if verdict.ok is None:
            return verdict
        if verdict.status >= LEAST_ERROR:
            return AuthorizationVerdict(None, detail=f"the service answered {verdict.status}")
        if verdict.status != SUCCESS:
            told = [one for one in answered if self._is_told(one.name)]
            return AuthorizationVerdict(
                False, verdict.status, response_headers=tuple(told), body=verdict.body
            )
        removed = ",".join(one.value for one in answered if one.name == TO_REMOVE)
        return AuthorizationVerdict(
            True,
            request_headers=tuple(
                replace(one, append_action=SET)
                for one in answered
                if one_of(self._upstream, one.name)
            ),
            headers_to_remove=tuple(name.strip().lower() for name in removed.split(",") if name),
            response_headers=tuple(one for one in answered if one_of(self._on_success, one.name)),
        )

    def _is_told(self, name: str) -> bool:
        return not self._refused or name in WITH_REFUSALS or one_of(self._refused, name)


def _tests(matchers: Iterable[StringMatcher], regex: Regex) -> tuple[TextTest, ...]:
    return tuple(text_test(one, regex) for one in matchers)


def one_of(tests: Iterable[TextTest], name: str) -> bool:
    return any(test(name) for test in tests)
