"""Connections, and where they came in."""

from dataclasses import replace

from ..dataplane import Connection

KEPT = 4096
"""Connections at places that are remembered."""


class Placed:
    """A call costs no connection of its own: of what is alike there is one."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str], tuple[Connection, Connection]] = {}

    def at(self, found: Connection, local: str, tls_version: str = "") -> Connection:
        """``local``: ``ip:port``, or ``:port`` where no more is known, or ""."""
        if not (local or tls_version) or found.refusal:
            return found
        key = id(found), local, tls_version
        known = self._known.get(key)
        if known is not None and known[0] is found:
            return known[1]
        if len(self._known) >= KEPT:
            self._known.clear()
        made = replace(found, local_address=local, tls_version=tls_version)
        self._known[key] = found, made
        return made
