"""The headers that belong to a whole chain of calls, handed on from what is served to what is sent.

A sidecar cannot do this: it does not know which call out was made while which call in was served.
"""

import re
import uuid
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token

from ..dataplane import Headers, Request

RECEIVED: ContextVar[Headers] = ContextVar("meshlib_received", default=())
"""What the call being served here brought along."""

REQUEST_ID = "x-request-id"
TRACE = (
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-ot-span-context",
    REQUEST_ID,
)
"""The marks of a trace; they go wherever the call goes."""

BAGGAGE = "baggage"
"""W3C baggage: what it carries may be private, so it stays within the mesh."""

LONGEST = 8192
"""Bytes of one value, as much as W3C asks everybody to carry."""

_LISTS = frozenset({"tracestate", BAGGAGE})
_PLAIN = re.compile(r"[\x20-\x7e\t]+")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_LATER_TRACEPARENT = re.compile(_TRACEPARENT.pattern + r"-[\x21-\x7e]*")


def new_request_id() -> str:
    return str(uuid.uuid4())


class Propagation:
    """``extra``: names of further headers to hand on, to hosts of the mesh only."""

    def __init__(
        self, extra: Iterable[str] = (), *, request_id: Callable[[], str] = new_request_id
    ) -> None:
        self._extra = frozenset(name.lower() for name in extra)
        self._wanted = frozenset(TRACE) | {BAGGAGE} | self._extra
        self._inside = (self._extra - frozenset(TRACE)) | {BAGGAGE}
        self._request_id = request_id

    def receive(self, request: Request) -> Token[Headers]:
        """Remember what is to be handed on; a call without request id gets one."""
        wanted = self._wanted
        found: dict[str, str] = {}
        for name, value in request.headers:
            if name in wanted:
                self._note(found, name, value)
        kept = [pair for pair in found.items() if is_sound(*pair)]
        names = [name for name, _ in kept]
        if "tracestate" in names and "traceparent" not in names:
            kept = [pair for pair in kept if pair[0] != "tracestate"]
        if REQUEST_ID not in names:
            kept.append((REQUEST_ID, self._request_id()))
        return RECEIVED.set(tuple(kept))

    def _note(self, found: dict[str, str], name: str, value: str) -> None:
        if name not in found:
            found[name] = value
        elif name in _LISTS or name in self._extra:
            found[name] = f"{found[name]},{value}"
        elif name == "traceparent":
            found[name] = ""  # two of them say nothing (W3C Trace Context, 3.2.1)

    def release(self, token: Token[Headers]) -> None:
        try:
            RECEIVED.reset(token)
        except ValueError:
            RECEIVED.set(())  # the handler ended elsewhere than it began

    def outgoing(self, *, foreign: bool = False) -> Headers:
        """What to add to a call made here and now."""
        received = RECEIVED.get()
        if foreign and received:
            return tuple(pair for pair in received if pair[0] not in self._inside)
        return received

    def begin(self, request: Request, *, foreign: bool = False) -> None:
        """Nothing is traced."""


def is_sound(name: str, value: str) -> bool:
    """Is this worth handing on? What is empty, too long or malformed is not."""
    if not value or len(value) > LONGEST or not _PLAIN.fullmatch(value):
        return False
    if name != "traceparent":
        return True
    if _TRACEPARENT.fullmatch(value):
        return True
    return not value.startswith("00") and _LATER_TRACEPARENT.fullmatch(value) is not None
