"""VirtualServices that delegate, and those without hosts that wait to be delegated to."""

from collections.abc import Iterator

from ..compile.delegates import Delegates, merged
from ..manifests.finding import NOT_ACTED_ON, UNKNOWN_DELEGATE, UNREACHABLE_RULE, Finding
from ..manifests.manifest import Manifest
from ..manifests.virtual_service import VirtualService
from ..world import World

Services = Manifest[VirtualService]


def check(world: World) -> Iterator[Finding]:
    delegates = Delegates(
        world.virtual_services, world.mesh_config.default_virtual_service_export_to
    )
    used: set[str] = set()
    for root in world.virtual_services:
        for index, route in enumerate(root.spec.http):
            if route.delegate is None:
                continue
            found = delegates.of(root, route)
            if found is None:
                yield _nobody(root, index)
                continue
            used.add(str(found))
            yield from _never_matching(root, index, found)
    for manifest in world.virtual_services:
        if manifest.spec.is_delegate and str(manifest) not in used:
            said = "has no hosts, and nobody delegates to it: it has no effect"
            yield Finding(NOT_ACTED_ON, "warning", manifest.place, str(manifest), said)


def _nobody(root: Services, index: int) -> Finding:
    delegate = root.spec.http[index].delegate
    assert delegate is not None
    name = f"{delegate.namespace or root.namespace}/{delegate.name}"
    place = root.place_of("http", index, "delegate")
    said = f"no VirtualService {name} without hosts is known here"
    return Finding(UNKNOWN_DELEGATE, "error", place, str(root), said)


def _never_matching(root: Services, index: int, delegate: Services) -> Iterator[Finding]:
    for number, inner in enumerate(delegate.spec.http):
        if merged(root.spec.http[index], inner, root.namespace) is None:
            place = delegate.place_of("http", number)
            said = (
                f"no request can match http[{number}] and http[{index}] of {root} at {root.place}"
            )
            yield Finding(UNREACHABLE_RULE, "warning", place, str(delegate), said)
