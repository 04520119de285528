"""What a client knows, as JSON values: for people, and for those who ask over CSDS."""

from typing import Any

from .discovery import Discovery, ServerStatus, TypeStatus
from .watches import Entry


def status_of(discovery: Discovery, now: float) -> dict[str, Any]:
    """``server``, ``connected`` … are those of the server whose word counts now."""
    types = discovery.status()
    entries = [entry for each in types for entry in each.resources]
    updated = max((e.updated for e in entries if e.updated is not None), default=None)
    asked = discovery.relied_on
    conversation = discovery.conversation(asked)
    return {
        "server": asked.server_uri,
        "connected": conversation is not None and conversation.connected,
        "error": discovery.watches.connection_error,
        "last_stream_status": conversation.last_status if conversation is not None else "",
        "last_good_age": None if updated is None else now - updated,
        "servers": [_server(each) for each in discovery.servers()],
        "types": {each.type_url: _type(each, now) for each in types},
    }


def _server(status: ServerStatus) -> dict[str, Any]:
    return {
        "server": status.server.server_uri,
        "connected": status.connected,
        "encoding": "delta" if status.delta else "sotw",
        "error": status.error,
        "failures": status.failures,
        "last_stream_status": status.last_status,
        "authorities": [name if name is not None else "" for name in status.authorities],
    }


def _type(status: TypeStatus, now: float) -> dict[str, Any]:
    return {
        "version": status.version,
        "nonce": status.nonce,
        "error": status.error,
        "valid": status.accepted,
        "invalid": status.rejected,
        "resources": {entry.name: _resource(entry, now) for entry in status.resources},
    }


def _resource(entry: Entry, now: float) -> dict[str, Any]:
    """``age`` of what is cached, and ``rejected_age`` of the last refusal, are in seconds."""
    return {
        "state": entry.state.value,
        "cached": entry.resource is not None,
        "version": entry.version,
        "server": entry.source,
        "age": None if entry.updated is None else now - entry.updated,
        "error": entry.error,
        "rejected_version": entry.rejected_version,
        "rejected_age": None if entry.rejected_at is None else now - entry.rejected_at,
        "ignored": list(entry.ignored),
    }
