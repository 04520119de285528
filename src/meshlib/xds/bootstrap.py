"""The gRPC xDS bootstrap: which control plane, and who we are to it (gRFC A27, A47)."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, Problem
from ._fields import Fields
from .bootstrap_servers import TRUSTED, CertificateProvider, Server, read_providers, read_servers
from .names import SCHEME, canonical, listener_name, parse
from .names import authority as authority_of

__all__ = ["Authority", "Bootstrap", "CertificateProvider", "Node", "Server"]

DEFAULT_CLIENT_TEMPLATE = "%s"
INBOUND = "inbound"
XDS = "xds://"


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
class Authority:
    """Who answers for ``xdstp://name/…`` (gRFC A47)."""

    xds_servers: tuple[Server, ...]
    client_listener_resource_name_template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """``xds_servers`` are in order of preference (gRFC A71), those of authorities too."""

    xds_servers: tuple[Server, ...]
    node: Node = Node()
    certificate_providers: Mapping[str, CertificateProvider] = field(default_factory=dict)
    authorities: Mapping[str, Authority] = field(default_factory=dict)
    client_default_listener_resource_name_template: str = DEFAULT_CLIENT_TEMPLATE
    server_listener_resource_name_template: str = ""

    @property
    def ignored(self) -> tuple[str, ...]:
        """The fields that are set and have no effect."""
        found = [f"certificate_providers.{name}" for name in self.certificate_providers]
        if "%s" in self.server_listener_resource_name_template:
            found.append("server_listener_resource_name_template")  # one listener for all ports
        for index, server in enumerate(self.xds_servers):
            found += [f"xds_servers[{index}].{path}" for path in server.ignored]
        for name, authority in self.authorities.items():
            for index, server in enumerate(authority.xds_servers):
                where = f"authorities.{name}.xds_servers[{index}]"
                found += [f"{where}.{path}" for path in server.ignored]
        return tuple(f"bootstrap: {path}" for path in dict.fromkeys(found))

    @property
    def servers(self) -> dict[str | None, tuple[Server, ...]]:
        """Of each authority; ``None`` is for names of the old style."""
        found: dict[str | None, tuple[Server, ...]] = {None: self.xds_servers}
        return found | {name: each.xds_servers for name, each in self.authorities.items()}

    def listener_of(self, target: str) -> str:
        """The name under which the control plane keeps the listener of a target.

        Raises :class:`ConfigError` for a name of an authority that nobody can be asked for.
        """
        if target == INBOUND:
            return self.inbound or INBOUND
        name = canonical(target)
        if target.startswith(XDS):
            asked, _, target = target.removeprefix(XDS).partition("/")
            name = listener_name(self._authority(asked, target), target)
        elif not target.startswith(f"{SCHEME}:"):
            name = listener_name(self.client_default_listener_resource_name_template, target)
        if (asked_of := authority_of(name)) is not None:
            self._authority(asked_of, name)
        return name

    def _authority(self, asked: str, name: str) -> str:
        """The template of an authority."""
        if asked not in self.authorities:
            raise ConfigError(f"{name!r}: the bootstrap has no authority {asked!r}")
        return self.authorities[asked].client_listener_resource_name_template

    @property
    def inbound(self) -> str:
        """The name of the listener that this member obeys as a server; "" asks for none."""
        template = self.server_listener_resource_name_template
        return "" if "%s" in template else canonical(template)

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
        delta: bool | None = None,
    ) -> "Bootstrap":
        """One plaintext server, and a node that tells what Istio's nodes tell of themselves.

        Who names the server alone trusts it.
        """
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
        return cls(
            xds_servers=(Server(server_uri=server_uri, delta=delta, server_features=(TRUSTED,)),),
            node=node,
            server_listener_resource_name_template=INBOUND,
        )


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
    servers = read_servers(fields)
    if not servers and not problems:
        fields.blame("xds_servers", "needs at least one server")
    default_template = "client_default_listener_resource_name_template"
    authorities = fields.child("authorities")
    made = Bootstrap(
        xds_servers=servers,
        node=_node(fields.child("node")),
        certificate_providers=read_providers(fields.child("certificate_providers")),
        authorities={
            name: _authority(name, authorities.child(name), servers) for name in authorities.names()
        },
        client_default_listener_resource_name_template=_template(
            fields, default_template, DEFAULT_CLIENT_TEMPLATE
        ),
        server_listener_resource_name_template=fields.text(
            "server_listener_resource_name_template"
        ),
    )
    asked = authority_of(made.client_default_listener_resource_name_template)
    if asked is not None and asked not in made.authorities:
        fields.blame(default_template, f"there is no authority {asked!r}")
    if problems:
        raise ConfigError(*problems)
    return made


def _authority(name: str, fields: Fields, servers: tuple[Server, ...]) -> Authority:
    """Without servers of its own an authority is answered by the default ones."""
    start = f"{SCHEME}://{name}/"
    key = "client_listener_resource_name_template"
    template = _template(fields, key, f"{start}envoy.config.listener.v3.Listener/%s")
    if not template.startswith(start):
        fields.blame(key, f"must begin with {start!r}")
    return Authority(
        xds_servers=read_servers(fields) or servers,
        client_listener_resource_name_template=template,
    )


def _template(fields: Fields, key: str, default: str) -> str:
    template = fields.text(key) or default
    if template.startswith(f"{SCHEME}:"):
        try:
            parse(template)
        except ConfigError as error:
            fields.blame(key, str(error))
    return template


def _node(fields: Fields) -> Node:
    locality = fields.child("locality")
    places = {name: locality.text(name) for name in ("region", "zone", "sub_zone")}
    return Node(
        id=fields.text("id"),
        cluster=fields.text("cluster"),
        metadata=fields.json("metadata"),
        locality={name: text for name, text in places.items() if text},
        user_agent_name=fields.text("user_agent_name", "meshlib"),
        user_agent_version=fields.text("user_agent_version"),
    )
