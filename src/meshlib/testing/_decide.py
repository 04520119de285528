"""A verdict without a call: what the real engine would do with a request under a configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..clock import Dice
from ..dataplane import Decision, Engine, Options, Request
from ..dataplane import decide as decided
from ..errors import ConfigError
from ..model import (
    HttpConnectionManager,
    Listener,
    Locality,
    Metadata,
    Rds,
    Snapshot,
    Struct,
    Value,
    gather,
)
from ..xds.regex import finditer, fullmatch
from .clock import FakeClock
from .dice import always

Documents = Sequence[Mapping[str, Any]]
Config = Snapshot | Documents
"""Istio manifests or xDS resources as dicts, or what either comes to."""
Source = tuple[str, Mapping[str, str]] | Mapping[str, Any] | str
"""Who calls: ``(namespace, labels)``, a service's name, or ``{"namespace": …, "labels": …,
"locality": "region/zone/sub_zone"}``."""


def decide(  # noqa: PLR0913 - all that a request may be told by
    config: Config,
    *,
    method: str = "GET",
    url: str = "http://reviews:9080/",
    headers: Mapping[str, str] | None = None,
    source: Source | None = None,
    dice: Dice | None = None,
    remote_address: str = "",
    dynamic_metadata: Mapping[str, Any] | None = None,
    runtime: Mapping[str, int] | None = None,
) -> Decision:
    """Route a request by Istio manifests, or by xDS resources in proto-JSON; nothing is sent.

    ``grpc://host:port/package.Service/Method`` asks for a gRPC call. Without ``dice`` every roll
    is 0: the first of weighted clusters is taken. Resources without any listener are taken as
    the routes of whatever host the URL names. ``remote_address`` is the caller's, with its port;
    ``dynamic_metadata`` what filters would have said of the request, by namespace; ``runtime``
    gives keys of runtime fractions another value, in per cent.

    Raises :class:`meshlib.ConfigError` for a configuration that would be refused.
    """
    from ..mesh import request_for

    request = replace(
        request_for(method, url, headers),
        source=remote_address,
        dynamic_metadata=metadata_of(dynamic_metadata) if dynamic_metadata else None,
    )
    snapshot = listening(snapshot_of(config, source), request)
    engine = Engine(
        clock=FakeClock(),
        dice=dice or always(0.0),
        options=Options(
            complete=True,
            passthrough=is_open(config),
            regex=fullmatch,
            finditer=finditer,
            runtime=runtime or {},
        ),
    )
    engine.apply(snapshot)
    return decided(engine, request)


def snapshot_of(config: Config, source: Source | None = None) -> Snapshot:
    """What the data plane of ``source`` is given of a configuration."""
    if isinstance(config, Snapshot):
        return config
    xds = [document for document in config if "@type" in document]
    if not xds:
        return _compiled(config, source)
    if len(xds) < len(config):
        raise ConfigError("manifests and xDS resources do not mix: only some have an '@type'")
    from ..xds.codec import decode_snapshot

    return decode_snapshot(xds)


def _compiled(documents: Documents, source: Source | None) -> Snapshot:
    from ..controlplane import Scope, compile_snapshot, errors_of, load_documents

    world = load_documents(documents)
    errors = errors_of(world)
    if errors:
        raise ConfigError(*errors)
    namespace, labels = _standing(source)
    place = source.get("locality", "") if isinstance(source, Mapping) else ""
    scope = Scope(namespace, tuple(sorted(labels.items())), Locality(*place.split("/")))
    return compile_snapshot(world, scope)


def _standing(source: Source | None) -> tuple[str, Mapping[str, str]]:
    match source:
        case None:
            return "default", {}
        case str():
            service, _, namespace = source.partition(".")
            return namespace.partition(".")[0] or "default", {"app": service}
        case (str() as namespace, Mapping() as labels):
            return namespace, labels
        case Mapping():
            return source.get("namespace", "default"), source.get("labels", {})
        case _:
            raise TypeError(f"a source is (namespace, labels), a dict or a name, not {source!r}")


def is_open(config: Config) -> bool:
    """May hosts be called that are not of the mesh (ALLOW_ANY)?"""
    if isinstance(config, Snapshot) or any("@type" in document for document in config):
        return True
    from ..controlplane import load_documents

    return load_documents(config).mesh_config.outbound_traffic_policy != "REGISTRY_ONLY"


def metadata_of(namespaces: Mapping[str, Any]) -> Metadata:
    """As filters would have set it."""
    structs = {name: _value(held) for name, held in sorted(namespaces.items())}
    return Metadata(tuple((n, held) for n, held in structs.items() if isinstance(held, Struct)))


def _value(found: Any) -> Value:
    match found:
        case Mapping():
            return Struct(tuple((name, _value(found[name])) for name in sorted(found)))
        case list() | tuple():
            return tuple(_value(each) for each in found)
        case bool() | str() | None:
            return found
        case _:
            return float(found)


def listening(snapshot: Snapshot, request: Request) -> Snapshot:
    """The snapshot with a listener for the request's target, where it has none at all."""
    if snapshot.listeners or len(snapshot.routes) != 1:
        return snapshot
    (table,) = snapshot.routes
    routes = HttpConnectionManager(routes=Rds(table))
    made = gather(listeners=[Listener(name=request.target, http=routes)])
    return replace(snapshot, listeners=made.listeners)
