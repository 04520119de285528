"""Credentials of a CA that speaks Istio's protocol: ours, or istiod.

A thread of its own renews them in good time, and another hears from our CA whom to believe.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ..clock import Clock, Dice
from .authenticators import ID_METADATA
from .ca_messages import (
    CERTIFICATES,
    TRUST,
    CertificateRequest,
    Trust,
    decode_chain,
    decode_trust,
    encode_heard,
    encode_request,
)
from .credentials import Credentials, IdentityError, Svid, UntrustedError
from .rotation import Renewal
from .sources import Feed, credentials

if TYPE_CHECKING:
    import grpc

    from .keys import PrivateKey

log = logging.getLogger("meshlib")

METHOD = f"/{CERTIFICATES}/CreateCertificate"
STREAM = f"/{TRUST}/StreamTrust"
PATIENCE = 10.0
PAUSE = 1.0
"""Seconds before whom to believe is asked again, after the stream broke."""
LARGEST_TOKEN = 64 * 1024
UNVERIFIED = "CERTIFICATE_VERIFY_FAILED"
OTHER_ROOT = " (what answers there is not of the roots by which the CA is known: MESHLIB_CA_ROOT)"
NAME = "grpc.ssl_target_name_override"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaAddress:
    """Where the CA is, and how each knows the other.

    ``roots`` and ``token`` are asked for when they are needed, so that files may change; ``token``
    "" is none. ``server_name`` is as which the CA shows itself, if not by its address.
    ``spiffe_id`` is who this is, for a socket of this machine, where nobody has to prove it.
    """

    target: str
    roots: Callable[[], bytes] | None = None
    token: Callable[[], str] = str
    server_name: str = ""
    spiffe_id: str = ""


class CaSource(Feed):
    """Keeps what it has until it expires, whatever becomes of the CA."""

    def __init__(
        self,
        address: CaAddress,
        *,
        wall: Clock,
        monotonic: Clock,
        dice: Dice,
        ttl: float = 0.0,
    ) -> None:
        super().__init__()
        self._address = address
        self._wall = wall
        self._monotonic = monotonic
        self._dice = dice
        self._ttl = ttl
        self._error = "it has not answered yet"
        self._begin()

    def _begin(self) -> None:
        self._settling = threading.Lock()
        self._wakes = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._hearing: threading.Thread | None = None
        self._channel: grpc.Channel | None = None
        self._renewal = Renewal(self._dice, self._wall(), self._monotonic())
        self._renew_now = False
        self._believed = True

    def start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        if self._thread is not None:  # the parent's, who forked
            self._begin()
        self._thread = threading.Thread(target=self._run, name="meshlib-ca", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._wakes.set()
        with suppress(Exception):
            if self._channel is not None:
                self._channel.close()
        for thread in (self._thread, self._hearing):
            if thread is not None:
                thread.join(PATIENCE)

    def status(self) -> Mapping[str, object]:
        told = {"kind": "ca", "address": self._address.target, "error": self._error}
        return {**told, **self.shown()}

    # -- the certificate ------------------------------------------------------------------------

    def _run(self) -> None:
        self._resume()
        while not self._ending.is_set():
            wall, monotonic = self._wall(), self._monotonic()
            if self._renew_now or self._renewal.due(wall, monotonic):
                self._renew_now = False
                self._renew()
            for alarm in self._renewal.alarms(self._wall()):
                log.warning("%s: %s", self._address.target, alarm.text)
            if not self._renew_now:
                self._wakes.wait(self._renewal.wait(self._wall(), self._monotonic()))
            self._wakes.clear()

    def _resume(self) -> None:
        """In a forked child: the parent's serve on until it is time."""
        current = self.current()
        if current is not None and current.svid is not None:
            svid = current.svid
            self._renewal.renewed(svid.not_before, svid.not_after, self._wall())
            self._listen()

    def _renew(self) -> None:
        import grpc

        try:
            self._take(*self._ask())
        except (IdentityError, UntrustedError) as error:
            self._fail(str(error))
        except grpc.RpcError as error:
            told = isinstance(error, grpc.Call)
            said = f"{error.code().name}: {error.details()}" if told else str(error)
            self._fail(f"{said}{OTHER_ROOT * (UNVERIFIED in said)}")
        else:
            self._listen()

    def _ask(self) -> "tuple[tuple[bytes, ...], bytes]":
        """The chain, and the key that it is for."""
        from .keys import new_key, private_pem

        key = new_key()
        request = CertificateRequest(signing_request(key), self._ttl)
        metadata = self._metadata()
        with self._open() as channel:
            create: Any = channel.unary_unary(METHOD)  # bytes both ways
            answer: bytes = create(encode_request(request), timeout=PATIENCE, metadata=metadata)
        return decode_chain(answer), private_pem(key)

    def _take(self, chain: tuple[bytes, ...], key: bytes) -> None:
        if len(chain) < 2:
            raise IdentityError("the CA left out its root")
        shown, roots, where = b"".join(map(_ended, chain[:-1])), chain[-1], self._address.target
        made = credentials(shown, key, roots, {}, self._wall(), where)
        svid = made.svid
        assert svid is not None
        with self._settling:
            current = self.current()
            if current is not None:
                domain = _domain_of(svid)
                bundle, known = made.bundles[domain], current.bundles.get(domain)
                if known is not None and known.sequence:  # heard of more surely
                    bundle = known if set(bundle.roots) <= set(known.roots) else bundle
                bundles = {**current.bundles, domain: bundle}
                made = replace(made, bundles=bundles, revoked=current.revoked)
            self._renewal.renewed(svid.not_before, svid.not_after, self._wall())
            self._believed, self._error = True, ""
            self.put(made)
        log.info("%s until %d, of %s", svid.spiffe_id, svid.not_after, where)

    def _fail(self, why: str) -> None:
        if self._ending.is_set():
            return
        if self._error != why:
            log.warning("the CA at %s: %s", self._address.target, why)
        self._error = why
        self._renewal.failed(self._monotonic())

    def _living(self) -> Svid | None:
        """What the CA can still be shown."""
        current = self.current()
        svid = None if current is None else current.svid
        if svid is None or not self._believed or self._wall() >= svid.not_after:
            return None
        return svid

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._address.target.startswith("unix:"):
            return ((ID_METADATA, self._address.spiffe_id),)
        token = "" if self._living() is not None else self._address.token()
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _open(self) -> "grpc.Channel":
        import grpc

        address = self._address
        options: tuple[tuple[str, str | int], ...] = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        )
        if address.target.startswith("unix:"):
            return grpc.insecure_channel(address.target, options)
        if address.server_name:
            options = (*options, (NAME, address.server_name))
        svid = self._living()
        key, chain = (None, None) if svid is None else (svid.private_key, svid.certificate_chain)
        made = grpc.ssl_channel_credentials(self._roots(), key, chain)
        return grpc.secure_channel(address.target, made, options)

    def _roots(self) -> bytes | None:
        """Those that were told last; those of the beginning may have been taken back since."""
        current = self.current()
        svid = None if current is None else current.svid
        if current is not None and svid is not None:
            # Of no federated domain: its CA could claim this one's name as well.
            return current.bundles[_domain_of(svid)].pem
        return None if self._address.roots is None else self._address.roots()

    # -- whom to believe ------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._hearing is None or not self._hearing.is_alive():
            self._hearing = threading.Thread(target=self._hear, name="meshlib-trust", daemon=True)
            self._hearing.start()

    def _hear(self) -> None:
        import grpc

        while not self._ending.is_set():
            heard: SimpleQueue[int | None] = SimpleQueue()
            try:
                self._channel = channel = self._open()
                with channel:
                    stream: Any = channel.stream_stream(STREAM)
                    for message in stream(_acknowledging(heard)):
                        trust = decode_trust(message)
                        self._believe(trust)
                        heard.put(trust.bundle.sequence)
            except grpc.RpcError as error:
                if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return  # not ours: its roots come with its certificates
            except (IdentityError, ValueError) as error:
                log.warning("the CA at %s: %s", self._address.target, error)
            finally:
                heard.put(None)
            self._ending.wait(PAUSE * (0.5 + self._dice()))

    def _believe(self, trust: Trust) -> None:
        with self._settling:
            current = self.current()
            if current is None or not trust.bundle.roots:
                return
            # The CA's own comes last: nothing that is said of others takes its place.
            bundles = {one.trust_domain: one for one in (*trust.federated, trust.bundle)}
            made = replace(current, bundles=bundles, revoked=trust.revoked)
            self.put(made)
            self._believed = self._is_believed(made)
        if not self._believed:
            self._renew_now = True
            self._wakes.set()

    def _is_believed(self, made: Credentials) -> bool:
        """By others who go by these roots. Who is revoked need not ask again."""
        from .leaf import check_leaf

        assert made.svid is not None
        try:
            check_leaf(
                made.svid.certificate_chain, replace(made, revoked=frozenset()), self._wall()
            )
        except UntrustedError:
            return False
        return True


def signing_request(key: "PrivateKey") -> bytes:
    """It proves that the key is there, and says nothing else."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM)


def _domain_of(svid: Svid) -> str:
    return svid.spiffe_id.removeprefix("spiffe://").partition("/")[0]


def _ended(pem: bytes) -> bytes:
    return pem if pem.endswith(b"\n") else pem + b"\n"


def _acknowledging(heard: "SimpleQueue[int | None]") -> Iterator[bytes]:
    while (sequence := heard.get()) is not None:
        yield encode_heard(sequence)
