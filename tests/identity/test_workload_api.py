"""What the SPIFFE Workload API gives is taken as a whole, and kept while it is away."""

import ssl
import threading
from concurrent import futures

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshlib.identity.authority import Authority
from meshlib.identity.credentials import IdentityError
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.identity.workload_api import WorkloadApiSource, endpoint, read

NOW = 1_700_000_000.0
DOMAIN = TrustDomain("cluster.local")
REVIEWS = SpiffeId(DOMAIN, "/ns/default/sa/reviews")


def varint(number):
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def ders(pem):
    end = "-----END CERTIFICATE-----"
    parts = [part + end for part in pem.decode().split(end)[:-1]]
    return b"".join(map(ssl.PEM_cert_to_DER_cert, (part.strip() for part in parts)))


def key_der(pem):
    return serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def response(svid, bundle, federated=(), more=b""):
    one = b"".join(
        (
            field(1, svid.spiffe_id.encode()),
            field(2, ders(svid.certificate_chain)),
            field(3, key_der(svid.private_key)),
            field(4, ders(bundle.pem)),
            field(5, b"internal"),
        )
    )
    bundles = b"".join(
        field(3, field(1, other.trust_domain.encode()) + field(2, ders(other.pem)))
        for other in federated
    )
    return field(1, one) + bundles + more


@pytest.fixture(scope="module")
def authority():
    return Authority.create(MemoryStore(), DOMAIN, NOW)


@pytest.fixture(scope="module")
def other():
    return Authority.create(MemoryStore(), TrustDomain("other.example"), NOW)


def test_the_default_svid_and_all_bundles_are_taken(authority, other):
    svid = authority.issue(REVIEWS, NOW)
    made = read(response(svid, authority.bundle(), [other.bundle()]), NOW, "here")
    assert (made.svid.spiffe_id, made.svid.serial) == (str(REVIEWS), svid.serial)
    assert set(made.bundles) == {"cluster.local", "other.example"}
    assert made.svid.certificate_chain.count(b"BEGIN CERTIFICATE") == 2
    assert made.derived_names


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"", "no identity for this program"),
        (b"\x0a", "half a message"),
        (b"\x0a\x05ab", "half a message"),
        (b"\xff" * 11, "half a message"),
        (b"\x0b", "something else"),
        (field(1, field(2, b"x")), "left out field 3"),
        (field(1, field(2, b"x") + field(3, b"x") + field(4, b"x")), "no certificates"),
        (field(1, field(2, b"0\x00") + field(3, b"x") + field(4, b"")), "no private key"),
        (b"\0" * (4 * 1024 * 1024 + 1), "too much"),
    ],
)
def test_what_is_no_answer_is_refused(message, what):
    with pytest.raises(IdentityError, match=what):
        read(message, NOW, "here")


def test_other_fields_are_passed_over(authority):
    svid = authority.issue(REVIEWS, NOW)
    more = b"\x38\x01" + b"\x41" + bytes(8) + b"\x4d" + bytes(4)
    assert read(response(svid, authority.bundle(), more=more), NOW, "here").svid is not None


def test_a_weak_key_is_refused(authority):
    svid = authority.issue(REVIEWS, NOW)
    weak = ec.generate_private_key(ec.SECP192R1()).private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    message = response(svid, authority.bundle()).replace(
        field(3, key_der(svid.private_key)), field(3, weak)
    )
    inner = message[3:]  # the length of the whole is another one now
    with pytest.raises(IdentityError, match="a weak private key"):
        read(field(1, inner), NOW, "here")


def test_a_list_of_the_revoked_that_is_none_is_refused(authority):
    svid = authority.issue(REVIEWS, NOW)
    message = response(svid, authority.bundle(), more=field(2, b"junk"))
    with pytest.raises(IdentityError):
        read(message, NOW, "here")


def test_a_foreign_svid_is_refused(authority, other):
    svid = other.issue(SpiffeId(TrustDomain("other.example"), "/x"), NOW)
    with pytest.raises(IdentityError, match="no root of its trust domain"):
        read(response(svid, authority.bundle()), NOW, "here")


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("unix:///run/agent.sock", "unix:/run/agent.sock"),
        ("unix:/run/agent.sock", "unix:/run/agent.sock"),
        ("tcp://127.0.0.1:8000", "ipv4:127.0.0.1:8000"),
        ("tcp://[::1]:8000", "ipv6:[::1]:8000"),
    ],
)
def test_places_are_read_as_the_standard_has_them(given, target):
    assert endpoint(given) == target


@pytest.mark.parametrize("given", ["", "unix://agent.sock", "tcp://127.0.0.1", "https://x:1", "x"])
def test_other_places_are_refused(given, monkeypatch):
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    with pytest.raises(IdentityError, match="SPIFFE_ENDPOINT_SOCKET must be"):
        endpoint(given)


class Agent(grpc.GenericRpcHandler):
    """Sends what it is given; ends the stream at ``None``."""

    def __init__(self, path) -> None:
        self.target = f"unix:{path}"
        self.messages = []
        self.ready = threading.Condition()
        self.metadata = []
        self.streams = 0
        self._pool = futures.ThreadPoolExecutor(4)
        self.server = grpc.server(self._pool)
        self.server.add_generic_rpc_handlers((self,))
        self.server.add_insecure_port(self.target)
        self.server.start()

    def service(self, details):
        assert details.method == "/SpiffeWorkloadAPI/FetchX509SVID"
        self.metadata.append(dict(details.invocation_metadata))
        return grpc.unary_stream_rpc_method_handler(self.stream)

    def stream(self, _request, context):
        self.streams += 1
        while context.is_active():
            with self.ready:
                self.ready.wait_for(lambda: self.messages or not context.is_active(), 0.05)
                message = self.messages.pop(0) if self.messages else b""
            if message is None:
                return
            if message:
                yield message

    def send(self, message):
        with self.ready:
            self.messages.append(message)
            self.ready.notify_all()

    def close(self):
        self.server.stop(0).wait()
        self._pool.shutdown()


@pytest.fixture
def agent(tmp_path):
    made = Agent(tmp_path / "agent.sock")
    yield made
    made.close()


@pytest.fixture
def source(agent):
    made = WorkloadApiSource(agent.target, clock=lambda: NOW, dice=lambda: 0.0)
    yield made
    made.close()


@pytest.fixture
def heard(source):
    """Waits for so many credentials; their serials."""
    serials, there = [], threading.Condition()

    def news(credentials):
        with there:
            serials.append(credentials.svid.serial)
            there.notify_all()

    source.watch(news)

    def wait(count):
        with there:
            assert there.wait_for(lambda: len(serials) >= count, 20)
        return serials

    return wait


def test_new_svids_come_by_the_stream(agent, source, heard, authority):
    source.start()
    source.start()
    first, second = (authority.issue(REVIEWS, NOW) for _ in range(2))
    agent.send(response(first, authority.bundle()))
    heard(1)
    agent.send(response(second, authority.bundle()))
    assert heard(2) == [first.serial, second.serial]
    assert agent.metadata[0]["workload.spiffe.io"] == "true"
    assert source.status()["error"] == ""
    assert source.status()["serial"] == f"{second.serial:x}"


def test_a_bad_answer_and_a_broken_stream_leave_the_last_good_ones(agent, source, heard, authority):
    source.start()
    first, second = (authority.issue(REVIEWS, NOW) for _ in range(2))
    agent.send(response(first, authority.bundle()))
    heard(1)
    agent.send(b"\x0a")
    agent.send(None)
    agent.send(response(second, authority.bundle()))
    assert heard(2) == [first.serial, second.serial]
    assert agent.streams == 2
    assert source.current().svid.serial == second.serial


def test_who_never_began_may_end(agent):
    WorkloadApiSource(agent.target, clock=lambda: NOW, dice=lambda: 0.0).close()


def test_a_channel_that_was_closed_is_the_end(agent, source, heard, authority):
    source.start()
    agent.send(response(authority.issue(REVIEWS, NOW), authority.bundle()))
    heard(1)
    source._channel.close()
    source._thread.join(20)
    assert not source._thread.is_alive()
