"""Who is connected, what each was sent, and what it said to that."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..clock import Clock
from .discovery import Nack
from .loads import Loads
from .metrics import Metrics, metric
from .node import Node
from .profiles import Downgrade
from .registry import Registry
from .subscriptions import Subscriptions
from .type_names import SHORT, short
from .type_subscription import TypeSubscription
from .vitals import vitals

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
            "protocol": "delta" if self.subscriptions.delta else "sotw",
            "connected_seconds": round(now - self.connected, 3),
            "last_seen_seconds": round(now - self.last_seen, 3),
            "types": {short(url): _type(types[url]) for url in _known_first(types)},
        }


@dataclass(frozen=True, slots=True)
class RecordedNack:
    at: float
    client: str
    nack: Nack

    def to_dict(self, now: float) -> dict[str, Any]:
        return {
            "seconds_ago": round(now - self.at, 3),
            "client": self.client,
            "type": short(self.nack.type_url),
            "version": self.nack.version,
            "resources": list(self.nack.resources),
            "text": self.nack.text,
        }


class Status:
    """The control plane's memory of its clients, bounded."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.version = ""
        self.version_since = clock()
        self.errors: tuple[str, ...] = ()
        self.clients: list[Client] = []
        self.nacks: deque[RecordedNack] = deque(maxlen=MAX_NACKS)
        self.downgrades: dict[Downgrade, None] = {}
        self.metrics = Metrics()
        self.loads = Loads(clock)
        self.registry: Registry | None = None

    @contextmanager
    def connected(self, node: Node, peer: str, subscriptions: Subscriptions) -> Iterator[Client]:
        now = self.clock()
        client = Client(node, peer, now, now, subscriptions)
        self.clients.append(client)
        try:
            yield client
        finally:
            self.clients.remove(client)

    def applied(self, version: str) -> None:
        """This is in force from now on."""
        self.version, self.version_since = version, self.clock()
        self.errors = ()
        self.metrics.applied += 1

    def refused(self, errors: tuple[str, ...]) -> None:
        """An edit that is not put in force."""
        self.errors = errors
        self.metrics.refused_edits += 1

    def nacked(self, client: Client, nack: Nack) -> None:
        self.nacks.append(RecordedNack(self.clock(), client.node.id, nack))
        self.metrics.nacks[short(nack.type_url)] += 1

    def is_new(self, downgrade: Downgrade) -> bool:
        """Remember it; each is reported once."""
        if downgrade in self.downgrades or len(self.downgrades) >= MAX_DOWNGRADES:
            return False
        self.downgrades[downgrade] = None
        return True

    def to_dict(self) -> dict[str, Any]:
        now = self.clock()
        return {
            "version": self.version,
            "applied": self.metrics.applied,
            "errors": list(self.errors),
            "clients": [client.to_dict(now) for client in self.clients],
            "nacks": [past.to_dict(now) for past in self.nacks],
            "downgrades": [str(downgrade) for downgrade in self.downgrades],
            "loads": self.loads.by_cluster(),
            "registered": self.registry.to_dicts() if self.registry is not None else [],
        }

    def prometheus(self) -> str:
        kinds = Counter((str(c.node.kind), c.subscriptions.delta) for c in self.clients)
        streams = [
            ((("kind", kind), ("protocol", "delta" if delta else "sotw")), count)
            for (kind, delta), count in sorted(kinds.items())
        ]
        rejecting = sum(
            any(state.nack for state in c.subscriptions.types.values()) for c in self.clients
        )
        age = self.clock() - self.version_since
        lines = [
            *metric("streams", "gauge", "Open streams of clients.", streams),
            *metric("rejecting_streams", "gauge", "Streams with a NACK.", [((), rejecting)]),
            *self.metrics.lines(),
            *vitals(),
            *self.loads.lines(),
        ]
        if self.registry is not None:
            states = Counter(lease.state for lease in self.registry.leases.values())
            samples = [((("state", state),), n) for state, n in sorted(states.items())]
            lines += metric("registered_workloads", "gauge", "Those that live.", samples)
        if self.version:
            label = (("version", self.version),)
            lines += metric("config_info", "gauge", "The version in force.", [(label, 1)])
            lines += metric("config_age_seconds", "gauge", "Since when.", [((), round(age, 3))])
        return "\n".join(lines) + "\n"


def _known_first(types: dict[str, TypeSubscription]) -> list[str]:
    return [*(url for url in SHORT if url in types), *sorted(types.keys() - SHORT.keys())]


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
