"""JSON Web Key Sets: an issuer's public keys, each with the algorithms that it may be used by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from ..errors import MeshError
from .jwt import (
    NO_KEY,
    NOT_VERIFIED,
    SIGNED,
    Token,
    TokenError,
)

MAX_SIZE = 1024 * 1024
MAX_KEYS = 100
MIN_RSA_BITS = 2048
MOST_REASONS = 3
"""So many keys that are of no use are told of in one line."""

CURVES = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
}
OF_RSA = frozenset(name for name in SIGNED if name[:2] in ("RS", "PS"))


class KeySetError(MeshError):
    """A key set that cannot be read, or has no key that could be used."""


@dataclass(frozen=True, slots=True)
class Key:
    key_id: str | None
    algorithms: frozenset[str]
    public: Any


@dataclass(frozen=True, slots=True)
class KeySet:
    """``unused`` says of keys that are in the set, and why nothing is verified by them."""

    keys: tuple[Key, ...]
    unused: tuple[str, ...] = ()

    def verify(self, token: Token) -> None:
        """Is the token signed by one of these? Raises :class:`TokenError`.

        A key id that the token names chooses within this set; without one, keys of its algorithm
        are tried.
        """
        import jwt as pyjwt

        chosen = [
            key
            for key in self.keys
            if token.algorithm in key.algorithms
            and (token.key_id is None or key.key_id is None or key.key_id == token.key_id)
        ]
        if not chosen:
            raise TokenError(NO_KEY)
        for key in chosen:
            try:
                pyjwt.api_jws.decode(token.text, key.public, algorithms=[token.algorithm])
            except pyjwt.PyJWTError:
                continue
            return
        raise TokenError(NOT_VERIFIED)


def parse_keys(text: str | bytes) -> KeySet:
    """Raises :class:`KeySetError`; single keys that are of no use are left out, and named."""
    if len(text) > MAX_SIZE:
        raise KeySetError(f"the key set is larger than {MAX_SIZE} bytes")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise KeySetError("the key set is not JSON") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not listed:
        raise KeySetError("the key set has no keys")
    if len(listed) > MAX_KEYS:
        raise KeySetError(f"the key set has more than {MAX_KEYS} keys")
    keys: list[Key] = []
    unused: list[str] = []
    for index, entry in enumerate(listed):
        try:
            keys.append(_key(entry))
        except KeySetError as why:
            unused.append(f"keys[{index}]: {why}")
    if not keys:
        raise KeySetError(f"no key of the set can be used: {_in_one_line(unused)}")
    return KeySet(tuple(keys), tuple(unused))


def _in_one_line(reasons: list[str]) -> str:
    more = len(reasons) - MOST_REASONS
    return "; ".join(reasons[:MOST_REASONS]) + (f"; and {more} more" if more > 0 else "")


def _key(entry: object) -> Key:
    if not isinstance(entry, Mapping):
        raise KeySetError("not an object")
    if entry.get("use", "sig") != "sig":
        raise KeySetError("not for signatures")
    key_id = entry.get("kid")
    if not isinstance(key_id, str | None):
        raise KeySetError("kid is not a text")
    allowed = _algorithms(entry)
    said = entry.get("alg")
    if said is not None:
        allowed &= {said} if isinstance(said, str) else frozenset()
    if not allowed:
        raise KeySetError(f"algorithm {brief(said)} is not one of this kind of key")
    return Key(key_id, allowed, _public(entry))


def _algorithms(entry: Mapping[str, object]) -> frozenset[str]:
    match entry.get("kty"):
        case "RSA":
            return OF_RSA
        case "EC":
            return CURVES.get(str(entry.get("crv")), frozenset())
        case other:
            raise KeySetError(f"keys of kind {brief(other)} verify no tokens")


def _public(entry: Mapping[str, Any]) -> Any:
    import jwt as pyjwt

    said = {name: entry[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in entry}
    if "d" in entry:
        raise KeySetError("a private key does not belong here")
    try:
        algorithm = "RS256" if said["kty"] == "RSA" else None
        public = pyjwt.PyJWK(said, algorithm).key
    except (pyjwt.PyJWTError, ValueError, TypeError):
        raise KeySetError("not a valid key") from None
    if said["kty"] == "RSA" and public.key_size < MIN_RSA_BITS:
        raise KeySetError(f"an RSA key of less than {MIN_RSA_BITS} bits")
    return public
