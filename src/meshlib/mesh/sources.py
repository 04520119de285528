"""Where a mesh gets its configuration from: nowhere, a folder, or a control plane."""

import logging
import os
import random  # noqa: TID251 - the one floor where luck comes in
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..dataplane import Engine
from ..errors import ConfigError
from ..model import Snapshot
from .options import Options
from .upkeep import Upkeep

if TYPE_CHECKING:
    from ..controlplane.findings import Finding
    from ..controlplane.sources import Folder
    from ..controlplane.world import World

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

    def ignored(self) -> tuple[str, ...]: ...


def source_for(options: Options, engine: Engine, upkeep: Upkeep) -> Source:
    if options.config is not None:
        return Embedded(options, engine, upkeep)
    if options.control_plane is not None or options.bootstrap is not None:
        return Remote(options, engine, upkeep)
    return Nowhere()


class Nowhere:
    """No configuration at all: every host is foreign."""

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

    def status(self) -> dict[str, Any]:
        return {"kind": "none"}

    def ignored(self) -> tuple[str, ...]:
        return ()


class Embedded:
    """A folder of Istio's YAML, compiled in process and watched; or manifests given as dicts."""

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

    def status(self) -> dict[str, Any]:
        return {"kind": "embedded", "error": str(self._error) if self._error else None}

    def ignored(self) -> tuple[str, ...]:
        return self._ignored


class Remote:
    """A control plane, ours or another's, over ADS."""

    def __init__(self, options: Options, engine: Engine, upkeep: Upkeep) -> None:
        from ..xds.bootstrap import Bootstrap
        from ..xds.client import XdsClient

        if options.control_plane is not None:
            bootstrap = Bootstrap.for_server(
                options.control_plane,
                node_id=f"{options.service or 'meshlib'}-{os.getpid()}.{options.namespace}",
                namespace=options.namespace,
                labels=options.all_labels,
                service=options.service,
                locality={name: place for name, place in asdict(options.locality).items() if place},
            )
        else:
            assert options.bootstrap is not None
            bootstrap = Bootstrap.load(options.bootstrap)
        self._engine = engine
        self._upkeep = upkeep
        self._bootstrap_ignored = bootstrap.ignored
        self._last_problem = ""
        engine.around.blame = self._blame
        self._client = XdsClient(
            bootstrap,
            on_update=self._update,
            on_problem=self._problem,
            clock=time.monotonic,
            dice=random.random,
        )

    def start(self) -> None:
        self._client.start()

    def _update(self, snapshot: Snapshot, absent: frozenset[str]) -> None:
        self._upkeep.apply(snapshot, absent)

    def _problem(self, text: str) -> None:
        self._last_problem = text
        log.warning("control plane: %s", text)

    def _blame(self) -> str:
        """Why a listener may be missing: no connection, or what was wrong with an answer."""
        status = self._client.status()
        server = f"control plane {status['server']}"
        if not status["connected"]:
            return f"{server} is not connected: {status['error'] or 'no answer yet'}"
        return f"{server}: {self._last_problem}" if self._last_problem else f"{server} sent none"

    def close(self) -> None:
        self._client.close()

    def want(self, listener: str) -> None:
        self._client.watch(listener)

    def reach(self, timeout: float) -> bool:
        return self._client.reach(timeout)

    def is_ready(self) -> bool:
        return self._client.is_ready()

    def status(self) -> dict[str, Any]:
        return {"kind": "xds", **self._client.status()}

    def ignored(self) -> tuple[str, ...]:
        return (*self._bootstrap_ignored, *self._client.ignored())


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
