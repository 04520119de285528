"""What a client runs on as ``envoy.admin.v3.ConfigDump`` has it, one JSON value at a time.

What CSDS tells by a list of all, is told here by kind. A resource that there is none of (yet) has
its name, its state and the reason.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .bootstrap import Node
from .codec import encode_json
from .messages import write_node
from .protos import message_class, to_json
from .types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SECRET
from .watches import Entry

ADMIN = "type.googleapis.com/envoy.admin.v3"
Wall = Callable[[float], float]
Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """``active`` and ``missing`` are the lists of what is there and what is not."""

    type_url: str
    dump: str
    active: str
    missing: str
    resource: str
    name: str = "name"
    named: bool = False

    def entry(self, entry: Entry, wall: Wall) -> Value:
        made: Value = {"name": entry.name} if self.named else {}
        if self.type_url == LISTENER:
            return made | self._listener(entry, wall) | _state(entry, wall)
        return made | self._content(entry, wall) | _state(entry, wall)

    def _listener(self, entry: Entry, wall: Wall) -> Value:
        if entry.resource is None:
            return {}
        return {"active_state": self._content(entry, wall)}

    def _content(self, entry: Entry, wall: Wall) -> Value:
        if entry.resource is None:
            return {self.resource: {"@type": self.type_url, self.name: entry.name}}
        made: Value = {"version_info": entry.version, self.resource: encode_json(entry.resource)}
        if entry.updated is not None:
            made["last_updated"] = moment(wall(entry.updated))
        return made


ACTIVE_CLUSTERS, WARMING_CLUSTERS = "dynamic_active_clusters", "dynamic_warming_clusters"
ACTIVE_SECRETS, WARMING_SECRETS = "dynamic_active_secrets", "dynamic_warming_secrets"
ENDPOINTS, ROUTES = "dynamic_endpoint_configs", "dynamic_route_configs"
LISTENERS = "dynamic_listeners"
ECDS = "ecds_filters"
KINDS = (  # in Envoy's order
    Kind(CLUSTER, "ClustersConfigDump", ACTIVE_CLUSTERS, WARMING_CLUSTERS, "cluster"),
    Kind(ENDPOINT, "EndpointsConfigDump", ENDPOINTS, ENDPOINTS, "endpoint_config", "cluster_name"),
    Kind(LISTENER, "ListenersConfigDump", LISTENERS, LISTENERS, "listener", named=True),
    Kind(ROUTE, "RoutesConfigDump", ROUTES, ROUTES, "route_config"),
    Kind(SECRET, "SecretsConfigDump", ACTIVE_SECRETS, WARMING_SECRETS, "secret", named=True),
    Kind(EXTENSION, "EcdsConfigDump", ECDS, ECDS, "ecds_filter"),
)


def dumps(
    entries: Iterable[Entry], wall: Wall
) -> Iterator[tuple[Value, Mapping[str, Iterator[Value]]]]:
    """One of each kind, with its lists."""
    found = tuple(entries)
    for kind in KINDS:
        own = [entry for entry in found if entry.type_url == kind.type_url]
        lists: dict[str, list[Entry]] = {kind.active: [], kind.missing: []}
        for entry in own:
            lists[kind.missing if entry.resource is None else kind.active].append(entry)
        yield (
            {"@type": f"{ADMIN}.{kind.dump}"},
            {name: _told(kind, each, wall) for name, each in lists.items() if each},
        )


def _told(kind: Kind, entries: Iterable[Entry], wall: Wall) -> Iterator[Value]:
    for entry in entries:
        yield kind.entry(entry, wall)


def bootstrap_dump(node: Node) -> Value:
    """Of the bootstrap, who the client says that it is."""
    return {"@type": f"{ADMIN}.BootstrapConfigDump", "bootstrap": {"node": node_json(node)}}


def node_json(node: Node) -> Value:
    """``envoy.config.core.v3.Node``."""
    made = message_class("envoy.config.core.v3.Node")()
    write_node(node, made)
    return to_json(made)


def moment(seconds: float) -> str:
    """A ``google.protobuf.Timestamp`` of seconds since 1970."""
    found = datetime.fromtimestamp(seconds, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _state(entry: Entry, wall: Wall) -> Value:
    made: Value = {"client_status": entry.state.value}
    if entry.error:
        state: Value = {"details": entry.error, "version_info": entry.rejected_version}
        if entry.rejected_at is not None:
            state["last_update_attempt"] = moment(wall(entry.rejected_at))
        made["error_state"] = state
    return made
