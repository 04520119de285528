"""One client's stream: a reader that only notes, and a writer that pulls what is due."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from ..xds.types import LISTENER
from .discovery import Nack, Response
from .limits import Limits, TokenBucket
from .messages import message_of, request_of, shown, takes_ttl
from .node import ClientKind, Node
from .sds import Own
from .status import Client, Status
from .subscriptions import Subscriptions
from .type_names import SECRET, short
from .versions import PackedSnapshot

BEATS = 3.0
"""So often a client hears of what lives before it would forget it."""
SHORTEST_BEAT = 0.05
PATIENCE = 1.0
"""Seconds that a client has to give up by itself a cluster that is gone."""
LOG = logging.getLogger("meshlib.controlplane")

Wire = Callable[[str, dict[str, Any]], None]
"""Is shown each message: ``"request"`` or ``"response"``, and its content with its stream's
number and encoding, resources by name and version only; and ``"closed"``, the stream's end."""
OnNack = Callable[[Node, Nack], None]
OnListeners = Callable[[Node, AbstractSet[str]], None]
"""Hears which listeners a client wants by name."""


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears of what clients say."""

    on_nack: OnNack
    on_listeners: OnListeners | None = None
    wire: Wire | None = None


class Stream:
    """``type_url`` is that of a service of one type; the aggregated service serves all."""

    def __init__(  # noqa: PLR0913 - one keyword an option
        self,
        number: int,
        node: Node,
        status: Status,
        limits: Limits,
        *,
        delta: bool,
        type_url: str,
        ears: Ears,
        settling: Callable[[], bool],
        secrets: Own | None = None,
    ) -> None:
        # Others than meshlib may not know the field that says so in a state of the world.
        tells_missing = node.kind is ClientKind.MESHLIB
        warms = node.kind is ClientKind.ENVOY
        self.subscriptions = Subscriptions(
            delta=delta,
            tells_missing=tells_missing,
            warms=warms,
            settling=settling,
            may_part=self._may_part,
        )
        self._number = number
        self._node = node
        self._status = status
        self._limits = limits
        self._type_url = type_url
        self._ears = ears
        self._wire = ears.wire
        self._requests = TokenBucket(limits.requests, limits.requests_per_second, status.clock)
        self._news = asyncio.Event()
        self._closed = False
        self._unserved: set[str] = set()
        self._listeners: frozenset[str] = frozenset()
        self._told: dict[str, Nack] = {}
        self._due_since: float | None = None
        self._sent_at: dict[str, float] = {}
        self._timers: list[asyncio.TimerHandle] = []
        self._pause: asyncio.TimerHandle | None = None
        self._snapshot: PackedSnapshot | None = None
        self._held: tuple[float, PackedSnapshot] | None = None
        self._is_slow = False
        self._partings: dict[str, float] = {}
        self._heart: asyncio.TimerHandle | None = None
        self._beat_every = 0.0
        self._secrets = secrets

    def publish(self, snapshot: PackedSnapshot) -> None:
        """The newest is told; those that a slow client has not read yet are passed over.

        The first change is told at once, those on its heels together.
        """
        now = self._status.clock()
        if self._pause is not None:
            self._held = (self._held[0] if self._held is not None else now, snapshot)
            return
        is_first = self._snapshot is None
        self._offer(now, snapshot)
        if self._limits.debounce and not is_first:
            self._pause = asyncio.get_running_loop().call_later(self._limits.debounce, self._resume)

    def _resume(self) -> None:
        self._pause = None
        if self._held is not None:
            (since, snapshot), self._held = self._held, None
            self.publish(snapshot)
            if self._due_since is not None:
                self._due_since = min(self._due_since, since)

    def _offer(self, now: float, snapshot: PackedSnapshot) -> None:
        self._snapshot = snapshot
        self.subscriptions.publish(self._with_secrets(snapshot))
        if not self.subscriptions.is_due:
            return
        if self._due_since is None:
            self._due_since = now
        self._news.set()

    def _with_secrets(self, snapshot: PackedSnapshot) -> PackedSnapshot:
        return snapshot if self._secrets is None else self._secrets.beside(snapshot)

    def _secrets_changed(self) -> None:
        if self._snapshot is not None:
            self._offer(self._status.clock(), self._snapshot)

    def close(self) -> None:
        self._closed = True
        self._news.set()

    def close_after(self, seconds: float) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self.close))

    async def converse(
        self, client: Client, first: Any, messages: AsyncIterator[Any], grpc_call: Any
    ) -> None:
        self._receive(client, first)
        reader = asyncio.create_task(self._read(client, messages))
        try:
            while not self._closed:
                await self._news.wait()
                self._news.clear()
                await self._write_due(grpc_call)
            if reader.done():
                reader.result()
        finally:
            for timer in (*self._timers, self._pause, self._heart):
                if timer is not None:
                    timer.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            if self._secrets is not None:
                self._secrets.close()
            if self._wire is not None:
                self._wire("closed", self._place())

    def _place(self) -> dict[str, Any]:
        return {"stream": self._number, "delta": self.subscriptions.delta}

    def _may_part(self, cluster: str) -> bool:
        """Asked again and again; the first time its patience begins."""
        now = self._status.clock()
        until = self._partings.get(cluster)
        if until is not None and until <= now < until + PATIENCE:
            del self._partings[cluster]
            return True
        if until is None or now >= until:
            waiting = {name: over for name, over in self._partings.items() if now < over + PATIENCE}
            self._partings = {**waiting, cluster: now + PATIENCE}
            asyncio.get_running_loop().call_later(PATIENCE, self.wake)
        return False

    def wake(self) -> None:
        self._news.set()

    async def _read(self, client: Client, messages: AsyncIterator[Any]) -> None:
        try:
            async for message in messages:
                if not self._is_answer(message):
                    await asyncio.sleep(self._requests.take())
                self._receive(client, message)
        finally:
            self.close()

    def _is_answer(self, message: Any) -> bool:
        """Answers come as often as we speak; they need no limit of their own."""
        state = self.subscriptions.types.get(message.type_url or self._type_url)
        return state is not None and state.in_flight and message.response_nonce == state.nonce

    def _receive(self, client: Client, message: Any) -> None:
        request = request_of(message, self._type_url, delta=self.subscriptions.delta)
        if self._wire is not None:
            said = MessageToDict(message, preserving_proto_field_name=True)
            self._wire("request", {**self._place(), **said, "type_url": request.type_url})
        is_answer = self._is_answer(message)
        client.last_seen = self._status.clock()
        nack = self.subscriptions.receive(request)
        if request.type_url == LISTENER:
            self._tell_listeners()
        if request.type_url == SECRET and self._secrets is not None:
            self._secrets.ask(self.subscriptions.types[SECRET].names, self._secrets_changed)
        if is_answer:
            metrics, sent_at = self._status.metrics, self._sent_at.pop(request.type_url, None)
            metrics.acks[short(request.type_url)] += nack is None
            if sent_at is not None:
                metrics.ack_seconds.observe(client.last_seen - sent_at)
        if nack is not None:
            self._tell(client, nack)
        self._tell_unserved(request.type_url)
        self._news.set()

    def _tell(self, client: Client, nack: Nack) -> None:
        self._status.nacked(client, nack)
        level = logging.WARNING if self._told.get(nack.type_url) != nack else logging.DEBUG
        self._told[nack.type_url] = nack
        named = ", ".join(nack.resources)
        kind = short(nack.type_url)
        said = "%s refused %s %s (%s): %s"
        LOG.log(level, said, self._node.id, kind, nack.version, named, nack.text)
        self._ears.on_nack(self._node, nack)

    def _tell_listeners(self) -> None:
        names = frozenset(self.subscriptions.types[LISTENER].names)
        if self._ears.on_listeners is not None and names != self._listeners:
            self._listeners = names
            self._ears.on_listeners(self._node, names)

    def _tell_unserved(self, type_url: str) -> None:
        served = self._snapshot is None or type_url in self._snapshot.types
        served = served or (type_url == SECRET and self._secrets is not None)
        if not served and type_url not in self._unserved:
            self._unserved.add(type_url)
            LOG.info("%s asks for %s, of which there is nothing", self._node.id, short(type_url))

    async def _write_due(self, grpc_call: Any) -> None:
        subscriptions = self.subscriptions
        while not self._closed:
            response = subscriptions.next_response()
            if response is None:
                return
            message = message_of(response, self._node, delta=subscriptions.delta)
            if self._wire is not None:
                self._wire("response", {**self._place(), **shown(response)})
            await self._write(grpc_call, message)
            if takes_ttl(self._node, delta=subscriptions.delta):
                self._keep_alive(response)
            now, metrics = self._status.clock(), self._status.metrics
            metrics.pushes[short(response.type_url)] += 1
            self._sent_at[response.type_url] = now
            if self._due_since is not None and not subscriptions.is_due:
                metrics.push_seconds.observe(now - self._due_since)
                self._due_since = None

    def _keep_alive(self, response: Response) -> None:
        """From now on word is sent of what the client would forget otherwise."""
        ttl = min((r.ttl for r in response.resources if r.ttl is not None), default=None)
        if ttl is None:
            return
        every = max(ttl / BEATS, SHORTEST_BEAT)
        if self._heart is None or every < self._beat_every:
            self._beat_every = every
            self._beat_later()

    def _beat_later(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
        self._heart = asyncio.get_running_loop().call_later(self._beat_every, self._beat)

    def _beat(self) -> None:
        self._heart = None
        if self.subscriptions.beat():
            self._beat_later()
            self._news.set()

    async def _write(self, grpc_call: Any, message: Any) -> None:
        """Raises :class:`TimeoutError` once a client that read too late has read.

        A write is never given up: gRPC bears no status beside one that is under way, and sends
        none before the client has read what comes first.
        """
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._limits.push_timeout, self._gave_up)
        try:
            await grpc_call.write(message)
        finally:
            timer.cancel()
        if self._is_slow:
            raise TimeoutError

    def _gave_up(self) -> None:
        self._is_slow = True
        self._status.metrics.refused_streams["slow"] += 1
        LOG.warning("%s reads too slowly; its stream is ended", self._node.id)
        self.close()
