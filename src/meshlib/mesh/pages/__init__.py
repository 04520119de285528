"""What the admin port shows of a member, by Envoy's names and in Envoy's messages. Read-only.

Each page is a text for people and JSON for programs; what is not asked for is what Envoy gives.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from . import certs, clusters, config_dump, listeners, routes, runtime, server_info
from .answers import JSON, PLAIN, Answer, Asked, RefusedError, in_json, in_lines
from .member import Member

__all__ = ["MESH", "PAGES", "PLAIN", "Answer", "Asked", "Member", "RefusedError", "index", "page"]

Shows = Callable[[Member, Asked], Iterable[str]]
"""Pieces of a JSON text, or lines without their ends."""
MESH = "mesh"
"""The parameter, and the label of series, that say of which mesh, where a port shows several."""


@dataclass(frozen=True, slots=True)
class Page:
    says: str
    text: Shows
    json: Shows
    usual: str
    takes: tuple[str, ...] = ()


PAGES: Mapping[str, Page] = {
    "/certs": Page(
        "what connections are secured with; no keys", certs.text, certs.json, usual="json"
    ),
    "/clusters": Page(
        "endpoints: health, weight, calls under way", clusters.text, clusters.json, usual="text"
    ),
    "/config_dump": Page(
        "the configuration, and what was refused of it",
        config_dump.text,
        config_dump.json,
        usual="json",
        takes=("include_eds",),
    ),
    "/listeners": Page(
        "for whom calls are made, and where they come in",
        listeners.text,
        listeners.json,
        usual="text",
    ),
    "/routes": Page(
        f"what would become of a call: {routes.EXAMPLE}",
        routes.text,
        routes.json,
        usual="text",
        takes=("explain", "header"),
    ),
    "/runtime": Page("values of runtime layers", runtime.text, runtime.json, usual="json"),
    "/server_info": Page(
        "version, node, state, uptime, age of the configuration",
        server_info.text,
        server_info.json,
        usual="json",
    ),
}
OTHERS = {
    "/": "this",
    "/healthz": "it lives",
    "/metrics": "metrics, for Prometheus; also /stats/prometheus",
    "/ready": "LIVE, or 503 and why not; also /readyz",
}


def page(member: Member, asked: Asked) -> Answer:
    """Raises :class:`RefusedError`."""
    shown = PAGES[asked.path]
    asked.check(("format", MESH, *shown.takes))
    wanted = asked.format(shown.usual)
    if wanted == "json":
        return 200, JSON, shown.json(member, asked)
    return 200, PLAIN, in_lines(shown.text(member, asked))


def index(asked: Asked, meshes: Iterable[str]) -> Answer:
    """What there is. Raises :class:`RefusedError`."""
    asked.check(("format",))
    wanted, names = asked.format("text"), list(meshes)
    found = dict(sorted({**OTHERS, **{path: page.says for path, page in PAGES.items()}}.items()))
    if wanted == "json":
        return 200, JSON, in_json({"pages": found, "meshes": names})
    lines = [f"{path:<14}{says}" for path, says in found.items()]
    lines += ["", "?format=json or ?format=text; nothing can be changed here"]
    if len(names) > 1:
        lines.append(f"?mesh= is one of: {', '.join(names)}")
    return 200, PLAIN, in_lines(lines)
