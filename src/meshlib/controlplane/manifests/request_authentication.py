"""``security.istio.io`` RequestAuthentication: whose tokens are believed."""

import re
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from .piece import Duration, Flaw, Piece, Text
from .selection import Targeting, no_empty

_HEADER = re.compile(r"[-_A-Za-z0-9]+")
FEW = msgspec.Meta(max_length=255)


class JWTHeader(Piece, frozen=True):
    name: Text
    prefix: str = ""


class ClaimToHeader(Piece, frozen=True):
    header: Text
    claim: Text

    def rules(self) -> Iterator[Flaw]:
        if not _HEADER.fullmatch(self.header):
            yield Flaw(("header",), f"{self.header!r} is not the name of a header")


class JWTRule(Piece, frozen=True):
    """Without keys of its own, they are found by the issuer's OpenID configuration."""

    issuer: Text
    audiences: tuple[str, ...] = ()
    jwks_uri: str = ""
    jwks: str = ""
    from_headers: tuple[JWTHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str = ""
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    forward_original_token: bool = False
    timeout: Duration | None = None
    space_delimited_claims: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()

    def rules(self) -> Iterator[Flaw]:
        yield from no_empty(self.audiences, "audiences")
        yield from no_empty(self.from_params, "fromParams")
        yield from no_empty(self.from_cookies, "fromCookies")
        yield from no_empty(self.space_delimited_claims, "spaceDelimitedClaims")
        if self.jwks_uri and self.jwks:
            yield Flaw(("jwksUri",), "jwks and jwksUri exclude each other")
        if self.jwks_uri:
            yield from _uri_rules(self.jwks_uri)
        header = self.output_payload_to_header
        if header and not _HEADER.fullmatch(header):
            yield Flaw(("outputPayloadToHeader",), f"{header!r} is not the name of a header")


def _uri_rules(text: str) -> Iterator[Flaw]:
    try:
        uri = urlsplit(text)
        is_whole = uri.scheme in ("http", "https") and bool(uri.hostname)
    except ValueError:
        is_whole = False
    if not is_whole:
        yield Flaw(("jwksUri",), f"{text!r} is not an address with http or https")


class RequestAuthentication(Targeting, frozen=True):
    jwt_rules: tuple[JWTRule, ...] = ()
