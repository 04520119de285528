"""``/listeners``: for whom calls are made, and where they come in."""

from collections.abc import Iterable, Iterator
from typing import Any

from ...model import Listener
from .answers import Asked, framed
from .clusters import socket_address
from .member import Member

NOWHERE = "api_listener"
"""It is called by its name, and nothing listens."""


def text(member: Member, asked: Asked) -> Iterator[str]:
    for listener in member.engine.snapshot.listeners.values():
        yield f"{listener.name}::{listener.address or NOWHERE}"


def json(member: Member, asked: Asked) -> Iterable[str]:
    """``envoy.admin.v3.Listeners``."""
    found = member.engine.snapshot.listeners.values()
    return framed({}, listener_statuses=map(_status, found))


def _status(listener: Listener) -> dict[str, Any]:
    address = listener.address
    where = {} if address is None else {"local_address": socket_address(address)}
    return {"name": listener.name, **where}
