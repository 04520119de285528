"""The cache of resources, with the watcher semantics of gRFC A88.

What a watcher hears is a notice: the resource changed, it failed (stop using it), or it has an
ambient error (keep using it; an empty text clears the error).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from .names import authority


class ResourceState(StrEnum):
    """``ClientResourceStatus`` of CSDS; "but cached" is an entry that still has its resource."""

    REQUESTED = "REQUESTED"
    DOES_NOT_EXIST = "DOES_NOT_EXIST"
    ACKED = "ACKED"
    NACKED = "NACKED"
    RECEIVED_ERROR = "RECEIVED_ERROR"
    TIMEOUT = "TIMEOUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One watched resource. ``updated`` and ``expires`` are readings of the client's clock.

    ``source`` is the address of the server that sent what is cached.
    """

    type_url: str
    name: str
    state: ResourceState = ResourceState.REQUESTED
    resource: Any = None
    version: str = ""
    source: str = ""
    ignored: tuple[str, ...] = ()
    error: str = ""
    transient: bool = False
    rejected_version: str = ""
    rejected_at: float | None = None
    updated: float | None = None
    expires: float | None = None

    @property
    def is_known_failed(self) -> bool:
        """Nothing to use, and waiting will not help: the configuration itself says so."""
        return self.resource is None and bool(self.error) and not self.transient

    @property
    def is_unheard_of(self) -> bool:
        return self.resource is None and self.state is ResourceState.REQUESTED

    @property
    def is_absent(self) -> bool:
        return self.resource is None and self.state is ResourceState.DOES_NOT_EXIST


@dataclass(frozen=True, slots=True)
class ResourceChanged:
    type_url: str
    name: str
    resource: Any


@dataclass(frozen=True, slots=True)
class ResourceFailed:
    """There is nothing to use (any more)."""

    type_url: str
    name: str
    error: str
    transient: bool = False


@dataclass(frozen=True, slots=True)
class AmbientError:
    """The cached resource stays in use; ``error`` "" says that all is well again."""

    type_url: str
    name: str
    error: str


Notice = ResourceChanged | ResourceFailed | AmbientError
Key = tuple[str, str]

NOT_FOUND = 5
PERMISSION_DENIED = 7


class Watches:
    """Entries by (type URL, name). Entries are immutable, so any thread may read them.

    ``accepted`` and ``rejected`` count resources by type URL.
    ``drop``: a server that asks for it (``fail_on_data_errors``) takes back what it disowns.
    """

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self._entries: dict[Key, Entry] = {}
        self._lost: dict[str | None, str] = {}

    @property
    def connection_error(self) -> str:
        """Of the authority that answers nobody, if any; the default one first."""
        return self._lost.get(None) or next(iter(self._lost.values()), "")

    def connection_error_of(self, name: str) -> str:
        return self._lost.get(authority(name), "") if self._lost else ""

    def get(self, type_url: str, name: str) -> Entry | None:
        return self._entries.get((type_url, name))

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries.values())

    def watch(self, type_url: str, name: str) -> tuple[Notice, ...]:
        """Begin to watch; a late watcher gets the resource first, then the current error."""
        entry = self._entries.setdefault((type_url, name), Entry(type_url=type_url, name=name))
        error = entry.error or self.connection_error_of(name)
        if entry.resource is None:
            return (_failed(entry, error),) if error else ()
        changed = ResourceChanged(type_url, name, entry.resource)
        return (changed, AmbientError(type_url, name, error)) if error else (changed,)

    def unwatch(self, type_url: str, name: str) -> None:
        self._entries.pop((type_url, name), None)

    def accept(self, fresh: Entry) -> tuple[Notice, ...]:
        """The server sent a valid resource: ``fresh`` replaces what was known."""
        entry = self._entries[fresh.type_url, fresh.name]
        self.accepted[fresh.type_url] += 1
        self._entries[fresh.type_url, fresh.name] = replace(fresh, state=ResourceState.ACKED)
        if entry.resource != fresh.resource:
            return (ResourceChanged(fresh.type_url, fresh.name, fresh.resource),)
        return (AmbientError(fresh.type_url, fresh.name, ""),) if entry.error else ()

    def reject(
        self,
        type_url: str,
        name: str,
        version: str,
        error: str,
        *,
        at: float | None = None,
        drop: bool = False,
    ) -> tuple[Notice, ...]:
        """The server sent a resource that this client refuses (NACK)."""
        self.rejected[type_url] += 1
        entry = replace(self._entries[type_url, name], rejected_version=version, rejected_at=at)
        return self._fail(entry, ResourceState.NACKED, error, drop=drop)

    def receive_error(
        self, type_url: str, name: str, code: int, message: str, *, drop: bool = False
    ) -> tuple[Notice, ...]:
        """The server said what is wrong with a resource (xRFC TP3)."""
        missing = code == NOT_FOUND
        state = ResourceState.DOES_NOT_EXIST if missing else ResourceState.RECEIVED_ERROR
        transient = code not in (NOT_FOUND, PERMISSION_DENIED)
        text = message or f"the control plane reports code {code}"
        entry = self._entries[type_url, name]
        return self._fail(entry, state, text, transient=transient, drop=drop)

    def delete(self, type_url: str, name: str, *, drop: bool = False) -> tuple[Notice, ...]:
        entry = self._entries[type_url, name]
        more = " any more" if entry.updated is not None else ""
        error = f"the control plane does not have it{more}"
        return self._fail(entry, ResourceState.DOES_NOT_EXIST, error, drop=drop)

    def disown(self, type_url: str, name: str, error: str) -> tuple[Notice, ...]:
        """Nobody can be asked for it."""
        entry = self._entries[type_url, name]
        return self._fail(entry, ResourceState.DOES_NOT_EXIST, error)

    def time_out(
        self, type_url: str, name: str, seconds: float, *, transient: bool = False
    ) -> tuple[Notice, ...]:
        """Asked for on a connected stream, and not heard of since."""
        entry = self._entries[type_url, name]
        error = f"the control plane sent nothing for it within {seconds:g} s"
        if transient:
            return self._fail(entry, ResourceState.TIMEOUT, error, transient=True)
        return self._fail(entry, ResourceState.DOES_NOT_EXIST, error)

    def refresh(self, type_url: str, name: str, expires: float | None) -> None:
        """A heartbeat: the resource is as it was, and lives on; one not known stays so."""
        entry = self._entries[type_url, name]
        if entry.resource is not None:
            self._entries[type_url, name] = replace(entry, expires=expires)

    def next_expiry(self) -> float | None:
        return min(
            (e.expires for e in self._entries.values() if e.expires is not None), default=None
        )

    def expire(self, now: float) -> Iterator[Notice]:
        """Drop what outlived its TTL: its server asked for that."""
        for entry in self.entries():
            if entry.expires is None or entry.expires > now:
                continue
            gone = replace(entry, resource=None, expires=None)
            error = "its time to live ran out"
            yield from self._fail(gone, ResourceState.DOES_NOT_EXIST, error)

    def disconnect(self, error: str, asked: str | None = None) -> tuple[Notice, ...]:
        """No word from any server of an authority: what is known stays known, in every state."""
        if error == self._lost.get(asked):
            return ()
        self._lost = {**self._lost, asked: error}
        return tuple(
            AmbientError(entry.type_url, entry.name, error)
            if entry.resource is not None
            else ResourceFailed(entry.type_url, entry.name, error, transient=True)
            for entry in self._entries_of(asked)
            if entry.resource is not None or not entry.error
        )

    def reconnect(self, asked: str | None = None) -> tuple[Notice, ...]:
        if asked not in self._lost:
            return ()
        self._lost = {name: error for name, error in self._lost.items() if name != asked}
        return tuple(
            AmbientError(entry.type_url, entry.name, entry.error)
            for entry in self._entries_of(asked)
            if entry.resource is not None
        )

    def _entries_of(self, asked: str | None) -> list[Entry]:
        return [entry for entry in self.entries() if authority(entry.name) == asked]

    def _fail(
        self,
        entry: Entry,
        state: ResourceState,
        error: str,
        *,
        transient: bool = False,
        drop: bool = False,
    ) -> tuple[Notice, ...]:
        before = self._entries[entry.type_url, entry.name]
        keep = entry.resource is not None and (transient or not drop)
        failed = replace(
            entry,
            state=state,
            error=error,
            transient=transient,
            resource=entry.resource if keep else None,
            expires=entry.expires if keep else None,
        )
        self._entries[entry.type_url, entry.name] = failed
        known = (before.state, before.error, before.resource is None)
        if known == (state, error, failed.resource is None):
            return ()
        if keep:
            return (AmbientError(entry.type_url, entry.name, error),)
        return (_failed(failed, error),)


def _failed(entry: Entry, error: str) -> ResourceFailed:
    return ResourceFailed(
        entry.type_url, entry.name, error, transient=entry.transient or not entry.error
    )
