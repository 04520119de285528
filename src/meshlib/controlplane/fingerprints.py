"""The version of a world: replicas that read the same manifests agree about it."""

from typing import Any

from .manifests.manifest import Manifest
from .versions import digest
from .world import World


class Fingerprints:
    """Those of worlds one after the other: what both have in common is not looked at again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Manifest[Any], bytes]] = {}

    def of(self, world: World) -> str:
        """A hash of the content; where it stands in which file does not matter."""
        known, self._known = self._known, {}
        whole = repr((world.mesh_config, world.mesh_manifest, world.remarks)).encode()
        return digest([whole, *(self._print(manifest, known) for manifest in world.manifests)])

    def _print(
        self, manifest: Manifest[Any], known: dict[int, tuple[Manifest[Any], bytes]]
    ) -> bytes:
        found = known.get(id(manifest))
        if found is None or found[0] is not manifest:
            found = manifest, digest([repr(manifest).encode()]).encode()
        self._known[id(manifest)] = found
        return found[1]
