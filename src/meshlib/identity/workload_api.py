"""Credentials of the SPIFFE Workload API (SPIRE's agent and its like), by a socket of this machine.

Of its messages five fields matter here, so they are read as they stand on the wire.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from ssl import DER_cert_to_PEM_cert
from typing import Any

from ..clock import Clock, Dice
from .credentials import Credentials, IdentityError
from .sources import Feed, credentials
from .spiffe import TrustDomain

log = logging.getLogger("meshlib")

METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
METADATA = (("workload.spiffe.io", "true"),)
"""Without it the API refuses to answer: no browser can be tricked into sending it."""
ENVIRONMENT = "SPIFFE_ENDPOINT_SOCKET"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
LARGEST = 4 * 1024 * 1024

SVIDS, REVOCATION_LISTS, FEDERATED = 1, 2, 3
CHAIN, KEY, ROOTS = 2, 3, 4
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def endpoint(given: str | None = None) -> str:
    """As gRPC wants it. Raises :class:`IdentityError` for what is no place on this machine."""
    named = given or os.environ.get(ENVIRONMENT, "")
    kind, _, rest = named.partition(":")
    path = rest.removeprefix("//")
    if kind == "unix" and path.startswith("/"):
        return f"unix:{path}"
    if kind == "tcp" and rest.startswith("//") and path.rpartition(":")[2].isdigit():
        return f"{'ipv6' if path.startswith('[') else 'ipv4'}:{path}"
    raise IdentityError(
        f"{named!r} is no place of the SPIFFE Workload API: "
        f"{ENVIRONMENT} must be unix:///path or tcp://ip:port"
    )


class WorkloadApiSource(Feed):
    """Stays connected: the agent sends new ones when it is time."""

    def __init__(self, target: str, *, clock: Clock, dice: Dice) -> None:
        super().__init__()
        self._target = target
        self._clock = clock
        self._dice = dice
        self._error = "it has not answered yet"
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._channel: Any = None

    def start(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # the parent's, who forked
            self._over.clear()
            self._thread = threading.Thread(target=self._run, name="meshlib-spiffe", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._channel is not None:
            self._channel.close()
        if self._thread is not None:
            self._thread.join()

    def status(self) -> Mapping[str, object]:
        told = {"kind": "workload-api", "endpoint": self._target, "error": self._error}
        return {**told, **self.shown()}

    def _run(self) -> None:
        import grpc

        pause = FIRST_PAUSE
        self._channel = grpc.insecure_channel(self._target, (("grpc.enable_http_proxy", 0),))
        while not self._over.is_set():
            try:
                for message in self._channel.unary_stream(METHOD)(b"", metadata=METADATA):
                    self._take(message)
                    pause = FIRST_PAUSE
                self._fail("it ended the stream")
            except grpc.RpcError as error:
                self._fail(f"{error.code().name}: {error.details()}")
            except ValueError:
                return  # the channel is closed
            self._over.wait(pause * (0.5 + self._dice()))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _take(self, message: bytes) -> None:
        try:
            found = read(message, self._clock(), self._target)
        except IdentityError as refused:
            self._fail(str(refused))
            return
        self._error = ""
        self.put(found)

    def _fail(self, why: str) -> None:
        if self._error != why and not self._over.is_set():
            log.warning("SPIFFE Workload API at %s: %s", self._target, why)
        self._error = why


def read(message: bytes, now: float, where: str) -> Credentials:
    """The first SVID of an ``X509SVIDResponse``, which is the default one, and all bundles."""
    found = _grouped(message)
    if not found.get(SVIDS):
        raise IdentityError("it has no identity for this program")
    svid = _grouped(found[SVIDS][0])
    chain, key, roots = (_only(svid, number) for number in (CHAIN, KEY, ROOTS))
    federated = {}
    for entry in found.get(FEDERATED, ()):
        pair = _grouped(entry)
        domain = TrustDomain.parse(_only(pair, 1).decode("utf-8", "replace"))
        federated[str(domain)] = _pem(_only(pair, 2))
    made = credentials(_pem(chain), _key(key), _pem(roots), federated, now, where)
    lists = found.get(REVOCATION_LISTS)
    return replace(made, revoked=_revoked(lists, made, now)) if lists else made


def _revoked(lists: list[bytes], made: Credentials, now: float) -> frozenset[str]:
    from .revocation import revoked_serials

    bundles = made.bundles.values()
    return frozenset().union(*(revoked_serials(one, bundles, now) for one in lists))


def _key(der: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    from .keys import is_strong, private_pem

    try:
        key = load_der_private_key(der, None)
    except (ValueError, TypeError):
        # not chained: the parser's error may quote what it read
        raise IdentityError("the Workload API sent no private key") from None
    if not is_strong(key.public_key()):
        raise IdentityError("the Workload API sent a weak private key")
    return private_pem(key)  # type: ignore[arg-type] # is_strong() lets two kinds pass


def _pem(ders: bytes) -> bytes:
    return "".join(map(DER_cert_to_PEM_cert, _apart(ders))).encode()


def _apart(ders: bytes) -> Iterator[bytes]:
    """Certificates in DER, one after the other: each says how long it is."""
    at = 0
    while at < len(ders):
        length, size = ders[at + 1] if at + 1 < len(ders) else 0, 2
        if length & 0x80:
            size += length & 0x7F
            length = int.from_bytes(ders[at + 2 : at + size])
        end = at + size + length
        if ders[at] != 0x30 or end > len(ders):
            raise IdentityError("the Workload API sent no certificates")
        yield ders[at:end]
        at = end


def _only(fields: Mapping[int, list[bytes]], number: int) -> bytes:
    found = fields.get(number)
    if not found:
        raise IdentityError(f"the Workload API left out field {number}")
    return found[-1]


def _grouped(message: bytes) -> dict[int, list[bytes]]:
    """The fields that have a length; others do not matter."""
    if len(message) > LARGEST:
        raise IdentityError("the Workload API sent too much")
    found: dict[int, list[bytes]] = {}
    with suppress(IndexError):
        at = 0
        while at < len(message):
            tag, at = _varint(message, at)
            value, at = _value(message, at, tag & 7)
            if value is not None:
                found.setdefault(tag >> 3, []).append(value)
        return found
    raise IdentityError("the Workload API sent half a message")


def _value(message: bytes, at: int, kind: int) -> tuple[bytes | None, int]:
    if kind == VARINT:
        return None, _varint(message, at)[1]
    if kind in (FIXED64, FIXED32):
        return None, at + (8 if kind == FIXED64 else 4)
    if kind != BYTES:
        raise IdentityError("the Workload API sent something else")
    length, at = _varint(message, at)
    if at + length > len(message):
        raise IndexError
    return message[at : at + length], at + length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 64, 7):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, at
    raise IndexError
