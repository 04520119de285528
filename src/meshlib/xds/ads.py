"""The conversation with one control plane: subscriptions, versions, nonces, timers. No I/O.

Events go in; actions come out, and notices of what is now known. The state of a type is the same
for both encodings of xDS; only :meth:`Ads._request` knows that requests are state-of-the-world.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from .backoff import Reconnects
from .names import canonical
from .responses import Decode, ResponseReceived, Verdict, judge
from .types import CLUSTER, LISTENER
from .watches import NOT_FOUND, Entry, Notice, ResourceState, Watches


@dataclass(frozen=True, slots=True)
class SubscriptionChanged:
    """Names that somebody began or ceased to refer to."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """Requests can be handed over now; they may wait for the connection."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """``first`` asks for the node; ``error`` makes it a NACK."""

    type_url: str
    names: tuple[str, ...]
    version: str = ""
    nonce: str = ""
    error: str = ""
    first: bool = False


@dataclass(frozen=True, slots=True)
class RequestSent:
    """The request was really handed to a connected transport."""

    request: SendRequest


@dataclass(frozen=True, slots=True)
class StreamClosed:
    status: str


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a stream now."""


@dataclass(frozen=True, slots=True)
class Report:
    """Something that the people of this program should read."""

    text: str


Event = SubscriptionChanged | StreamOpened | RequestSent | ResponseReceived | StreamClosed
Action = OpenStream | SendRequest | Report | Notice

# In these two a state-of-the-world response is complete, so that absence means deletion.
COMPLETE_TYPES = frozenset({LISTENER, CLUSTER})


@dataclass(slots=True)
class TypeState:
    """``version`` survives the stream; ``nonce`` and ``requested`` do not."""

    names: dict[str, None] = field(default_factory=dict)
    version: str = ""
    nonce: str = ""
    requested: bool = False
    error: str = ""


class Ads:
    """One subscription state, whatever stream it is spoken on."""

    def __init__(
        self,
        watches: Watches,
        decode: Decode,
        *,
        types: Collection[str],
        reconnects: Reconnects,
        does_not_exist_timeout: float = 15.0,
    ) -> None:
        self._watches = watches
        self._decode = decode
        self._types = {type_url: TypeState() for type_url in types}
        self._reconnects = reconnects
        self._timeout = does_not_exist_timeout
        self._timers: dict[tuple[str, str], float] = {}
        self._reported: dict[str, str] = {}
        self._reopen_at: float | None = None
        self._active = False  # a stream is open, opening, or waited for
        self._open = False
        self._said_hello = False
        self._first_response: float | None = None
        self.connected = False
        self.last_status = ""

    @property
    def types(self) -> dict[str, TypeState]:
        return self._types

    def handle(self, event: Event, now: float) -> tuple[Action, ...]:
        match event:
            case SubscriptionChanged():
                return self._subscription_changed(event)
            case StreamOpened():
                return self._stream_opened()
            case RequestSent(request):
                return self._request_sent(request, now)
            case ResponseReceived():
                return self._response_received(event, now)
            case StreamClosed(status):
                return self._stream_closed(status, now)

    def deadline(self) -> float | None:
        times = (*self._timers.values(), self._reopen_at, self._watches.next_expiry())
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> tuple[Action, ...]:
        actions: list[Action] = []
        if self._reopen_at is not None and self._reopen_at <= now:
            self._reopen_at = None
            self._active = any(state.names for state in self._types.values())
            actions += [OpenStream()] if self._active else []
        for key in [key for key, due in self._timers.items() if due <= now]:
            del self._timers[key]
            actions += self._watches.time_out(*key, self._timeout)
        actions += self._watches.expire(now)
        return tuple(actions)

    # Subscriptions

    def _subscription_changed(self, event: SubscriptionChanged) -> tuple[Action, ...]:
        state = self._types[event.type_url]
        before = tuple(state.names)
        notices: list[Notice] = []
        for name in map(canonical, event.subscribe):
            state.names[name] = None
            notices += self._watches.watch(event.type_url, name)
        for name in map(canonical, event.unsubscribe):
            state.names.pop(name, None)
            self._timers.pop((event.type_url, name), None)
            self._watches.unwatch(event.type_url, name)
        if tuple(state.names) == before:
            return tuple(notices)
        actions = self._ask(event.type_url)
        if not state.names:
            state.version = state.error = ""
        return (*actions, *notices)

    def _ask(self, type_url: str) -> tuple[Action, ...]:
        """Say the names of a type, on a stream that is opened when there is none."""
        if self._open:
            return (self._request(type_url),)
        if self._active or not self._types[type_url].names:
            return ()
        self._active = True
        return (OpenStream(),)

    def _request(self, type_url: str, error: str = "") -> SendRequest:
        state = self._types[type_url]
        first, self._said_hello = not self._said_hello, True
        state.requested = True
        return SendRequest(
            type_url, tuple(state.names), state.version, state.nonce, error, first=first
        )

    # The stream

    def _stream_opened(self) -> tuple[Action, ...]:
        self._open = True
        # An empty list would mean "everything" where no name was said before (legacy wildcard).
        return tuple(self._request(type_url) for type_url, s in self._types.items() if s.names)

    def _request_sent(self, request: SendRequest, now: float) -> tuple[Action, ...]:
        self.connected = True
        for name in request.names:
            key = (request.type_url, name)
            entry = self._watches.get(*key)
            if entry is not None and entry.is_unheard_of:
                self._timers.setdefault(key, now + self._timeout)
        return ()

    def _stream_closed(self, status: str, now: float) -> tuple[Action, ...]:
        answered, self._first_response = self._first_response, None
        self._open = self._said_hello = self.connected = False
        self._timers.clear()
        for state in self._types.values():
            state.nonce, state.requested = "", False
        self.last_status = status
        actions: list[Action] = []
        if answered is None:
            delay = self._reconnects.after_failure()
            actions += self._report("stream", f"no answer from the control plane: {status}")
            actions += self._watches.disconnect(status)
        else:
            delay = self._reconnects.after_life(now - answered)
        self._active = any(state.names for state in self._types.values())
        if self._active and delay > 0:
            self._reopen_at = now + delay
        elif self._active:
            actions.append(OpenStream())
        return tuple(actions)

    # Responses

    def _response_received(self, response: ResponseReceived, now: float) -> tuple[Action, ...]:
        actions: list[Action] = []
        if self._first_response is None:
            self._first_response = now
            self._reconnects.answered()
            self._reported.pop("stream", None)
            actions += self._watches.reconnect()
        state = self._types.get(response.type_url)
        if state is None or not state.requested:
            text = f"ignored a response of {response.type_url!r}, which nobody asked for"
            return (*actions, *self._report(response.type_url, text))
        verdict = judge(response, self._decode)
        state.nonce = response.nonce
        if verdict.error:
            state.error = f"version {response.version!r}: {verdict.error}"
            actions += self._report(response.type_url, f"refused (NACK) {verdict.error}")
        else:
            state.error = ""
            state.version = response.version
            self._reported.pop(response.type_url, None)
        actions.insert(0, self._request(response.type_url, verdict.error))
        if not state.names:
            state.version = ""
        return (*actions, *self._learn(response, verdict, now))

    def _learn(self, response: ResponseReceived, verdict: Verdict, now: float) -> list[Action]:
        actions: list[Action] = []
        type_url = response.type_url
        for name in self._types[type_url].names:
            actions += self._learn_one(response, verdict, name, now)
            if verdict.mentions(name):
                self._timers.pop((type_url, name), None)
        return actions

    def _learn_one(
        self, response: ResponseReceived, verdict: Verdict, name: str, now: float
    ) -> tuple[Action, ...]:
        type_url, watches = response.type_url, self._watches
        if (accepted := verdict.accepted.get(name)) is not None:
            fresh = Entry(
                type_url=type_url,
                name=name,
                resource=accepted.decoded.resource,
                version=response.version,
                ignored=accepted.decoded.ignored,
                updated=now,
                expires=_after(now, accepted.ttl),
            )
            self._reported.pop(f"{type_url} {name}", None)
            return (*watches.accept(fresh), *self._report_ignored(fresh))
        if name in verdict.rejected:
            return watches.reject(type_url, name, response.version, verdict.rejected[name])
        if name in verdict.heartbeats:
            watches.refresh(type_url, name, _after(now, verdict.heartbeats[name]))
            return ()
        if (failed := verdict.failed.get(name)) is not None:
            notices = watches.receive_error(type_url, name, failed.code, failed.message)
            return (*notices, *self._report_failure(type_url, name, failed.code))
        if type_url in COMPLETE_TYPES and self._was_there(type_url, name, verdict):
            notices = watches.delete(type_url, name)
            return (*notices, *self._report_failure(type_url, name, NOT_FOUND))
        return ()

    def _report_failure(self, type_url: str, name: str, code: int) -> tuple[Report, ...]:
        """Routine needs no word: an unknown host, or a cluster that goes before its routes."""
        entry = self._watches.get(type_url, name)
        assert entry is not None
        is_kept = entry.resource is not None
        if code == NOT_FOUND and is_kept is (type_url != LISTENER):
            return ()
        return self._report(f"{type_url} {name}", f"{name}: {entry.error}")

    def _was_there(self, type_url: str, name: str, verdict: Verdict) -> bool:
        """Did the server send it before? A name that is new may not have reached it yet.

        A bad resource without a name may be any of them, so then nothing is missing for sure;
        and an error that the server reported of a resource holds until it says otherwise.
        """
        entry = self._watches.get(type_url, name)
        there = (ResourceState.ACKED, ResourceState.NACKED)
        return entry is not None and entry.state in there and not verdict.unnamed

    def _report_ignored(self, entry: Entry) -> tuple[Report, ...]:
        said: list[Report] = []
        for path in entry.ignored:
            key = f"ignored {entry.type_url} {path}"
            said += self._report(key, f"{entry.name}: {path} is accepted but not acted on")
        return tuple(said)

    def _report(self, key: str, text: str) -> tuple[Report, ...]:
        """Say it, unless it is what was said last of this."""
        first_of_its_kind = key.startswith("ignored ") and key in self._reported
        if first_of_its_kind or self._reported.get(key) == text:
            return ()
        self._reported[key] = text
        return (Report(text),)


def _after(now: float, ttl: float | None) -> float | None:
    return now + ttl if ttl is not None else None
