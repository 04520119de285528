"""``/config_dump``: the configuration in force, and what was refused of another."""

import json as _json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...xds.types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SECRET
from .answers import Asked, framed
from .member import Member

if TYPE_CHECKING:
    from ...xds.watches import Entry

SHORT = {
    LISTENER: "listener",
    ROUTE: "route",
    CLUSTER: "cluster",
    ENDPOINT: "endpoints",
    SECRET: "secret",
    EXTENSION: "extension",
    RUNTIME: "runtime",
}


def json(member: Member, asked: Asked) -> Iterator[str]:
    """``envoy.admin.v3.ConfigDump``; runtime layers, which it has no place for, stand on
    ``/runtime``."""
    from ...xds.config_dump import bootstrap_dump, dumps

    entries = _entries(member)
    yield '{"configs": [\n'
    yield _json.dumps(bootstrap_dump(member.node), ensure_ascii=False)
    for head, lists in dumps(entries, member.at):
        yield ",\n"
        yield from framed(head, **lists)
    yield "\n]}\n"


def text(member: Member, asked: Asked) -> Iterator[str]:
    now = member.clock()
    for entry in _entries(member):
        age = "" if entry.updated is None else f"  {now - entry.updated:.0f} s ago"
        why = f"  {' '.join(entry.error.split())}" if entry.error else ""
        version = f"  {entry.version}" if entry.version else ""
        kind = SHORT.get(entry.type_url, entry.type_url)
        yield f"{kind:<11}{entry.state:<16}{entry.name}{version}{age}{why}"


def _entries(member: Member) -> "tuple[Entry, ...]":
    from ...xds.csds import entries_of

    found = member.watched()
    return entries_of(member.engine.snapshot) if found is None else found
