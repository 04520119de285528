"""Join tokens: what a member shows once, to get its first certificate."""

import hmac
import secrets
from hashlib import sha256

import msgspec

from .credentials import IdentityError
from .spiffe import SpiffeId
from .store import Store

FILE = "tokens.json"
BYTES = 32
LONGEST_LIFE = 600.0
MOST = 1000
LONGEST_TOKEN = 256
REFUSED = "the join token is refused (it is good once, for ten minutes: meshlib ca token makes one)"


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``digest`` of a token, in hex; the token itself is kept nowhere."""

    digest: str
    spiffe_id: str
    expires: float


class RefusedTokenError(IdentityError):
    """A join token that is unknown, used or too old; which of them is not told."""


class JoinTokens:
    """256 bits, good once, for one id, for ten minutes at most. Kept beside the CA."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, spiffe_id: SpiffeId, now: float, life: float = LONGEST_LIFE) -> str:
        """The token; told here and never again."""
        if not 0 < life <= LONGEST_LIFE:
            raise IdentityError(f"a join token lives up to {LONGEST_LIFE:g} s, not {life:g} s")
        if not spiffe_id.path:
            raise IdentityError(f"{spiffe_id} names the trust domain, and nobody in it")
        token = secrets.token_urlsafe(BYTES)
        with self._store.locked():
            entries = [one for one in self._read() if now < one.expires]
            if len(entries) >= MOST:
                raise IdentityError(f"there are {MOST} unused join tokens already")
            self._write([*entries, _Entry(_digest(token), str(spiffe_id), now + life)])
        return token

    def redeem(self, token: str, now: float) -> SpiffeId:
        """Whose it is; it is worth nothing from then on, whatever comes of the request."""
        if len(token) > LONGEST_TOKEN:
            raise RefusedTokenError(REFUSED)
        digest = _digest(token)
        with self._store.locked():
            found, others = None, []
            for one in self._read():  # all of them, so that time tells nothing
                if hmac.compare_digest(one.digest, digest):
                    found = one
                else:
                    others.append(one)
            if found is not None:
                self._write(others)
        if found is None or now >= found.expires:
            raise RefusedTokenError(REFUSED)
        return SpiffeId.parse(found.spiffe_id)

    def _read(self) -> list[_Entry]:
        text = self._store.read(FILE)
        if text is None:
            return []
        try:
            return msgspec.json.decode(text, type=list[_Entry])
        except msgspec.DecodeError as error:
            raise IdentityError(f"{FILE}: {error}") from error

    def _write(self, entries: list[_Entry]) -> None:
        self._store.write(FILE, msgspec.json.encode(entries))


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
