"""The rules of VirtualServices: where they lead, and whether they are ever reached."""

from collections.abc import Iterator
from functools import cache

from msgspec.structs import replace

from ..compile.names import HostIndex, full_host
from ..compile.view import View
from ..manifests.decode import did_you_mean
from ..manifests.finding import (
    DUPLICATE_MATCH,
    NOT_ACTED_ON,
    UNKNOWN_HOST,
    UNKNOWN_SUBSET,
    UNREACHABLE_RULE,
    WEIGHTS,
    Finding,
)
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..manifests.virtual_service import (
    Destination,
    HTTPMatchRequest,
    HTTPRoute,
    StringMatch,
    VirtualService,
)
from ..scope import Scope
from ..world import World
from . import claims, http_rules, unbalanced

Rules = Manifest[VirtualService]

ALIKE = 0.9  # all services share a long domain, so nearly all of a host must agree


def check(world: World) -> Iterator[Finding]:
    @cache
    def view(namespace: str) -> View:
        return View(world, Scope(namespace))

    # A client's namespace may have subsets of its own, so those of all are taken.
    subsets = HostIndex(
        (full_host(rule.spec.host, rule.namespace), subset.name)
        for rule in world.destination_rules
        for subset in rule.spec.subsets
    )
    for manifest in world.virtual_services:
        yield from _reach(manifest)
        for index, route in enumerate(manifest.spec.http):
            yield from _weights(manifest, index, route)
            yield from http_rules.check(manifest, index, route)
            yield from claims.check(manifest, index, route)
            if _is_for_grpc_only(manifest, view(manifest.namespace)):
                yield from http_rules.check_for_grpc(manifest, index, route)
            yield from _in_vain(manifest, index, route, view(manifest.namespace))
            for number, choice in enumerate(route.route):
                path = ("http", index, "route", number, "destination")
                yield from _destination(
                    manifest, path, choice.destination, view(manifest.namespace), subsets
                )
            for where, copied in _mirrors(index, route):
                yield from _destination(manifest, where, copied, view(manifest.namespace), subsets)


def _is_for_grpc_only(manifest: Rules, view: View) -> bool:
    hosts = [full_host(host, manifest.namespace) for host in manifest.spec.hosts]
    ports = [port for host in hosts if host in view.services for port in view.services[host].ports]
    return bool(ports) and all(port.protocol == "GRPC" for port in ports)


def _in_vain(manifest: Rules, index: int, route: HTTPRoute, view: View) -> Iterator[Finding]:
    hosts = [full_host(choice.destination.host, manifest.namespace) for choice in route.route]
    if unbalanced.is_unbalanced([view.services[host] for host in hosts if host in view.services]):
        for path, said in unbalanced.remarks_of_rule(route):
            place = manifest.place_of("http", index, *path)
            yield Finding(NOT_ACTED_ON, "warning", place, str(manifest), said)


def _mirrors(index: int, route: HTTPRoute) -> Iterator[tuple[Path, Destination]]:
    if route.mirror is not None:
        yield ("http", index, "mirror"), route.mirror
    for number, mirror in enumerate(route.mirrors):
        yield ("http", index, "mirrors", number, "destination"), mirror.destination


def _destination(
    manifest: Rules,
    path: Path,
    destination: Destination,
    view: View,
    subsets: HostIndex[str],
) -> Iterator[Finding]:
    host = full_host(destination.host, manifest.namespace)
    service = view.services.get(host)
    if service is None or not service.is_known:
        known = [name for name, s in view.services.items() if s.is_known]
        expanded = [name for name in known if name.startswith(f"{host}.")]
        hint = f"did you mean {expanded[0]!r}?" if expanded else did_you_mean(host, known, ALIKE)
        place = manifest.place_of(*path, "host")
        said = f"no service {host} is known here"
        yield Finding(UNKNOWN_HOST, "error", place, str(manifest), said, hint)
        return
    number = destination.port.number if destination.port else None
    if number is not None and service.port(number) is None:
        place = manifest.place_of(*path, "port", "number")
        hint = f"it has {', '.join(str(port.number) for port in service.ports) or 'none'}"
        said = f"{host} has no port {number}"
        yield Finding(UNKNOWN_HOST, "error", place, str(manifest), said, hint)
    known_subsets = set(subsets.all(host))
    if destination.subset and destination.subset not in known_subsets:
        place = manifest.place_of(*path, "subset")
        said = f"no DestinationRule of {host} has a subset {destination.subset!r}"
        hint = did_you_mean(destination.subset, known_subsets)
        yield Finding(UNKNOWN_SUBSET, "error", place, str(manifest), said, hint)


def _weights(manifest: Rules, index: int, route: HTTPRoute) -> Iterator[Finding]:
    place = manifest.place_of("http", index, "route")
    if len(route.route) == 1:
        if route.route[0].weight not in {None, 100}:
            said = f"weight {route.route[0].weight} means nothing: the only destination gets all"
            yield Finding(WEIGHTS, "warning", place, str(manifest), said)
        return
    total = sum(choice.weight or 0 for choice in route.route)
    if route.route and total != 100:
        said = f"the weights sum up to {total}, not 100; they are taken as shares"
        yield Finding(WEIGHTS, "warning", place, str(manifest), said)


def _reach(manifest: Rules) -> Iterator[Finding]:
    seen: list[HTTPMatchRequest] = []
    caught_by: int | None = None
    for index, route in enumerate(manifest.spec.http):
        if caught_by is not None:
            place = manifest.place_of("http", index)
            said = f"is never reached: http[{caught_by}] takes every request before it"
            yield Finding(
                UNREACHABLE_RULE, "warning", place, str(manifest), f"http[{index}] {said}"
            )
            continue
        for number, match in enumerate(route.match):
            bare = _without_name(match)
            if bare in seen:
                place = manifest.place_of("http", index, "match", number)
                said = f"http[{index}].match[{number}] stands in an earlier rule already"
                yield Finding(DUPLICATE_MATCH, "info", place, str(manifest), said)
            seen.append(bare)
        if not route.match or any(_takes_all(match) for match in route.match):
            caught_by = index


_ANY_URI = StringMatch(prefix="/")


def _takes_all(match: HTTPMatchRequest) -> bool:
    return _without_name(match) in (HTTPMatchRequest(), HTTPMatchRequest(uri=_ANY_URI))


def _without_name(match: HTTPMatchRequest) -> HTTPMatchRequest:
    return replace(match, name="")
