"""The conversation with one control plane: subscriptions, versions, nonces, timers. No I/O.

Events go in; actions come out. What is known goes to the cache that all conversations share. The
state of a type is the same for both encodings of xDS.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .backoff import Reconnects
from .encodings import Change, Request, SendDelta, SendRequest, TypeState, encode
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
class RequestSent:
    """The request was really handed to a connected transport."""

    request: Request


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """``unimplemented``: the server does not know the method of this encoding."""

    status: str
    unimplemented: bool = False


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a stream now, in one of the two encodings."""

    delta: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Something that the people of this program should read; a ``routine`` is no trouble."""

    text: str
    routine: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """The server is there: the first response of a stream."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A stream ended without any response."""

    status: str


Event = SubscriptionChanged | StreamOpened | RequestSent | ResponseReceived | StreamClosed
Action = OpenStream | SendRequest | SendDelta | Report | Answered | Lost | Notice

# In these two a state-of-the-world response is complete, so that absence means deletion.
COMPLETE_TYPES = frozenset({LISTENER, CLUSTER})
FAIL_ON_DATA_ERRORS = "fail_on_data_errors"
TIMER_IS_TRANSIENT = "resource_timer_is_transient_error"


class Ads:
    """One subscription state, whatever stream it is spoken on, in whatever encoding."""

    def __init__(
        self,
        watches: Watches,
        decode: Decode,
        *,
        types: Collection[str],
        reconnects: Reconnects,
        server_features: Collection[str] = (),
        source: str = "",
        delta: bool = False,
        heeded: Collection[str] = (),
    ) -> None:
        self._watches = watches
        self._heeded = heeded
        self._decode = decode
        self._types = {type_url: TypeState() for type_url in types}
        self._reconnects = reconnects
        self._source = source
        self._drops = FAIL_ON_DATA_ERRORS in server_features
        self._transient = TIMER_IS_TRANSIENT in server_features
        self._timeout = 30.0 if self._transient else 15.0
        self._timers: dict[tuple[str, str], float] = {}
        self._reported: dict[str, str] = {}
        self._reopen_at: float | None = None
        self._active = False  # a stream is open, opening, or waited for
        self._open = self._said_hello = False
        self._first_response: float | None = None
        self.delta = delta
        self.connected = False
        self.error = self.last_status = ""
        self.failures = 0  # from well to unwell, gRFC A78

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
            case StreamClosed():
                return self._stream_closed(event, now)

    def deadline(self) -> float | None:
        times = (*self._timers.values(), self._reopen_at)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> tuple[Action, ...]:
        actions: list[Action] = []
        if self._reopen_at is not None and self._reopen_at <= now:
            self._reopen_at = None
            self._active = self.has_names
            actions += [OpenStream(self.delta)] if self._active else []
        for key in [key for key, due in self._timers.items() if due <= now]:
            del self._timers[key]
            actions += self._time_out(*key)
        return tuple(actions)

    def _time_out(self, type_url: str, name: str) -> Iterable[Action]:
        waits = self._is_heeded(type_url, name) and not self._may_be_missing(type_url, name)
        transient = self._transient or waits
        notices = self._watches.time_out(type_url, name, self._timeout, transient=transient)
        if not waits:
            return notices
        said = f"{self._source} sent nothing for it within {self._timeout:g} s"
        more = "and did not say that there is none: it is waited for"
        return (*notices, *self._report(f"{type_url} {name}", f"{name}: {said}, {more}"))

    def _is_heeded(self, type_url: str, name: str) -> bool:
        return type_url == LISTENER and name in self._heeded

    def _may_be_missing(self, type_url: str, name: str) -> bool:
        """Did a response, complete without this name, follow upon its request?"""
        return not self.delta and self._types[type_url].is_answered(name)

    # Subscriptions

    @property
    def has_names(self) -> bool:
        return any(state.names for state in self._types.values())

    def _subscription_changed(self, event: SubscriptionChanged) -> tuple[Action, ...]:
        state = self._types.get(event.type_url)
        if state is None:
            return self._not_asked(event)
        new = tuple(dict.fromkeys(n for n in event.subscribe if n not in state.names))
        state.names.update(dict.fromkeys(new))
        gone = tuple(dict.fromkeys(n for n in event.unsubscribe if n in state.names))
        for name in gone:
            state.drop(name)
            self._timers.pop((event.type_url, name), None)
        if not new and not gone:
            return ()
        actions = self._ask(event.type_url, Change(new, gone))
        if not state.names:
            state.version = state.error = ""
        return actions

    def _not_asked(self, event: SubscriptionChanged) -> tuple[Action, ...]:
        """Not of this server: what it says of such could be read and forged on the way."""
        actions: list[Action] = []
        for name in event.subscribe:
            error = f"{self._source} is not asked for secrets: it is reached in plain text"
            actions += self._watches.disown(event.type_url, name, error)
            actions += self._report(f"{event.type_url} {name}", f"{name}: {error}")
        return tuple(actions)

    def _ask(self, type_url: str, change: Change) -> tuple[Action, ...]:
        """Say the names of a type, on a stream that is opened when there is none."""
        if self._open:
            return (self._request(type_url, change),)
        if self._active or not self._types[type_url].names:
            return ()
        self._active = True
        return (OpenStream(self.delta),)

    def _request(self, type_url: str, change: Change) -> Request:
        state = self._types[type_url]
        first, self._said_hello = not self._said_hello, True
        state.ask(change.subscribe)
        return encode(type_url, state, change, delta=self.delta, first=first)

    # The stream

    def _stream_opened(self) -> tuple[Action, ...]:
        self._open = True
        # An empty list would mean "everything" where no name was said before (legacy wildcard).
        return tuple(
            self._request(url, Change(tuple(state.names), versions=self._versions(url, state)))
            for url, state in self._types.items()
            if state.names
        )

    def _versions(self, type_url: str, state: TypeState) -> dict[str, str]:
        """Of the resources in use; what it disowned the server is to send anew.

        So is what another server sent: its versions mean nothing here.
        """
        if not self.delta:
            return {}
        entries = (self._watches.get(type_url, name) for name in state.names)
        told = (ResourceState.ACKED, ResourceState.NACKED)
        return {
            entry.name: entry.version
            for entry in entries
            if entry is not None and entry.version and entry.resource is not None
            if entry.state in told and entry.source == self._source
        }

    def _request_sent(self, request: Request, now: float) -> tuple[Action, ...]:
        self.connected = True
        for name in request.asked:
            key = (request.type_url, name)
            entry = self._watches.get(*key)
            if entry is not None and entry.is_unheard_of:
                self._timers.setdefault(key, now + self._timeout)
        return ()

    def _stream_closed(self, event: StreamClosed, now: float) -> tuple[Action, ...]:
        answered, self._first_response = self._first_response, None
        self._open = self._said_hello = self.connected = False
        self._timers.clear()
        for state in self._types.values():
            state.forget_stream()
        self.last_status = event.status
        actions: list[Action] = []
        if answered is not None:
            delay = self._reconnects.after_life(now - answered)
        elif self.delta and event.unimplemented:
            self.delta, delay = False, 0.0
            text = "speaks no delta xDS, so it is asked for the state of the world"
            actions.append(Report(f"{self._source} {text}", routine=True))
        else:
            self.failures += not self.error
            self.error = event.status
            delay = self._reconnects.after_failure()
            actions += self._report("stream", f"no answer from the control plane: {event.status}")
            actions.append(Lost(event.status))
        self._active = self.has_names
        if self._active and delay > 0:
            self._reopen_at = now + delay
        elif self._active:
            actions.append(OpenStream(self.delta))
        return tuple(actions)

    # Responses

    def _response_received(self, response: ResponseReceived, now: float) -> tuple[Action, ...]:
        self.connected = True  # gRPC may be later to say that it took the request
        actions: list[Action] = []
        if self._first_response is None:
            self._first_response = now
            self._reconnects.answered()
            self._reported.pop("stream", None)
            self.error = ""
            actions.append(Answered())
        state = self._types.get(response.type_url)
        if state is None or not state.requested:
            text = f"ignored a response of {response.type_url!r}, which nobody asked for"
            return (*actions, *self._report(response.type_url, text))
        verdict = judge(response, self._decode)
        state.nonce = response.nonce
        state.responses += 1
        if verdict.error:
            state.error = f"version {response.version!r}: {verdict.error}"
            actions += self._report(response.type_url, f"refused (NACK) {verdict.error}")
        else:
            state.error = ""
            state.version = response.version
            self._reported.pop(response.type_url, None)
        change = Change(answer=True, error=verdict.error)
        actions.insert(0, self._request(response.type_url, change))
        if not state.names:
            state.version = ""
        return (*actions, *self._learn(response, verdict, now))

    def _learn(self, response: ResponseReceived, verdict: Verdict, now: float) -> list[Action]:
        actions: list[Action] = []
        type_url, names = response.type_url, self._types[response.type_url].names
        for name in filter(names.__contains__, verdict.names()):
            if name not in verdict.heartbeats:
                self._timers.pop((type_url, name), None)
            actions += self._learn_one(response, verdict, name, now)
        for name in self._missing(type_url, verdict):
            actions += self._deleted(type_url, name)
        return actions

    def _learn_one(
        self, response: ResponseReceived, verdict: Verdict, name: str, now: float
    ) -> Iterable[Action]:
        type_url, watches = response.type_url, self._watches
        if (accepted := verdict.accepted.get(name)) is not None:
            fresh = Entry(
                type_url=type_url,
                name=name,
                resource=accepted.decoded.resource,
                version=accepted.version,
                source=self._source,
                ignored=accepted.decoded.ignored,
                updated=now,
                expires=_after(now, accepted.ttl),
            )
            self._reported.pop(f"{type_url} {name}", None)
            return (*watches.accept(fresh), *self._report_ignored(fresh))
        if (rejected := verdict.rejected.get(name)) is not None:
            version = response.version
            return watches.reject(type_url, name, version, rejected, at=now, drop=self._drops)
        if name in verdict.heartbeats:
            watches.refresh(type_url, name, _after(now, verdict.heartbeats[name]))
            return ()
        if (failed := verdict.failed.get(name)) is not None:
            code, text = failed.code, failed.message
            notices = watches.receive_error(type_url, name, code, text, drop=self._drops)
            return (*notices, *self._report_failure(type_url, name, code))
        return self._deleted(type_url, name)

    def _deleted(self, type_url: str, name: str) -> Iterable[Action]:
        notices = self._watches.delete(type_url, name, drop=self._drops)
        return (*notices, *self._report_failure(type_url, name, NOT_FOUND))

    def _missing(self, type_url: str, verdict: Verdict) -> list[str]:
        """Names that the server sent before, and does not have any more, as it does not say them.

        A name that is new may not have reached it yet. A bad resource without a name may be any
        of them, so then nothing is missing for sure; and an error that the server reported of a
        resource holds until it says otherwise.
        """
        if self.delta or type_url not in COMPLETE_TYPES or verdict.unnamed:
            return []
        said = set(verdict.names())
        names = self._types[type_url].names
        return [n for n in names if n not in said and self._is_gone(type_url, n)]

    def _is_gone(self, type_url: str, name: str) -> bool:
        entry = self._watches.get(type_url, name)
        if entry is None:
            return False
        if entry.state is ResourceState.TIMEOUT and self._is_heeded(type_url, name):
            return self._may_be_missing(type_url, name)
        return entry.state in (ResourceState.ACKED, ResourceState.NACKED)

    # What is told to people

    def _report_failure(self, type_url: str, name: str, code: int) -> tuple[Report, ...]:
        """Routine needs no word: an unknown host, or a cluster that goes before its routes."""
        entry = self._watches.get(type_url, name)
        assert entry is not None
        is_kept = entry.resource is not None
        if code == NOT_FOUND and is_kept is (type_url != LISTENER):
            return ()
        return self._report(f"{type_url} {name}", f"{name}: {entry.error}")

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
