"""JSON Web Tokens: what a token says of itself, and whether it is to be believed.

The rules are RFC 8725's and those of JWT-SVID: a fixed set of algorithms by the kind of key, no
key that the token brings along, one issuer known beforehand, an expiry, and a bounded size.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..errors import MeshError

MAX_TOKEN = 16 * 1024
MAX_DEPTH = 64
MAX_SKEW = 60
BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
BRINGS_KEYS = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc")
"""Headers by which a token would choose how it is judged."""

SIGNED = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
)
"""Never ``none``, and never a secret that both sides share (algorithm confusion)."""

MALFORMED = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
BAD_HEADER = "Jwt header is not valid"
BAD_PAYLOAD = "Jwt payload is not valid"
BAD_SIGNATURE = "Jwt signature is an invalid Base64url encoded"
BAD_ALGORITHM = "Jwt header [alg] is not supported"
NO_KEY = "Jwks doesn't have key to match kid or alg from Jwt"
NOT_VERIFIED = "Jwt verification fails"
EXPIRED = "Jwt is expired"
NOT_YET = "Jwt not yet valid"
NO_EXPIRY = "Jwt has no expiry"
WRONG_AUDIENCE = "Audiences in Jwt are not allowed"
WRONG_ISSUER = "Jwt issuer is not configured"

Claims = Mapping[str, Any]


class TokenError(MeshError):
    """A token that is not believed; the words are Envoy's and tell nothing of the token."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart; nothing of it is verified."""

    text: str
    algorithm: str
    key_id: str | None
    claims: Claims

    @property
    def issuer(self) -> str:
        issuer = self.claims.get("iss", "")
        return issuer if isinstance(issuer, str) else ""


def parse(text: str) -> Token:
    """Raises :class:`TokenError`."""
    parts = text.split(".")
    if len(text) > MAX_TOKEN or len(parts) != 3 or not all(parts):
        raise TokenError(MALFORMED)
    if BASE64URL.fullmatch(parts[2]) is None:
        raise TokenError(BAD_SIGNATURE)
    header = _object(parts[0], BAD_HEADER)
    claims = _object(parts[1], BAD_PAYLOAD)
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in SIGNED:
        raise TokenError(BAD_ALGORITHM)
    if any(name in header for name in BRINGS_KEYS) or not isinstance(key_id, str | None):
        raise TokenError(BAD_HEADER)
    return Token(text, algorithm, key_id, claims)


def check_claims(
    token: Token, issuer: str, audiences: Sequence[str], now: float, skew: int
) -> None:
    """Everything but the signature; ``issuer`` "" is any. Raises :class:`TokenError`."""
    claims, skew = token.claims, min(skew, MAX_SKEW)
    if issuer and token.issuer != issuer:
        raise TokenError(WRONG_ISSUER)
    not_before = _moment(claims, "nbf")
    if not_before is not None and now < not_before - skew:
        raise TokenError(NOT_YET)
    expiry = _moment(claims, "exp")
    if expiry is None:
        raise TokenError(NO_EXPIRY)
    if now > expiry + skew:
        raise TokenError(EXPIRED)
    if audiences and not any(_bare(one) in map(_bare, audiences) for one in _audiences(claims)):
        raise TokenError(WRONG_AUDIENCE)


def _audiences(claims: Claims) -> tuple[str, ...]:
    said = claims.get("aud", ())
    listed = [said] if isinstance(said, str) else said
    if not isinstance(listed, Sequence) or not all(isinstance(one, str) for one in listed):
        raise TokenError(BAD_PAYLOAD)
    return tuple(listed)


def _bare(audience: str) -> str:
    """Without scheme and last slash, as Envoy compares them."""
    for scheme in ("https://", "http://"):
        if audience.startswith(scheme):
            return audience.removeprefix(scheme).removesuffix("/")
    return audience


def _moment(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(BAD_PAYLOAD)
    if not (value >= 0 and isfinite(value)):
        raise TokenError(BAD_PAYLOAD)
    return float(value)


def _object(part: str, problem: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        found = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_constant)
    except (binascii.Error, ValueError, RecursionError):
        raise TokenError(problem) from None
    if "+" in part or "/" in part or not isinstance(found, dict) or _is_deep(found):
        raise TokenError(problem)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that comes twice, two readers may take different ones."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_deep(value: object, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return True
    inner: object = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return False
    return any(_is_deep(each, depth + 1) for each in inner)  # type: ignore[attr-defined] # of either
