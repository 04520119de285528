"""The gRPC xDS bootstrap: which control plane, and who we are to it (gRFC A27, A47, A65)."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, Problem
from ._fields import Fields

SUPPORTED_CREDS = ("insecure", "tls")
DEFAULT_CLIENT_TEMPLATE = "%s"


@dataclass(frozen=True, slots=True)
class ChannelCreds:
    """``insecure`` or ``tls``; ``config`` is that of gRFC A65."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    server_uri: str
    channel_creds: ChannelCreds = ChannelCreds("insecure")
    server_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """``envoy.config.core.v3.Node``; ``metadata`` is any JSON object."""

    id: str = ""
    cluster: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    locality: Mapping[str, str] = field(default_factory=dict)
    user_agent_name: str = "meshlib"
    user_agent_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """``certificate_providers`` and ``authorities`` are kept as they were written."""

    xds_servers: tuple[Server, ...]
    node: Node = Node()
    certificate_providers: Mapping[str, Any] = field(default_factory=dict)
    authorities: Mapping[str, Any] = field(default_factory=dict)
    client_default_listener_resource_name_template: str = DEFAULT_CLIENT_TEMPLATE
    server_listener_resource_name_template: str = ""

    @property
    def ignored(self) -> tuple[str, ...]:
        """The fields that are set and have no effect: servers get no configuration yet."""
        names = ("certificate_providers", "server_listener_resource_name_template")
        return tuple(f"bootstrap: {name}" for name in names if getattr(self, name))

    @classmethod
    def load(cls, source: str | os.PathLike[str] | Mapping[str, Any]) -> "Bootstrap":
        """Read a file, JSON text (it begins with "{"), or what was read already.

        Raises :class:`ConfigError` with every problem and its place.
        """
        if isinstance(source, Mapping):
            return _bootstrap(source, "bootstrap")
        text = os.fspath(source)
        if text.lstrip().startswith("{"):
            return _bootstrap(_json(text, "bootstrap"), "bootstrap")
        path = Path(text)
        try:
            return _bootstrap(_json(path.read_text(encoding="utf-8"), path.name), path.name)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(Problem(text, f"cannot be read: {error}")) from error

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Bootstrap | None":
        """``GRPC_XDS_BOOTSTRAP`` (a file), else ``GRPC_XDS_BOOTSTRAP_CONFIG`` (JSON text)."""
        if path := environ.get("GRPC_XDS_BOOTSTRAP"):
            return cls.load(Path(path))
        if text := environ.get("GRPC_XDS_BOOTSTRAP_CONFIG"):
            where = "GRPC_XDS_BOOTSTRAP_CONFIG"
            return _bootstrap(_json(text, where), where)
        return None

    @classmethod
    def for_server(
        cls,
        server_uri: str,
        *,
        node_id: str = "",
        namespace: str = "default",
        labels: Mapping[str, str] | None = None,
        service: str = "",
        locality: Mapping[str, str] | None = None,
    ) -> "Bootstrap":
        """One plaintext server, and a node that tells what Istio's nodes tell of themselves."""
        metadata = {
            "NAMESPACE": namespace,
            "LABELS": dict(labels or {}),
            "WORKLOAD_NAME": service,
            "GENERATOR": "grpc",
        }
        node = Node(
            id=node_id or _node_id(service or "meshlib", namespace),
            cluster=f"{service or 'meshlib'}.{namespace}",
            metadata=metadata,
            locality=dict(locality or {}),
        )
        return cls(xds_servers=(Server(server_uri=server_uri),), node=node)


def _node_id(service: str, namespace: str) -> str:
    """Istio's shape (type~address~name~domain); one per process."""
    name = f"{service}-{socket.gethostname()}-{os.getpid()}.{namespace}"
    return f"sidecar~127.0.0.1~{name}~{namespace}.svc.cluster.local"


def _json(text: str, where: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}:{error.colno}"
        raise ConfigError(Problem(place, f"not JSON: {error.msg}")) from error
    except RecursionError as error:
        raise ConfigError(Problem(where, "nested too deeply")) from error
    if not isinstance(parsed, dict):
        raise ConfigError(Problem(where, "must be a JSON object"))
    return parsed


def _bootstrap(parsed: Mapping[str, Any], where: str) -> Bootstrap:
    problems: list[Problem] = []
    fields = Fields(parsed, f"{where}:", problems)
    servers = tuple(_server(each) for each in fields.objects("xds_servers"))
    if not servers and not problems:
        fields.blame("xds_servers", "needs at least one server")
    template = "client_default_listener_resource_name_template"
    made = Bootstrap(
        xds_servers=servers,
        node=_node(fields.child("node")),
        certificate_providers=fields.object("certificate_providers"),
        authorities=fields.object("authorities"),
        client_default_listener_resource_name_template=fields.text(
            template, DEFAULT_CLIENT_TEMPLATE
        ),
        server_listener_resource_name_template=fields.text(
            "server_listener_resource_name_template"
        ),
    )
    if made.client_default_listener_resource_name_template != DEFAULT_CLIENT_TEMPLATE:
        # Asking for the plain name instead would be asking for another listener.
        fields.blame(template, f"only {DEFAULT_CLIENT_TEMPLATE!r} is supported yet")
    if problems:
        raise ConfigError(*problems)
    return made


def _server(fields: Fields) -> Server:
    return Server(
        server_uri=fields.required_text("server_uri"),
        channel_creds=_creds(fields),
        server_features=fields.texts("server_features"),
    )


def _creds(fields: Fields) -> ChannelCreds:
    """The first type in the list that we can do, as gRPC picks it."""
    listed = fields.objects("channel_creds")
    for each in listed:
        if (kind := each.text("type")) in SUPPORTED_CREDS:
            return ChannelCreds(kind, each.object("config"))
    names = ", ".join(each.text("type") or "(none)" for each in listed) or "nothing"
    fields.blame("channel_creds", f"lists {names}; supported are {' and '.join(SUPPORTED_CREDS)}")
    return ChannelCreds("insecure")


def _node(fields: Fields) -> Node:
    locality = fields.child("locality")
    places = {name: locality.text(name) for name in ("region", "zone", "sub_zone")}
    return Node(
        id=fields.text("id"),
        cluster=fields.text("cluster"),
        metadata=fields.object("metadata"),
        locality={name: text for name, text in places.items() if text},
        user_agent_name=fields.text("user_agent_name", "meshlib"),
        user_agent_version=fields.text("user_agent_version"),
    )
