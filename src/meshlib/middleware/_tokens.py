"""Callers' tokens, verified: what the core's filter asks, answered by the keys of their issuers."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from math import isfinite
from typing import Any

from ..clock import Clock
from ..dataplane import Turn
from ..dataplane.filters.jwt_authn import NO_KEYS
from ..dataplane.filters.tokens import KeysWanted, Refused, Verified
from ..identity.jwks import KeySet, KeySetError, parse_keys
from ..identity.jwt import (
    BAD_PAYLOAD,
    NO_KEY,
    WRONG_AUDIENCE,
    Token,
    TokenError,
    check_claims,
    parse,
)
from ..identity.remote_keys import RemoteKeys
from ..model import Struct, Value
from ..model.authn import JwtProvider, LocalJwks

KEPT = 100
"""Tokens at most that are remembered to be good, as in Envoy."""
BAD_KEYS = "Jwks is invalid"
Soon = Callable[[Callable[[], None]], None]


class VerifiedTokens:
    """``wall``: the time of day, which tokens expire by. ``soon``: do something under the lock
    that calls are decided under.

    A token is verified once by the keys that its issuer has then; when it expires is looked at
    each time, and the issuer's other keys are other keys.
    """

    def __init__(self, wall: Clock, remote: RemoteKeys, soon: Soon) -> None:
        self._wall = wall
        self._remote = remote
        self.soon = soon
        self._parsed = lru_cache(KEPT)(parse)
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._good: OrderedDict[tuple[JwtProvider, str], tuple[KeySet, Verified]] = OrderedDict()
        self._remote.reset()

    def status(self) -> Mapping[str, object]:
        return self._remote.status()

    def close(self) -> None:
        self._remote.close()

    def issuer(self, text: str) -> str | Refused:
        try:
            return self._parsed(text).issuer
        except TokenError as error:
            return Refused(str(error))

    def verify(self, provider: JwtProvider, text: str) -> Verified | Refused | KeysWanted:
        try:
            token = self._parsed(text)
            check_claims(
                token,
                provider.issuer,
                provider.audiences,
                self._wall(),
                provider.clock_skew_seconds,
            )
            keys = self._keys(provider)
            if keys is None:
                wanted = self._wanted(provider)
                if wanted is not None:
                    return wanted
                keys = self._keys(provider)  # they may have come while they were asked for
            if keys is None:
                return NO_KEYS
            return self._known(provider, token, keys) or self._verified(provider, token, keys)
        except TokenError as error:
            words = str(error)
            if words == NO_KEY:
                return self._wanted(provider, unknown_key=True) or Refused(words)
            return Refused(words, forbidden=words == WRONG_AUDIENCE)

    def _keys(self, provider: JwtProvider) -> KeySet | None:
        if isinstance(provider.jwks, LocalJwks):
            return _local(provider.jwks.inline_string)
        return self._remote.current(provider.jwks, provider.issuer)

    def _wanted(self, provider: JwtProvider, *, unknown_key: bool = False) -> KeysWanted | None:
        if isinstance(provider.jwks, LocalJwks):
            return None
        turn = Turn()
        is_coming = self._remote.when_fetched(
            provider.jwks,
            provider.issuer,
            partial(self._grant, turn),
            unknown_key=unknown_key,
        )
        return KeysWanted(turn) if is_coming else None

    def _grant(self, turn: Turn) -> None:
        self.soon(turn.grant)

    def _known(self, provider: JwtProvider, token: Token, keys: KeySet) -> Verified | None:
        key = provider, token.text
        with self._lock:
            found = self._good.get(key)
            if found is None or found[0] is not keys:
                return None
            self._good.move_to_end(key)
            return found[1]

    def _verified(self, provider: JwtProvider, token: Token, keys: KeySet) -> Verified:
        keys.verify(token)
        claims = as_struct(token.claims, provider.normalize_space_delimited_claims)
        made = Verified(claims, token.text.split(".")[1])
        with self._lock:
            self._good[provider, token.text] = keys, made
            if len(self._good) > KEPT:
                self._good.popitem(last=False)
        return made


@lru_cache(KEPT)
def _local(text: str) -> KeySet:
    try:
        return parse_keys(text)
    except KeySetError:
        raise TokenError(BAD_KEYS) from None


def as_struct(claims: Mapping[str, Any], space_delimited: Collection[str] = ()) -> Struct:
    """``space_delimited``: claims that are lists, though they are written as one text."""
    made = {name: _value(held) for name, held in claims.items()}
    for name in space_delimited:
        held = made.get(name)
        if isinstance(held, str):
            made[name] = tuple(held.split())
    return Struct(tuple(sorted(made.items(), key=_name)))


def _value(held: Any) -> Value:
    match held:
        case None | bool() | str():
            return held
        case int() | float():
            return _number(held)
        case list():
            return tuple(map(_value, held))
        case _:
            return as_struct(held)


def _number(held: float) -> float:
    """Metadata knows doubles only, and none that is not finite."""
    try:
        number = float(held)
    except OverflowError:
        raise TokenError(BAD_PAYLOAD) from None
    if not isfinite(number):
        raise TokenError(BAD_PAYLOAD)
    return number


def _name(pair: tuple[str, Value]) -> str:
    return pair[0]
