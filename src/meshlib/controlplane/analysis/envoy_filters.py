"""EnvoyFilters: which patches are acted on, and which are not."""

from collections.abc import Iterator

from ...errors import ConfigError
from ...model import HttpFilter
from ...model.snapshot import asked_by
from ..compile.names import cluster_name
from ..compile.services import registry
from ..manifests.envoy_filter import EnvoyConfigObjectPatch, EnvoyFilter
from ..manifests.finding import (
    NOT_ACTED_ON,
    SCHEMA,
    UNKNOWN_HOST,
    UNSUPPORTED,
    Finding,
    Severity,
)
from ..manifests.manifest import Manifest
from ..world import World

GUARDS = ("rbac", "jwt_authn", "ext_authz", "ext_proc", "oauth2", "csrf", "basic_auth", "api_key")
"""Filters that keep somebody out: to leave one out in silence would only look safe."""


def check(world: World) -> Iterator[Finding]:
    for manifest in world.envoy_filters:
        if manifest.spec.target_refs:
            place = manifest.place_of("targetRefs")
            said = "targetRefs are of gateways and waypoints: the filter has no effect"
            yield Finding(UNSUPPORTED, "warning", place, str(manifest), said)
            continue
        for index, patch in enumerate(manifest.spec.config_patches):
            yield from _Looking(manifest, index, patch, world).findings()


class _Looking:
    """At one patch."""

    def __init__(
        self,
        manifest: Manifest[EnvoyFilter],
        index: int,
        patch: EnvoyConfigObjectPatch,
        world: World,
    ) -> None:
        self._manifest = manifest
        self._index = index
        self._patch = patch
        self._world = world

    def findings(self) -> Iterator[Finding]:
        """The codec is entered only where there is something for it to read."""
        patch = self._patch
        if not patch.is_for_inbound and not patch.is_for_outbound:
            said = f"context {patch.match.context} is not of a workload: the patch has no effect"
            yield self._unsupported(said, "match", "context")
        elif patch.match.unjudged:
            said = f"{', '.join(patch.match.unjudged)} cannot be judged: the patch has no effect"
            yield self._unsupported(said, "match", is_error=self._is_guard)
        elif patch.inserts_filter:
            yield from self._filter()
        elif patch.overrides_filters:
            yield from self._merge()
        else:
            said = f"{patch.patch.operation} of {patch.apply_to} has no effect"
            yield self._unsupported(said, "applyTo")

    @property
    def _is_guard(self) -> bool:
        return any(f".{guard}" in self._patch.filter_type for guard in GUARDS)

    def _filter(self) -> Iterator[Finding]:
        name = self._patch.filter_type
        if not self._patch.is_known_filter:
            said = f"filter {name or 'without typed_config'} is not supported"
            is_error = self._is_guard or not name
            yield self._unsupported(said, "patch", "value", is_error=is_error)
            return
        from ..envoy_filters import read_filter

        try:
            made, ignored = read_filter(self._patch)
        except ConfigError as invalid:
            yield from self._invalid(invalid)
            return
        yield from self._without_effect(ignored)
        yield from self._missing_cluster(made)
        if self._patch.is_for_inbound and self._patch.match.listener.port_number:
            said = "ports are not told apart: the filter holds for every port of the server"
            yield self._say(NOT_ACTED_ON, "info", said, "match", "listener", "portNumber")

    def _merge(self) -> Iterator[Finding]:
        unknown = self._patch.unknown_merges
        if unknown:
            said = f"{', '.join(unknown)} cannot be merged: the patch has no effect"
            yield self._unsupported(said, "patch", "value")
            return
        from ..envoy_filters import read_merge

        try:
            _, ignored = read_merge(self._patch)
        except ConfigError as invalid:
            yield from self._invalid(invalid)
            return
        yield from self._without_effect(ignored)

    def _missing_cluster(self, made: HttpFilter) -> Iterator[Finding]:
        known = {
            cluster_name(service.host, port.number)
            for service in registry(self._world)
            for port in service.ports
        }
        for wanted in asked_by(made.config):
            if wanted not in known:
                said = f"no cluster {wanted!r} is known for the service that it asks"
                yield self._say(UNKNOWN_HOST, "error", said, "patch", "value")

    def _without_effect(self, ignored: tuple[str, ...]) -> Iterator[Finding]:
        for path in ignored:
            yield self._say(NOT_ACTED_ON, "info", f"{path} has no effect", "patch", "value")

    def _invalid(self, error: ConfigError) -> Iterator[Finding]:
        for problem in error.problems:
            yield self._say(SCHEMA, "error", f"{problem.where}: {problem.what}", "patch", "value")

    def _unsupported(self, said: str, *path: str, is_error: bool = False) -> Finding:
        return self._say(UNSUPPORTED, "error" if is_error else "warning", said, *path)

    def _say(self, code: str, severity: Severity, said: str, *path: str) -> Finding:
        place = self._manifest.place_of("configPatches", self._index, *path)
        return Finding(code, severity, place, str(self._manifest), said)
