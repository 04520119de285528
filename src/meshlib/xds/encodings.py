"""The two encodings of one subscription: state of the world, and incremental (delta).

A request of the first says all names each time; one of the second says what changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class TypeState:
    """What is asked of one type; ``version`` survives the stream, ``nonce`` does not.

    Nor do ``responses``, how many there were, and ``answered_by``, the first of them that may be
    the answer to a name.
    """

    names: dict[str, None] = field(default_factory=dict)
    version: str = ""
    nonce: str = ""
    requested: bool = False
    error: str = ""
    responses: int = 0
    answered_by: dict[str, int] = field(default_factory=dict)

    def is_answered(self, name: str) -> bool:
        return self.responses >= self.answered_by.get(name, 1)

    def ask(self, names: Iterable[str]) -> None:
        """Whoever asks for more before the first response is told of the others first."""
        following = max(self.responses + 1, 2) if self.requested else 1
        self.answered_by.update(dict.fromkeys(names, following))
        self.requested = True

    def drop(self, name: str) -> None:
        del self.names[name]
        self.answered_by.pop(name, None)

    def forget_stream(self) -> None:
        self.nonce, self.requested, self.responses = "", False, 0
        self.answered_by.clear()


@dataclass(frozen=True, slots=True)
class SendRequest:
    """``first`` asks for the node; ``error`` makes it a NACK."""

    type_url: str
    names: tuple[str, ...]
    version: str = ""
    nonce: str = ""
    error: str = ""
    first: bool = False

    @property
    def asked(self) -> tuple[str, ...]:
        return self.names


@dataclass(frozen=True, slots=True)
class SendDelta:
    """``versions`` are those of the resources in use; they begin a stream that is not the first.

    ``nonce`` is empty in a request that answers nothing.
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str = ""
    first: bool = False

    @property
    def asked(self) -> tuple[str, ...]:
        return self.subscribe


Request = SendRequest | SendDelta


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be said now: new and dropped names, or an answer, with the error of a NACK."""

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    answer: bool = False
    error: str = ""


def encode(type_url: str, state: TypeState, change: Change, *, delta: bool, first: bool) -> Request:
    if not delta:
        names = tuple(state.names)
        return SendRequest(type_url, names, state.version, state.nonce, change.error, first=first)
    return SendDelta(
        type_url,
        change.subscribe,
        change.unsubscribe,
        change.versions,
        state.nonce if change.answer else "",
        change.error,
        first=first,
    )
