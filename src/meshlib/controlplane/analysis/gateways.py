"""Gateways that cannot be served, and VirtualServices for gateways that do not exist."""

from collections.abc import Iterator

from ..manifests.finding import NOT_ACTED_ON, Finding
from ..manifests.virtual_service import MESH
from ..world import World


def check(world: World) -> Iterator[Finding]:
    known = {f"{one.namespace}/{one.name}" for one in world.gateways}
    for gateway in world.gateways:
        said = "is for Envoys at the edge: it has no effect on calls within the mesh"
        yield Finding(NOT_ACTED_ON, "info", gateway.place, str(gateway), said)
        if not gateway.spec.selector:
            place = gateway.place_of("selector")
            said = "selects nobody: without a selector it has no effect"
            yield Finding(NOT_ACTED_ON, "warning", place, str(gateway), said)
        for index, server in enumerate(gateway.spec.servers):
            if not server.is_plain:
                place = gateway.place_of("servers", index)
                said = f"port {server.port.number} is not listened on: only HTTP without TLS is"
                yield Finding(NOT_ACTED_ON, "warning", place, str(gateway), said)
    for manifest in world.virtual_services:
        for index, name in enumerate(manifest.spec.gateways):
            full = name if "/" in name else f"{manifest.namespace}/{name}"
            if known and name != MESH and full not in known:
                place = manifest.place_of("gateways", index)
                said = f"no Gateway {full} is known: its rules hold for no edge"
                yield Finding(NOT_ACTED_ON, "warning", place, str(manifest), said)
