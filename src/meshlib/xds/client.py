"""The xDS client: a thread that listens to a control plane and says what the mesh is now."""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..clock import Clock, Dice
from ..errors import ConfigError
from ..model import Snapshot
from .ads import OpenStream, Report, RequestSent, StreamClosed, StreamOpened
from .authority import CloseStream, Errand
from .backoff import Reconnects
from .bootstrap import INBOUND, Bootstrap, Server
from .codec import BY_TYPE_URL
from .codec import decode as decode_resource
from .discovery import Discovery, Effect
from .encodings import SendDelta, SendRequest
from .lines import CONNECT_TIMEOUT, Connect, Line, Lines, Wire
from .messages import GarbageError, decode_response
from .resolver import Update
from .responses import Decode
from .secrets import Keeper, SecretChanged, shown
from .status import status_of
from .transport import Ended, News, Received, Sent, Stream, can_connect
from .watches import Entry

NOT_ACTED_ON = "is accepted but not acted on"


@dataclass(frozen=True, slots=True)
class _Wake:
    """Look again: there may be new names, or it is over."""


class XdsClient:
    """``on_update`` and ``on_problem`` are called from the client's own thread, without locks.

    Every method may be called from any thread. A child made by ``fork`` builds a client of its own.
    ``wire`` hears all that is said, on the client's thread. ``on_contact`` hears why no server
    answers, and "" when one does again; ``on_connection`` of each stream that a server takes, which
    may be long before it answers; ``on_note`` what is no problem. ``reconnects`` makes the one who
    says how long to wait between two streams to a server. ``is_called``: are calls to this cluster
    under way? ``keeper`` is given the secrets that resources name; nobody else is.
    """

    def __init__(  # noqa: PLR0913 - what it hears with, and what it is made of
        self,
        bootstrap: Bootstrap,
        *,
        on_update: Callable[[Snapshot, frozenset[str]], None],
        on_problem: Callable[[str], None],
        on_contact: Callable[[str], None] = lambda _outage: None,
        on_connection: Callable[[], None] = lambda: None,
        on_note: Callable[[str], None] = lambda _text: None,
        clock: Clock,
        dice: Dice,
        decode: Decode = decode_resource,
        connect: Connect = Stream,
        wire: Wire | None = None,
        reconnects: Callable[[Dice], Reconnects] = Reconnects,
        runtime_layers: Iterable[str] = (),
        is_called: Callable[[str], bool] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._on_update = on_update
        self._on_problem = on_problem
        self._on_contact = on_contact
        self._on_connection = on_connection
        self._on_note = on_note
        self._outage = ""
        self._clock = clock
        self._discovery = Discovery(
            decode,
            dice=dice,
            servers=bootstrap.servers,
            runtime_layers=runtime_layers,
            reconnects=reconnects,
            is_called=is_called,
            keeper=keeper,
            heeded=(bootstrap.listener_of(INBOUND),),
        )
        self._keeper = keeper
        self._mailbox: queue.SimpleQueue[News | _Wake] = queue.SimpleQueue()
        self._lines = Lines(bootstrap.node, self._mailbox.put, connect, wire)
        self._watched: dict[str, str] = {}  # targets, by the names of their listeners
        self._lock = threading.Lock()  # of the three below; never held across a call-back
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._closed = False
        self._unasked: list[str] = []
        self._last = Update(Snapshot(), frozenset())

    def start(self) -> None:
        """Idempotent; the stream opens when there is something to ask for."""
        with self._lock:
            if self._thread is not None or self._closed:
                return
            self._thread = threading.Thread(target=self._run, name="meshlib-ads", daemon=True)
            self._pid = os.getpid()
            self._thread.start()
        if self._keeper is not None and self._keeper.always:
            self._mailbox.put(_Wake())

    def watch(self, target: str) -> None:
        """Ask for the listener of a target and all that it leads to; cheap when done before.

        Updates call the listener by the name of its target, whatever the control plane calls it.
        Raises :class:`ConfigError` for a name of an authority that this client cannot ask.
        """
        name = self._bootstrap.listener_of(target)
        if name in self._watched:
            return
        with self._lock:
            if name in self._watched:
                return
            self._watched[name] = target
            self._unasked.append(name)
        self._mailbox.put(_Wake())

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None or self._pid != os.getpid():
            return
        self._mailbox.put(_Wake())
        if thread is not threading.current_thread():
            thread.join(timeout=5.0)

    def reach(self, timeout: float) -> bool:
        """Block until a server can be connected to; ``False`` after ``timeout`` seconds."""
        if any(server.connected for server in self._discovery.servers()):
            return True
        servers = self._bootstrap.xds_servers
        try:
            return any(can_connect(server, timeout / len(servers)) for server in servers)
        except ConfigError as error:
            self._on_problem(str(error))
            return False

    def is_ready(self) -> bool:
        """Is everything that was watched so far settled, one way or the other?"""
        last = self._last
        names = tuple(self._watched)
        return all(name in last.snapshot.listeners or name in last.absent for name in names)

    @property
    def server(self) -> Server:
        """The one whose word counts now."""
        return self._discovery.relied_on

    def trouble(self, type_url: str, name: str) -> str:
        """What the control plane's side says is wrong with a resource, and to whom; "": nothing."""
        said = self._discovery.trouble(type_url, name)
        return f"{said} (node {self._bootstrap.node.id})" if said else ""

    def entries(self) -> tuple[Entry, ...]:
        """Everything that is watched, as it is known now."""
        return tuple(map(shown, self._discovery.watches.entries()))

    def ignored(self) -> tuple[str, ...]:
        """``room/resource: field path: is accepted but not acted on``."""
        return tuple(
            f"{BY_TYPE_URL[entry.type_url].room}/{entry.name}: {path}: {NOT_ACTED_ON}"
            for entry in self.entries()
            for path in entry.ignored
        )

    def status(self) -> dict[str, Any]:
        """What is known of the control plane and of each resource, as JSON values.

        ``last_good_age`` is the age in seconds of the newest resource that was accepted.
        """
        version = self._last.snapshot.version
        node = self._bootstrap.node.id
        return {"node": node, "version": version, **status_of(self._discovery, self._clock())}

    # The thread

    def _run(self) -> None:
        while not self._closed:
            self._turn()
        self._lines.close_all()

    def _turn(self) -> None:
        news = None
        try:
            news = self._next()
            self._perform(self._step(news))
            self._tell_contact()
            if isinstance(news, Received) and self._lines.of(news.stream) is not None:
                # Only now: a server must not send faster than its news are taken in.
                news.stream.read()
        except Exception as error:  # noqa: BLE001 - no surprise may end the client
            self._problem(f"surprised by {error!r}")
            self._give_up(news, f"surprised by {error!r}")

    def _tell_contact(self) -> None:
        outage = self._discovery.watches.connection_error
        if outage != self._outage:
            self._outage = outage
            self._on_contact(outage)

    def _next(self) -> News | _Wake | None:
        try:
            return self._mailbox.get(timeout=self._patience())
        except queue.Empty:
            return None

    def _patience(self) -> float | None:
        times = [t for t in (self._lines.deadline(), self._discovery.deadline()) if t is not None]
        return max(0.0, min(times) - self._clock()) if times else None

    def _step(self, news: News | _Wake | None) -> tuple[Effect, ...]:
        now = self._clock()
        if news is None:
            return self._tick(now)
        if isinstance(news, _Wake):
            with self._lock:
                names, self._unasked = self._unasked, []
            return self._discovery.watch(names, now)
        line = self._lines.of(news.stream)
        return () if line is None else self._heard(line, news, now)

    def _heard(self, line: Line, news: News, now: float) -> tuple[Effect, ...]:
        match news:
            case Sent(_, request):
                self._connected(line)
                return self._discovery.handle(line.server, RequestSent(request), now)
            case Received(_, message):
                return self._received(line, message, now)
            case Ended(_, status, unimplemented, pings):
                if pings:
                    self._lines.ping_less(line.server)
                return self._ended(line.server, status, unimplemented=unimplemented)

    def _connected(self, line: Line) -> None:
        if line.connect_by is not None:
            line.connect_by = None
            self._on_connection()

    def _tick(self, now: float) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        for line in self._lines.overdue(now):
            effects += self._ended(line.server, f"no connection within {CONNECT_TIMEOUT:g} s")
        return (*effects, *self._discovery.tick(now))

    def _received(self, line: Line, message: bytes, now: float) -> tuple[Effect, ...]:
        try:
            response = decode_response(message, delta=line.delta)
        except GarbageError as error:
            return self._ended(line.server, str(error))
        self._connected(line)
        self._lines.received(line, response)
        return self._discovery.handle(line.server, response, now)

    def _ended(
        self, server: Server, status: str, *, unimplemented: bool = False
    ) -> tuple[Effect, ...]:
        self._lines.close(server, status)
        event = StreamClosed(f"{server.server_uri}: {status}", unimplemented)
        return self._discovery.handle(server, event, self._clock())

    def _give_up(self, news: News | _Wake | None, status: str) -> None:
        """Begin anew with the server whose news were a surprise, or with all."""
        blamed = [] if news is None or isinstance(news, _Wake) else [self._lines.of(news.stream)]
        servers = [line.server for line in blamed if line is not None]
        for server in servers or [each.server for each in self._discovery.servers()]:
            self._perform(self._ended(server, status))

    def _perform(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Errand():
                    self._run_errand(effect)
                case Report(text, routine):
                    self._report(text, self._on_note if routine else self._on_problem)
                case SecretChanged():
                    self._hand_on(effect)
                case Update():
                    self._publish(effect)

    def _hand_on(self, change: SecretChanged) -> None:
        assert self._keeper is not None, "else none is asked for"
        if change.secret is None:
            self._keeper.lose(change.name)
        else:
            self._keeper.hear(change.secret)

    def _run_errand(self, errand: Errand) -> None:
        match errand.action:
            case OpenStream(delta):
                self._perform(self._open(errand.server, delta=delta))
            case SendRequest() | SendDelta() as request:
                self._lines.send(errand.server, request)
            case CloseStream():
                self._lines.close(errand.server, "not needed any more")

    def _open(self, server: Server, *, delta: bool) -> tuple[Effect, ...]:
        now = self._clock()
        try:
            self._lines.open(server, now, delta=delta)
        except (ConfigError, ValueError, OSError, RuntimeError) as error:
            return self._ended(server, str(error))
        return self._discovery.handle(server, StreamOpened(), now)

    def _publish(self, update: Update) -> None:
        self._last = update
        snapshot, absent = update.snapshot, update.absent
        try:
            self._on_update(self._by_target(snapshot), frozenset(map(self._target, absent)))
        except Exception as error:  # noqa: BLE001 - what the listener does must not stop the news
            self._problem(f"configuration {snapshot.version} cannot be applied: {error!r}")

    def _target(self, name: str) -> str:
        return self._watched.get(name, name)

    def _by_target(self, snapshot: Snapshot) -> Snapshot:
        if all(self._target(name) == name for name in snapshot.listeners):
            return snapshot
        targets = {self._target(name): each for name, each in snapshot.listeners.items()}
        listeners = {name: replace(each, name=name) for name, each in targets.items()}
        return replace(snapshot, listeners=listeners)

    def _problem(self, text: str) -> None:
        self._report(text, self._on_problem)

    def _report(self, text: str, tell: Callable[[str], None]) -> None:
        with contextlib.suppress(Exception):
            tell(f"{text} (node {self._bootstrap.node.id})")
