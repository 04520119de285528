"""Hypothesis strategies for the verification of tokens."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model.authn import (
    AllowMissing,
    AllowMissingOrFailed,
    ClaimToHeader,
    JwtAuthn,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRule,
    LocalJwks,
    RemoteJwks,
    RequireAll,
    RequireAny,
    RequireProvider,
)

from .basics import HEADER_NAME, NAME, POSITIVE, TEXT, optional, some
from .matchers import route_matches


@st.composite
def jwt_authns(draw: st.DrawFn) -> JwtAuthn:
    """Requirements name only providers that there are."""
    names = draw(st.lists(NAME, max_size=2, unique=True).map(sorted))
    made = tuple(draw(_provider(name)) for name in names)
    rule = st.builds(JwtRule, route_matches(), optional(_requirements(names)))
    return JwtAuthn(
        providers=made,
        rules=draw(some(rule)),
        bypass_cors_preflight=draw(st.booleans()),
        strip_failure_response=draw(st.booleans()),
    )


def _provider(name: str) -> SearchStrategy[JwtProvider]:
    keys = st.builds(LocalJwks, NAME) | st.builds(
        RemoteJwks, uri=NAME, cluster=TEXT, timeout=POSITIVE, cache_duration=POSITIVE
    )
    return st.builds(
        JwtProvider,
        name=st.just(name),
        issuer=TEXT,
        jwks=keys,
        audiences=some(TEXT),
        forward=st.booleans(),
        from_headers=some(st.builds(JwtHeader, name=HEADER_NAME, value_prefix=TEXT)),
        from_params=some(TEXT),
        from_cookies=some(TEXT),
        forward_payload_header=st.just("") | HEADER_NAME,
        payload_in_metadata=TEXT,
        claim_to_headers=some(st.builds(ClaimToHeader, header_name=HEADER_NAME, claim_name=NAME)),
        clock_skew_seconds=st.integers(1, 100),
        normalize_space_delimited_claims=some(TEXT),
        clear_route_cache=st.booleans(),
    )


def _requirements(names: list[str]) -> SearchStrategy[JwtRequirement]:
    simple: SearchStrategy[JwtRequirement] = st.sampled_from(
        [AllowMissing(), AllowMissingOrFailed()]
    )
    if names:
        simple |= st.builds(RequireProvider, st.sampled_from(names), some(TEXT))
    several = st.lists(simple, min_size=2, max_size=3).map(tuple)
    return simple | st.builds(RequireAny, several) | st.builds(RequireAll, several)
