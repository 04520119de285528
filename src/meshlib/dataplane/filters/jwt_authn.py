"""Callers' tokens: found, verified, taken note of (Envoy's jwt_authn filter).

Stricter than Envoy in one thing: a request brings at most one token, wherever it stands, since of
two nobody can say whose words hold.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from ...model import Struct
from ...model.authn import (
    AllowMissing,
    JwtAuthn,
    JwtProvider,
    JwtRequirement,
    JwtRule,
    RequireAll,
    RequireAny,
    RequireProvider,
)
from ..events import CallRecord
from ..message import Cause, Headers, Outcome, Request
from ..routing.matchers import (
    header_condition,
    path_of,
    path_test,
    query_condition,
)
from ..steps import AwaitTurn, Steps
from .access_counts import JwtCounts
from .chain import FACTORIES, Filter, Service, Site
from .local_reply import local_reply
from .tokens import KeysWanted, Refused, Tokens, Verified

FILTER = "envoy.filters.http.jwt_authn"
AUTHORIZATION = "authorization"
BEARER = "Bearer "
PARAMETER = "access_token"
UNAUTHORIZED, FORBIDDEN = 401, 403

MISSING = Refused("Jwt is missing")
SEVERAL = Refused("there is more than one Jwt")
UNKNOWN_ISSUER = Refused("Jwt issuer is not configured")
NO_KEYS = Refused("Jwks remote fetch is failed")
NO_VERIFIER = Refused("Jwt verification is not possible here")

Found = tuple[JwtProvider, str]
"""A token, and a provider whose tokens may stand where it stood."""
Audiences = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Good:
    """A token that is believed, and for which of the audiences that are asked for."""

    provider: JwtProvider
    text: str
    verified: Verified
    audiences: frozenset[Audiences]


class JwtAuthenticator:
    __slots__ = ("_config", "_counts", "_ours", "_providers", "_rules", "_site")

    def __init__(self, config: JwtAuthn, site: Site) -> None:
        self._config = config
        self._site = site
        self._providers = {provider.name: provider for provider in config.providers}
        self._rules = tuple((_matches(rule, site), rule.requires) for rule in config.rules)
        self._ours = frozenset(name for one in config.providers for name in _made(one))
        self._counts: JwtCounts = site.kept.get((*site.place, JwtCounts), JwtCounts)

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        request = self._without_ours(request)
        required, counts = self._required(request), self._counts
        verdict: Good | Refused | None = None
        if self._config.bypass_cors_preflight and _is_preflight(request):
            counts.cors_preflight_bypassed += 1
        elif required is not None:
            verdict = yield from self._judge(request, required)
        if isinstance(verdict, Refused):
            counts.denied += 1
            return (yield from self._refuse(request, record, verdict))
        counts.allowed += 1
        if verdict is not None:
            request = _noted(request, verdict.provider, verdict.text, verdict.verified)
        return (yield from service(request, record))

    def _required(self, request: Request) -> JwtRequirement | None:
        return next((requires for matches, requires in self._rules if matches(request)), None)

    def _without_ours(self, request: Request) -> Request:
        """What this filter says in headers, nobody else may say."""
        if not self._ours or all(request.header(name) is None for name in self._ours):
            return request
        return _with(request, (pair for pair in request.headers if pair[0] not in self._ours))

    def _judge(self, request: Request, required: JwtRequirement) -> Steps[Good | Refused | None]:
        """The token that the request is let in with, ``None`` where it needs none."""
        accepted = [self._providers[name] for name in dict.fromkeys(n for n, _ in _named(required))]
        found = [pair for provider in accepted for pair in _tokens(provider, request)]
        texts = {text for _, text in found}
        verdict: Good | Refused
        if not texts:
            verdict = MISSING
        elif len(texts) > 1:
            verdict = SEVERAL
        else:
            verdict = yield from self._believed(found, required)
        if isinstance(verdict, Good):
            return verdict if _is_met(required, verdict) else MISSING
        return None if _is_met(required, None, missing=not texts) else verdict

    def _believed(self, found: list[Found], required: JwtRequirement) -> Steps[Good | Refused]:
        """Chosen by its issuer first, and verified by that provider's keys alone."""
        tokens, text = self._site.tokens, found[0][1]
        if tokens is None:
            return NO_VERIFIER
        issuer = tokens.issuer(text)
        if isinstance(issuer, Refused):
            return issuer
        provider = next((one for one, _ in found if one.issuer == issuer), None)
        provider = provider or next((one for one, _ in found if not one.issuer), None)
        if provider is None:
            return UNKNOWN_ISSUER
        verified, refused, met = None, MISSING, set()
        for name, audiences in dict.fromkeys(_named(required)):
            if name != provider.name:
                continue
            asked = replace(provider, audiences=audiences) if audiences else provider
            verdict = yield from self._verified(tokens, asked, text)
            if isinstance(verdict, Refused):
                refused = verdict
            else:
                verified = verdict
                met.add(audiences)
        return refused if verified is None else Good(provider, text, verified, frozenset(met))

    def _verified(
        self, tokens: Tokens, provider: JwtProvider, text: str
    ) -> Steps[Verified | Refused]:
        verdict = tokens.verify(provider, text)
        if not isinstance(verdict, KeysWanted):
            return verdict
        timeout = getattr(provider.jwks, "timeout", 0.0)
        yield AwaitTurn(verdict.turn, timeout)
        verdict = tokens.verify(provider, text)
        return NO_KEYS if isinstance(verdict, KeysWanted) else verdict

    def _refuse(self, request: Request, record: CallRecord, why: Refused) -> Steps[Outcome]:
        status = FORBIDDEN if why.forbidden else UNAUTHORIZED
        words = "" if self._config.strip_failure_response else why.words
        record.details = f"jwt_authn_access_denied{{{why.words.replace(' ', '_')}}}"
        headers: Headers = ()
        if status == UNAUTHORIZED and not self._config.strip_failure_response:
            host = request.header(":authority")
            place = f"{request.scheme}://{host}{path_of(request.path)}"
            error = "" if why is MISSING else ', error="invalid_token"'
            headers = (("www-authenticate", f'Bearer realm="{_quoted(place)}"{error}'),)
        return local_reply(request, record, Cause.UNAUTHORIZED, status, words, headers=headers)


def _matches(rule: JwtRule, site: Site) -> Callable[[Request], bool]:
    test = path_test(rule.match, site.regex)
    conditions = [header_condition(one, site.regex) for one in rule.match.headers]
    conditions += [query_condition(one, site.regex) for one in rule.match.query_parameters]

    def matches(request: Request) -> bool:
        return test(path_of(request.path)) and all(one.test(request) for one in conditions)

    return matches


def _made(provider: JwtProvider) -> Iterator[str]:
    """The headers in which this provider's tokens are told of."""
    if provider.forward_payload_header:
        yield provider.forward_payload_header
    for claim in provider.claim_to_headers:
        yield claim.header_name


def _named(required: JwtRequirement) -> Iterator[tuple[str, Audiences]]:
    """The providers, each with the audiences that it is asked for instead of its own."""
    match required:
        case RequireProvider(name, audiences):
            yield name, audiences
        case RequireAny(requirements) | RequireAll(requirements):
            for each in requirements:
                yield from _named(each)
        case _:
            return


def _is_met(required: JwtRequirement, good: Good | None, *, missing: bool = False) -> bool:
    """By a token that is believed, or by none."""
    match required:
        case RequireProvider(name, audiences):
            return good is not None and name == good.provider.name and audiences in good.audiences
        case RequireAny(requirements):
            return any(_is_met(each, good, missing=missing) for each in requirements)
        case RequireAll(requirements):
            return all(_is_met(each, good, missing=missing) for each in requirements)
        case AllowMissing():
            return missing
        case _:
            return True


# --- where tokens stand ---


def _tokens(provider: JwtProvider, request: Request) -> Iterator[Found]:
    if _says_no_place(provider):
        for value in _values(request, AUTHORIZATION):
            if value.startswith(BEARER):
                yield provider, value.removeprefix(BEARER).strip()
        yield from _parameters(provider, request, (PARAMETER,))
        return
    for header in provider.from_headers:
        for value in _values(request, header.name):
            if value.startswith(header.value_prefix):
                yield provider, value.removeprefix(header.value_prefix).strip()
    yield from _parameters(provider, request, provider.from_params)
    for value in _values(request, "cookie"):
        for _, name, text in _cookies(value):
            if name in provider.from_cookies and text:
                yield provider, text


def _says_no_place(provider: JwtProvider) -> bool:
    return not (provider.from_headers or provider.from_params or provider.from_cookies)


def _cookies(value: str) -> Iterator[tuple[str, str, str]]:
    """Each as it stands there, its name, and its value without the quotes around it."""
    for cookie in filter(None, map(str.strip, value.split(";"))):
        name, _, text = cookie.partition("=")
        is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
        yield cookie, name, text[1:-1] if is_quoted else text


def _parameters(provider: JwtProvider, request: Request, names: Iterable[str]) -> Iterator[Found]:
    _, mark, query = request.path.partition("?")
    if mark:
        for name, text in parse_qsl(query):
            if name in names:
                yield provider, text


def _values(request: Request, name: str) -> Iterator[str]:
    """One by one: two joined by a comma would read as one token that never was."""
    for key, value in request.headers:
        if key == name:
            yield value


def _is_preflight(request: Request) -> bool:
    asked = request.header("origin") and request.header("access-control-request-method")
    return request.method == "OPTIONS" and bool(asked)


# --- what comes of a good one ---


def _noted(request: Request, provider: JwtProvider, text: str, verified: Verified) -> Request:
    if not provider.forward:
        request = _stripped(request, provider, text)
    more = [*_claims(provider, verified.claims)]
    if provider.forward_payload_header:
        more.append((provider.forward_payload_header, verified.payload))
    if more:
        request = _with(request, (*request.headers, *more))
    if not provider.payload_in_metadata:
        return request
    return request.noted(FILTER, Struct(((provider.payload_in_metadata, verified.claims),)))


def _claims(provider: JwtProvider, claims: Struct) -> Iterator[tuple[str, str]]:
    for one in provider.claim_to_headers:
        value: object = claims
        for name in one.claim_name.split("."):
            value = value.get(name) if isinstance(value, Struct) else None
        if isinstance(value, bool):
            yield one.header_name, "true" if value else "false"
        elif isinstance(value, float):
            yield one.header_name, str(int(value)) if value.is_integer() else str(value)
        elif isinstance(value, str) and value.isprintable():
            yield one.header_name, value


def _stripped(request: Request, provider: JwtProvider, text: str) -> Request:
    """Without the token: who is called has no use for it, and could use it elsewhere."""
    headers = [pair for pair in request.headers if not _carries(pair, provider, text)]
    if provider.from_cookies:
        headers = list(_without_cookie(headers, provider.from_cookies, text))
    path, mark, query = request.path.partition("?")
    names = (PARAMETER,) if _says_no_place(provider) else provider.from_params
    if mark and any(name in names for name, _ in parse_qsl(query)):
        kept = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in names]
        path = f"{path}?{urlencode(kept)}" if kept else path
    else:
        path = request.path
    return request.altered(path=path, authority=request.authority, headers=tuple(headers))


def _carries(pair: tuple[str, str], provider: JwtProvider, text: str) -> bool:
    name, value = pair
    known = {header.name for header in provider.from_headers} or {AUTHORIZATION}
    return name in known and value.endswith(text)


def _without_cookie(
    headers: Iterable[tuple[str, str]], names: tuple[str, ...], text: str
) -> Iterator[tuple[str, str]]:
    for pair in headers:
        cookies = list(_cookies(pair[1])) if pair[0] == "cookie" else []
        kept = [cookie for cookie, name, value in cookies if name not in names or value != text]
        if len(kept) == len(cookies):
            yield pair
        elif kept:
            yield "cookie", "; ".join(kept)


def _with(request: Request, headers: Iterable[tuple[str, str]]) -> Request:
    return request.altered(path=request.path, authority=request.authority, headers=tuple(headers))


def _quoted(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c not in '"\\')


def jwt_authn(config: JwtAuthn, site: Site) -> Filter | None:
    return JwtAuthenticator(config, site) if config.rules else None


FACTORIES[JwtAuthn] = jwt_authn
