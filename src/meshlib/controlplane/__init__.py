"""The control plane: Istio's YAML in, xDS out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import SnapshotCache
    from .control_plane import ControlPlane
    from .findings import Finding, analyze, errors_of, findings_of
    from .limits import Limits
    from .manifests import load_documents, load_files
    from .node import Node
    from .scope import Scope
    from .server import AdsServer, serve
    from .snapshots import compile_snapshot
    from .sources import Folder
    from .tls import server_credentials
    from .world import World

__all__ = [
    "AdsServer",
    "ControlPlane",
    "Finding",
    "Folder",
    "Limits",
    "Node",
    "Scope",
    "SnapshotCache",
    "World",
    "analyze",
    "compile_snapshot",
    "errors_of",
    "findings_of",
    "load_documents",
    "load_files",
    "serve",
    "server_credentials",
]

_HOMES = {
    "AdsServer": "server",
    "ControlPlane": "control_plane",
    "Finding": "findings",
    "Folder": "sources",
    "Limits": "limits",
    "Node": "node",
    "Scope": "scope",
    "SnapshotCache": "cache",
    "World": "world",
    "analyze": "findings",
    "compile_snapshot": "snapshots",
    "errors_of": "findings",
    "findings_of": "findings",
    "load_documents": "manifests",
    "load_files": "manifests",
    "serve": "server",
    "server_credentials": "tls",
}


def __getattr__(name: str) -> Any:
    """Load the rooms when they are first entered: msgspec, yaml and grpc cost time."""
    from importlib import import_module

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
