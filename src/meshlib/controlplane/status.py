"""Who is connected, what each was sent, and what it said to that."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..clock import Clock
from .node import Node
from .profiles import Downgrade
from .subscriptions import Nack, Subscriptions, TypeSubscription
from .versions import TYPES

MAX_NACKS = 100
MAX_DOWNGRADES = 1000


@dataclass(slots=True, eq=False)
class Client:
    """One open stream."""

    node: Node
    peer: str
    connected: float
    last_seen: float
    subscriptions: Subscriptions

    def to_dict(self, now: float) -> dict[str, Any]:
        types = self.subscriptions.types
        return {
            "id": self.node.id,
            "kind": str(self.node.kind),
            "user_agent": f"{self.node.user_agent_name} {self.node.user_agent_version}".strip(),
            "namespace": self.node.namespace,
            "labels": dict(self.node.labels),
            "peer": self.peer,
            "connected_seconds": round(now - self.connected, 3),
            "last_seen_seconds": round(now - self.last_seen, 3),
            "types": {short(url): _type(types[url]) for url in TYPES if url in types},
        }


@dataclass(frozen=True, slots=True)
class RecordedNack:
    at: float
    client: str
    type_url: str
    nack: Nack


class Status:
    """The control plane's memory of its clients, bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.version = ""
        self.applied = 0
        self.errors: tuple[str, ...] = ()
        self.clients: list[Client] = []
        self.nacks: deque[RecordedNack] = deque(maxlen=MAX_NACKS)
        self.downgrades: dict[Downgrade, None] = {}

    @contextmanager
    def connected(self, node: Node, peer: str, subscriptions: Subscriptions) -> Iterator[Client]:
        now = self._clock()
        client = Client(node, peer, now, now, subscriptions)
        self.clients.append(client)
        try:
            yield client
        finally:
            self.clients.remove(client)

    def seen(self, client: Client, type_url: str, nack: Nack | None) -> None:
        client.last_seen = self._clock()
        if nack is not None:
            self.nacks.append(RecordedNack(client.last_seen, client.node.id, type_url, nack))

    def is_new(self, downgrade: Downgrade) -> bool:
        """Remember it; each is reported once."""
        if downgrade in self.downgrades or len(self.downgrades) >= MAX_DOWNGRADES:
            return False
        self.downgrades[downgrade] = None
        return True

    def to_dict(self) -> dict[str, Any]:
        now = self._clock()
        return {
            "version": self.version,
            "applied": self.applied,
            "errors": list(self.errors),
            "clients": [client.to_dict(now) for client in self.clients],
            "nacks": [
                {
                    "seconds_ago": round(now - past.at, 3),
                    "client": past.client,
                    "type": short(past.type_url),
                    "version": past.nack.version,
                    "resources": list(past.nack.resources),
                    "text": past.nack.text,
                }
                for past in self.nacks
            ],
            "downgrades": [str(downgrade) for downgrade in self.downgrades],
        }


def short(type_url: str) -> str:
    """``lds``, ``rds``, ``cds`` or ``eds``."""
    return SHORT.get(type_url, type_url)


SHORT = dict(zip(TYPES, ("cds", "eds", "lds", "rds"), strict=True))


def _type(state: TypeSubscription) -> dict[str, Any]:
    return {
        "state": _state(state),
        "sent": state.sent_version,
        "acked": state.acked_version,
        "resources": len(state.sent),
        "subscribed": "*" if state.wildcard else sorted(state.names),
        "nack": None
        if state.nack is None
        else {
            "version": state.nack.version,
            "text": state.nack.text,
            "resources": list(state.nack.resources),
        },
    }


def _state(state: TypeSubscription) -> str:
    if state.nack is not None:
        return "NACK"
    if not state.nonce:
        return "NOT SENT"
    return "SENT" if state.in_flight else "ACK"
