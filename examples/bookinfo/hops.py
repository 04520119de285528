"""What a service tells of the call that it serves: who it is itself, and who called."""

from functools import cache
from typing import Any

import meshlib


@cache
def own_id(mesh: meshlib.Mesh) -> str | None:
    return mesh.status()["identity"].get("spiffe_id")


def hop(mesh: meshlib.Mesh, version: str, trace: str | None, call: Any) -> dict[str, Any]:
    told = {"service": mesh.options.service, "version": version, "trace": trace}
    return {**told, "id": own_id(mesh), "peer": meshlib.peer(call).spiffe_id or None}
