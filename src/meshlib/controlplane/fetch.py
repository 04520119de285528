"""A single answer instead of a stream."""

from dataclasses import replace
from typing import Any

from .discovery import Request, Response
from .messages import message_of, request_of
from .node import Node
from .subscriptions import Subscriptions
from .versions import PackedSnapshot


def fetched(message: Any, node: Node, snapshot: PackedSnapshot, type_url: str) -> Any:
    """The ``DiscoveryResponse`` to a ``DiscoveryRequest``: all that was asked for and exists."""
    request = request_of(message, type_url, delta=False)
    assert isinstance(request, Request)
    request = replace(request, nonce="", version="", error=None)
    asker = Subscriptions()
    asker.publish(snapshot)
    asker.receive(request)
    response = asker.next_response() or Response(
        type_url=type_url, version=snapshot.of(type_url).version, nonce="1", resources=()
    )
    return message_of(response, node, delta=False)
