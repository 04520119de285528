"""HTTPMatchRequests → RouteMatches; what only the control plane knows is resolved here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ... import model
from ..manifests.claims import claim_path, is_claim
from ..manifests.http_match import HTTPMatchRequest, StringMatch
from ..manifests.virtual_service import MESH, HTTPRoute
from ..scope import Scope
from .claims import claim_matcher

ANY_PATH = model.RouteMatch(path=model.PathPrefix("/"))


@dataclass(frozen=True, slots=True)
class Matched:
    """One route's match, with the names that it gives to the route."""

    match: model.RouteMatch
    name: str
    stat_prefix: str = ""


IN_THE_MESH = frozenset({MESH})


def matches_of(
    route: HTTPRoute, scope: Scope, port: int, through: frozenset[str] = IN_THE_MESH
) -> Iterator[Matched]:
    """Each match that can ever hold for the scope on the port, of calls that come through these."""
    if not route.match:
        yield Matched(ANY_PATH, route.name)
    for match in route.match:
        if applies(match, scope, port, through):
            name = f"{route.name}.{match.name}" if route.name and match.name else route.name
            yield Matched(route_match(match), name or match.name, match.stat_prefix)


def applies(
    match: HTTPMatchRequest, scope: Scope, port: int, through: frozenset[str] = IN_THE_MESH
) -> bool:
    if match.gateways and through.isdisjoint(match.gateways):
        return False
    if match.port not in {None, port}:
        return False
    if match.source_namespace not in {"", scope.namespace}:
        return False
    return scope.carries(match.source_labels)


def route_match(match: HTTPMatchRequest) -> model.RouteMatch:
    return model.RouteMatch(
        path=_path(match.uri) if match.uri else model.PathPrefix("/"),
        case_sensitive=not match.ignore_uri_case,
        headers=tuple(_headers(match)),
        query_parameters=tuple(
            model.QueryParameterMatcher(name=name, match=_text(wanted))
            for name, wanted in sorted(match.query_params.items())
        ),
        dynamic_metadata=(
            *_claims(match.headers),
            *_claims(match.without_headers, invert=True),
        ),
    )


def _claims(
    said: Mapping[str, StringMatch], *, invert: bool = False
) -> Iterator[model.MetadataMatcher]:
    """Of a token that is not there, or not believed, nothing is known."""
    for name, wanted in sorted(said.items()):
        if is_claim(name):
            path = claim_path(name)
            assert path is not None, "checked when it was read"
            yield claim_matcher(path, _text(wanted), invert=invert)


def _named(said: Mapping[str, StringMatch]) -> Iterator[tuple[str, StringMatch]]:
    for name, wanted in sorted(said.items()):
        if not is_claim(name):
            yield name, wanted


def _headers(match: HTTPMatchRequest) -> Iterator[model.HeaderMatcher]:
    for name, wanted in _named(match.headers):
        yield model.HeaderMatcher(name=name.lower(), match=_text(wanted))
    for name, unwanted in _named(match.without_headers):
        yield model.HeaderMatcher(
            name=name.lower(),
            match=_text(unwanted),
            invert_match=True,
            treat_missing_header_as_empty=not unwanted.is_empty,
        )
    for pseudo in ("method", "authority", "scheme"):
        wanted_value: StringMatch | None = getattr(match, pseudo)
        if wanted_value is not None:
            yield model.HeaderMatcher(name=f":{pseudo}", match=_text(wanted_value))


def _path(match: StringMatch) -> model.PathMatcher:
    if match.exact is not None:
        return model.PathExact(match.exact)
    if match.prefix is not None:
        return model.PathPrefix(match.prefix)
    return model.PathRegex(match.regex or "")


def _text(match: StringMatch) -> model.StringMatcher | model.Present:
    return model.Present() if match.is_empty else string_matcher(match)


def string_matcher(match: StringMatch) -> model.StringMatcher:
    if match.exact is not None:
        return model.Exact(match.exact)
    if match.prefix is not None:
        return model.Prefix(match.prefix)
    return model.SafeRegex(match.regex or "")
