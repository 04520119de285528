"""Rules by what a token says: whoever calls inside the mesh has none that anybody verified."""

from collections.abc import Iterator

from ..manifests.claims import is_claim
from ..manifests.finding import NEVER_MATCHES, Finding, Severity
from ..manifests.manifest import Manifest
from ..manifests.virtual_service import MESH, HTTPRoute, VirtualService


def check(manifest: Manifest[VirtualService], index: int, route: HTTPRoute) -> Iterator[Finding]:
    for number, match in enumerate(route.match):
        through = match.gateways or manifest.spec.gateways or (MESH,)
        if MESH not in through:
            continue
        severity: Severity = "warning" if set(through) == {MESH} else "info"
        for field, names, said in (
            ("headers", match.headers, "never matches"),
            ("withoutHeaders", match.without_headers, "excludes nobody"),
        ):
            for name in filter(is_claim, names):
                place = manifest.place_of("http", index, "match", number, field, name)
                text = f"{name} {said} in the mesh: no caller there has a verified token"
                hint = "claims are known where calls come in by a Gateway"
                yield Finding(NEVER_MATCHES, severity, place, str(manifest), text, hint)
