"""RequestAuthentications → the filter that verifies the tokens of a workload's callers."""

from collections.abc import Iterable, Iterator, Sequence

from ... import model
from ...model.authn import (
    AllowMissing,
    ClaimToHeader,
    JwtAuthn,
    JwtHeader,
    JwtProvider,
    JwtRule,
    LocalJwks,
    RemoteJwks,
    RequireAny,
    RequireProvider,
)
from ..manifests.manifest import Manifest
from ..manifests.request_authentication import JWTRule, RequestAuthentication
from .claims import JWT, PAYLOAD
from .matches import ANY_PATH

DISCOVERY = "/.well-known/openid-configuration"
SPACE_DELIMITED = ("permission", "scope")
"""Claims that are lists for Istio, whatever the rule says."""
TIMEOUT = 5.0
CACHE_DURATION = 600.0


def token_filters(
    manifests: Sequence[Manifest[RequestAuthentication]],
) -> Iterator[model.HttpFilter]:
    """A call without a token passes; one with a token must have a valid one, of one of these."""
    rules = [rule for manifest in manifests for rule in manifest.spec.jwt_rules]
    if not rules:
        return
    providers = tuple(_provider(f"origins-{index}", rule) for index, rule in enumerate(rules))
    known = tuple(RequireProvider(provider.name) for provider in providers)
    config = JwtAuthn(
        providers=tuple(sorted(providers, key=lambda provider: provider.name)),
        rules=(JwtRule(ANY_PATH, RequireAny((*known, AllowMissing()))),),
        bypass_cors_preflight=True,
    )
    yield model.HttpFilter(name=JWT, config=config)


def _provider(name: str, rule: JWTRule) -> JwtProvider:
    return JwtProvider(
        name=name,
        issuer=rule.issuer,
        jwks=_keys(rule),
        audiences=rule.audiences,
        forward=rule.forward_original_token,
        from_headers=tuple(
            JwtHeader(name=header.name.lower(), value_prefix=header.prefix)
            for header in rule.from_headers
        ),
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        forward_payload_header=rule.output_payload_to_header.lower(),
        payload_in_metadata=PAYLOAD,
        claim_to_headers=tuple(_claims(rule)),
        normalize_space_delimited_claims=(*SPACE_DELIMITED, *rule.space_delimited_claims),
        clear_route_cache=True,
    )


def _claims(rule: JWTRule) -> Iterable[ClaimToHeader]:
    for one in rule.output_claim_to_headers:
        yield ClaimToHeader(header_name=one.header.lower(), claim_name=one.claim)


def _keys(rule: JWTRule) -> LocalJwks | RemoteJwks:
    """Without keys of their own they are where the issuer's OpenID configuration says."""
    if rule.jwks:
        return LocalJwks(rule.jwks)
    uri = rule.jwks_uri or rule.issuer.rstrip("/") + DISCOVERY
    return RemoteJwks(uri=uri, timeout=rule.timeout or TIMEOUT, cache_duration=CACHE_DURATION)
