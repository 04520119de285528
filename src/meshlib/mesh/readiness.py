"""When a mesh is ready: what is asked of whom."""

from collections.abc import Callable, Sequence

from ..dataplane import Engine
from .identity import Identity
from .sources import Source


def is_reached(identity: Identity, source: Source, targets: Sequence[str], timeout: float) -> bool:
    """Is there an identity, where one is to be had, and a control plane, where nobody is named?"""
    return identity.is_ready(timeout) and (bool(targets) or source.reach(timeout))


def settled(engine: Engine, source: Source, targets: Sequence[str]) -> Callable[[], bool]:
    """Is it known of each target whether it is of the mesh; of none: is there a configuration?"""
    for target in targets:
        source.want(target)
    if targets:
        return lambda: all(engine.knows(target) for target in targets)
    return source.is_ready


def unready(identity: Identity, source: Source | None) -> str:
    """Why this member is not ready now; "" if it is."""
    if source is None:
        return "not started"
    if not identity.is_ready(0):
        return f"no identity yet: {identity.status().get('error') or 'no answer so far'}"
    if not source.is_ready():
        return f"no configuration yet: {source.status().get('error') or 'no answer so far'}"
    return ""
