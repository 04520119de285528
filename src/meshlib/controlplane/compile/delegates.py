"""A VirtualService's rules, with those of its delegates where it says so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from msgspec.structs import replace

from ...errors import Place
from ..manifests.http_match import HTTPMatchRequest, StringMatch
from ..manifests.http_policies import Destination
from ..manifests.manifest import Manifest
from ..manifests.virtual_service import HTTPRoute, VirtualService
from .names import full_host, is_exported

V = TypeVar("V")
Services = Manifest[VirtualService]

INHERITED = (
    "rewrite",
    "direct_response",
    "timeout",
    "retries",
    "fault",
    "cors_policy",
    "headers",
)
"""What a delegate's rule has of the root's where it says nothing itself, beside the mirrors."""


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One rule; short names of hosts in it are those of ``namespace``."""

    route: HTTPRoute
    namespace: str
    place: Place


class Delegates:
    """The VirtualServices without hosts, by namespace and name."""

    def __init__(self, manifests: tuple[Services, ...], default_export_to: tuple[str, ...]) -> None:
        self._known = {(m.namespace, m.name): m for m in manifests if m.spec.is_delegate}
        self._default = default_export_to

    def of(self, root: Services, route: HTTPRoute) -> Services | None:
        """Whom a rule means; ``None`` where there is nobody, or nobody that it may see."""
        if route.delegate is None:
            return None
        found = self._known.get((route.delegate.namespace or root.namespace, route.delegate.name))
        if found is None:
            return None
        exported = found.spec.export_to or self._default
        return found if is_exported(exported, found.namespace, root.namespace) else None

    def all_of(self, root: Services) -> tuple[Services | None, ...]:
        """Those that its rules mean, in their order."""
        return tuple(self.of(root, r) for r in root.spec.http if r.delegate is not None)

    def rules(self, root: Services) -> Iterator[HttpRule]:
        for index, route in enumerate(root.spec.http):
            if route.delegate is None:
                yield HttpRule(route, root.namespace, root.place_of("http", index))
                continue
            delegate = self.of(root, route)
            for number, inner in enumerate(delegate.spec.http if delegate else ()):
                made = merged(route, inner, root.namespace)
                if made is not None and delegate is not None:
                    yield HttpRule(made, delegate.namespace, delegate.place_of("http", number))


def merged(root: HTTPRoute, inner: HTTPRoute, namespace: str) -> HTTPRoute | None:
    """A delegate's rule within the root's; ``None`` where no request can match both."""
    matches = merged_matches(root.match, inner.match)
    if matches is None:
        return None
    inherited: dict[str, Any] = {
        name: getattr(root, name) for name in INHERITED if getattr(inner, name) is None
    }
    if inner.mirror is None and not inner.mirrors:
        inherited |= _mirrors(root, namespace)
    return replace(inner, name=_joined(root.name, inner.name), match=matches, **inherited)


def _mirrors(root: HTTPRoute, namespace: str) -> dict[str, Any]:
    def absolute(destination: Destination) -> Destination:
        return replace(destination, host=full_host(destination.host, namespace))

    return {
        "mirror": absolute(root.mirror) if root.mirror else None,
        "mirror_percentage": root.mirror_percentage,
        "mirror_percent": root.mirror_percent,
        "mirrors": tuple(replace(m, destination=absolute(m.destination)) for m in root.mirrors),
    }


def merged_matches(
    outer: tuple[HTTPMatchRequest, ...], inner: tuple[HTTPMatchRequest, ...]
) -> tuple[HTTPMatchRequest, ...] | None:
    """Every pair that can hold at once; ``None`` where one of the inner fits no outer."""
    if not outer or not inner:
        return outer or inner
    made = []
    for one in inner:
        fitting = [merged_match(other, one) for other in outer if not _conflict(other, one)]
        if not fitting:
            return None
        made += fitting
    return tuple(made)


def merged_match(outer: HTTPMatchRequest, inner: HTTPMatchRequest) -> HTTPMatchRequest:
    return replace(
        inner,
        name=_joined(outer.name, inner.name),
        uri=inner.uri or outer.uri,
        scheme=inner.scheme or outer.scheme,
        method=inner.method or outer.method,
        authority=inner.authority or outer.authority,
        headers=outer.headers | inner.headers,
        without_headers=outer.without_headers | inner.without_headers,
        query_params=outer.query_params | inner.query_params,
        port=inner.port or outer.port,
        source_labels=outer.source_labels | inner.source_labels,
        source_namespace=inner.source_namespace or outer.source_namespace,
        gateways=inner.gateways or outer.gateways,
        stat_prefix=inner.stat_prefix or outer.stat_prefix,
    )


def _joined(outer: str, inner: str) -> str:
    return f"{outer}-{inner}" if outer and inner else outer or inner


def _conflict(outer: HTTPMatchRequest, inner: HTTPMatchRequest) -> bool:
    plain = ("uri", "scheme", "method", "authority")
    if any(_text_conflict(getattr(outer, name), getattr(inner, name)) for name in plain):
        return True
    for field in ("headers", "without_headers", "query_params"):
        known: Mapping[str, StringMatch] = getattr(outer, field)
        wanted: Mapping[str, StringMatch] = getattr(inner, field)
        if any(_text_conflict(known.get(name), match) for name, match in wanted.items()):
            return True
    if outer.ignore_uri_case != inner.ignore_uri_case:
        return True
    if _differ(outer.port, inner.port) or _differ(outer.source_namespace, inner.source_namespace):
        return True
    labels = outer.source_labels
    if any(labels.get(name, value) != value for name, value in inner.source_labels.items()):
        return True
    return bool(outer.gateways) and not set(inner.gateways) <= set(outer.gateways)


def _differ(outer: V, inner: V) -> bool:
    return bool(outer) and bool(inner) and outer != inner


def _text_conflict(outer: StringMatch | None, inner: StringMatch | None) -> bool:
    """The inner one must be narrower; of expressions nobody can tell."""
    if outer is None or inner is None or outer.is_empty or outer == inner:
        return False
    if outer.regex is not None or inner.regex is not None:
        return True
    if outer.exact is not None:
        return True
    narrower = inner.prefix if inner.prefix is not None else inner.exact
    return narrower is None or not narrower.startswith(outer.prefix or "")
