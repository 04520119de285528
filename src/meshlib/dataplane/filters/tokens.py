"""What the core asks of whoever verifies tokens; it knows no cryptography itself."""

from dataclasses import dataclass
from typing import Protocol

from ...model import Struct
from ...model.authn import JwtProvider
from ..steps import Turn


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that is believed: its claims, and its payload as it stood in the token."""

    claims: Struct
    payload: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A token that is not; ``forbidden``: it is a good one, but not for this audience."""

    words: str
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """The issuer's keys are being fetched; ``turn`` comes when they are there, or cannot be had."""

    turn: Turn


class Tokens(Protocol):
    """Safe from any thread; nothing here waits."""

    def issuer(self, text: str) -> str | Refused:
        """Who a token says that it is of; nothing is verified."""

    def verify(self, provider: JwtProvider, text: str) -> Verified | Refused | KeysWanted:
        """Is the token one of this provider's, and good now?"""
