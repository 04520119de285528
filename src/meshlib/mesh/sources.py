"""Where a mesh gets its configuration from: nowhere, a folder, or a control plane."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..dataplane import Engine
from ..errors import ConfigError
from .options import Options
from .upkeep import Upkeep

if TYPE_CHECKING:
    from ..controlplane.findings import Finding
    from ..controlplane.sources import Folder
    from ..controlplane.world import World
    from ..xds.bootstrap_servers import Server
    from ..xds.watches import Entry
    from .identity import Identity

log = logging.getLogger("meshlib")


class Source(Protocol):
    def start(self) -> None: ...

    def close(self) -> None: ...

    def want(self, listener: str) -> None:
        """Somebody calls this listener; cheap when that is known already."""

    def reach(self, timeout: float) -> bool:
        """Block until the source can be asked; ``False`` after ``timeout`` seconds."""

    def is_ready(self) -> bool: ...

    def status(self) -> dict[str, Any]: ...

    def watched(self) -> "tuple[Entry, ...] | None":
        """What a control plane was asked for, as it is known now; ``None``: there is none."""

    def ignored(self) -> tuple[str, ...]: ...

    @property
    def server(self) -> "Callable[[], Server] | None":
        """The control plane whose word counts now; ``None``: there is none."""

    def on_return(self, tell: Callable[[], None]) -> None:
        """Say each time that the control plane is reached again."""


def source_for(
    options: Options, engine: Engine, upkeep: Upkeep, identity: "Identity | None" = None
) -> Source:
    if options.config is not None:
        return Embedded(options, engine, upkeep)
    if options.control_plane is not None or options.bootstrap is not None:
        from .remote import Remote

        return Remote(options, engine, upkeep, identity)
    return Nowhere()


class Nowhere:
    """No configuration at all: every host is foreign."""

    server = None

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def want(self, listener: str) -> None:
        pass

    def reach(self, timeout: float) -> bool:
        return True

    def is_ready(self) -> bool:
        return True

    def on_return(self, tell: Callable[[], None]) -> None:
        pass

    def watched(self) -> None:
        return None

    def status(self) -> dict[str, Any]:
        return {"kind": "none"}

    def ignored(self) -> tuple[str, ...]:
        return ()


class Embedded:
    """A folder of Istio's YAML, compiled in process and watched; or manifests given as dicts."""

    server = None

    def __init__(self, options: Options, engine: Engine, upkeep: Upkeep) -> None:
        self._options = options
        self._engine = engine
        self._upkeep = upkeep
        self._folder: Folder | None = None
        self._error: ConfigError | None = None
        self._ignored: tuple[str, ...] = ()
        self._told: frozenset[Finding] = frozenset()

    def start(self) -> None:
        from ..controlplane.manifests import load_documents
        from ..controlplane.sources import Folder

        config = self._options.config
        documents = _documents(config)
        if documents is not None:
            self._apply(load_documents(documents))
            return
        folder = Folder(_paths(config))
        self._apply(folder.load())
        folder.start(self._changed, self._refused)
        self._folder = folder

    def _changed(self, world: "World") -> None:
        try:
            self._apply(world)
        except ConfigError as refused:
            self._refused(refused)

    def _apply(self, world: "World") -> None:
        from ..controlplane.findings import findings_of
        from ..controlplane.scope import Scope
        from ..controlplane.snapshots import compile_snapshot

        findings = findings_of(world)
        errors = [finding.problem for finding in findings if finding.severity == "error"]
        if errors:
            raise ConfigError(*errors)
        labels = tuple(sorted(self._options.all_labels.items()))
        where = self._options.locality
        scope = Scope(namespace=self._options.namespace, labels=labels, locality=where)
        snapshot = compile_snapshot(world, scope)
        self._policy(world)
        self._upkeep.apply(snapshot)
        self._tell(findings)
        self._error = None

    def _tell(self, findings: "Sequence[Finding]") -> None:
        """Each is logged once, as long as it stands."""
        from ..controlplane.manifests.finding import NOT_ACTED_ON, UNSUPPORTED

        for finding in findings:
            if finding not in self._told:
                level = logging.WARNING if finding.severity == "warning" else logging.INFO
                log.log(level, "%s %s", finding.code, finding.problem)
        self._told = frozenset(findings)
        ignored = (NOT_ACTED_ON, UNSUPPORTED)
        self._ignored = tuple(str(f.problem) for f in findings if f.code in ignored)

    def _policy(self, world: "World") -> None:
        if self._options.outbound_traffic_policy is None:
            allowed = world.mesh_config.outbound_traffic_policy != "REGISTRY_ONLY"
            allowed = allowed and self._options.mtls != "strict"
            self._engine.options = replace(self._engine.options, passthrough=allowed)

    def _refused(self, error: ConfigError) -> None:
        self._error = error
        log.error("configuration refused, the last good one serves on:\n%s", error)

    def close(self) -> None:
        if self._folder is not None:
            self._folder.close()

    def want(self, listener: str) -> None:
        pass

    def reach(self, timeout: float) -> bool:
        return True

    def is_ready(self) -> bool:
        return True

    def on_return(self, tell: Callable[[], None]) -> None:
        pass

    def watched(self) -> None:
        return None

    def status(self) -> dict[str, Any]:
        error = str(self._error) if self._error else None
        return {"kind": "embedded", "error": error, "ignored": len(self._ignored)}

    def ignored(self) -> tuple[str, ...]:
        return self._ignored


def _documents(config: object) -> Sequence[Mapping[str, Any]] | None:
    """The manifests themselves, if that is what was given."""
    if not isinstance(config, Sequence) or isinstance(config, str):
        return None
    return config if all(isinstance(item, Mapping) for item in config) else None


def _paths(config: object) -> list[str | Path]:
    if isinstance(config, str | Path):
        return [config]
    assert isinstance(config, Sequence)
    return list(config)
