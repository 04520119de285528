"""Which certificates a CA gave out, and which were renewed by which: for who revokes a serial."""

import msgspec

from .store import Store

FILE = "issued.jsonl"
SPARE = 1000
"""Dead entries that are let lie, beside as many as there were living ones."""


class Given(msgspec.Struct, frozen=True, array_like=True):
    """``line`` is common to a certificate and all that it was renewed by: the first serial."""

    serial: str
    line: str
    spiffe_id: str
    ends: float


class Ledger:
    """Belongs to one CA; used within the lock of its store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: object = None
        self._given: dict[str, Given] = {}
        self._most = SPARE

    def record(
        self, serial: str, spiffe_id: str, ends: float, now: float, renewed: str = ""
    ) -> None:
        """``renewed``: the serial of the certificate by which this one was asked for."""
        self._read()
        line = self._line(renewed) if renewed else serial
        given = Given(serial, line, spiffe_id, ends)
        self._given[serial] = given
        if len(self._given) > self._most:
            self._given = {one.serial: one for one in self._given.values() if now < one.ends}
            self._most = SPARE + 2 * len(self._given)
            self._store.write(FILE, b"".join(map(_line, self._given.values())))
        else:
            self._store.append(FILE, _line(given))
        self._seen = self._store.version(FILE)

    def of_line(self, serial: str, now: float) -> tuple[Given, ...]:
        """All that are of one line with this certificate and living."""
        self._read()
        line = self._line(serial)
        return tuple(o for o in self._given.values() if o.line == line and now < o.ends)

    def owner(self, serial: str) -> str:
        """Whose it is; "": not known, or dead for long."""
        self._read()
        given = self._given.get(serial)
        return "" if given is None else given.spiffe_id

    def _line(self, serial: str) -> str:
        given = self._given.get(serial)
        return serial if given is None else given.line

    def _read(self) -> None:
        version = self._store.version(FILE)
        if version == self._seen:
            return
        lines = (self._store.read(FILE) or b"").splitlines()
        found = [one for line in lines if (one := _given(line)) is not None]
        self._given = {one.serial: one for one in found}
        self._seen = version


def _line(given: Given) -> bytes:
    """Begins anew, for one before it may have been cut off by the end of its program."""
    return b"\n" + msgspec.json.encode(given) + b"\n"


def _given(line: bytes) -> Given | None:
    try:
        return msgspec.json.decode(line, type=Given) if line else None
    except msgspec.DecodeError:
        return None
