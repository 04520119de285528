"""Issuers' keys by URI: whom a configuration may make us ask, and how long keys count."""

import asyncio
import base64
import ipaddress
import json
import ssl
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from meshlib.identity.jwks import KeySet, parse_keys
from meshlib.identity.key_fetch import (
    ALLOWED_HOSTS,
    Fetcher,
    FetchError,
    allowed_hosts,
    checked_uri,
    is_forbidden,
)
from meshlib.identity.remote_keys import BETWEEN_EXTRA, IDLE, MAX_AGE, Issuer, RemoteKeys
from meshlib.model.authn import RemoteJwks
from meshlib.testing import FakeClock, always

HERE = frozenset({"localhost"})
ISSUER = "https://issuer.example"
SOURCE = RemoteJwks(uri="https://issuer.example/keys", cache_duration=600.0)


def jwk(key_id: str = "one") -> dict[str, str]:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "kid": key_id,
        **{name: _coordinate(getattr(numbers, name)) for name in ("x", "y")},
    }


def _coordinate(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


KEYS = json.dumps({"keys": [jwk()]})
SET = parse_keys(KEYS)


# --- a server of keys ---


class KeyServer:
    """Answers as it is told to, over https; ``asked`` are the paths that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {"/keys": KEYS}
        self.headers: dict[str, str] = {}
        self.hangs = asyncio.Event()
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        found = self.answers[request.path]
        if found is self.hangs:
            await self.hangs.wait()
        if isinstance(found, int):
            return web.Response(status=found, headers=self.headers)
        return web.Response(body=found)

    def uri(self, path: str = "/keys", host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keys")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    place = tmp_path_factory.mktemp("keys") / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    place.write_bytes(private + made.public_bytes(Encoding.PEM))
    return place


@pytest.fixture
async def server(certificate: Path) -> AsyncIterator[KeyServer]:
    made = KeyServer()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    made.hangs.set()
    await runner.cleanup()


@pytest.fixture
def fetcher(certificate: Path) -> Fetcher:
    return Fetcher(HERE, ssl.create_default_context(cafile=certificate))


async def test_keys_are_fetched_by_https(server: KeyServer, fetcher: Fetcher) -> None:
    found = await fetcher.fetch(server.uri(), ISSUER, 10)
    assert [key.key_id for key in found.keys] == ["one"]


async def test_a_server_that_nobody_vouches_for_is_not_believed(server: KeyServer) -> None:
    with pytest.raises(FetchError, match="certificate"):
        await Fetcher(HERE).fetch(server.uri(), ISSUER, 10)
    assert server.asked == []


async def test_a_redirect_is_not_followed(server: KeyServer, fetcher: Fetcher) -> None:
    server.answers["/moved"] = 302
    server.headers["location"] = server.uri()
    with pytest.raises(FetchError, match="answered 302"):
        await fetcher.fetch(server.uri("/moved"), ISSUER, 10)
    assert server.asked == ["/moved"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b" " * (1024 * 1024 + 1), "more than"),
        (b"{", "not JSON"),
        (b'{"keys": []}', "has no keys"),
        (500, "answered 500"),
    ],
)
async def test_what_is_no_key_set_is_not_taken(
    server: KeyServer, fetcher: Fetcher, answer: Any, why: str
) -> None:
    server.answers["/keys"] = answer
    with pytest.raises(FetchError, match=why):
        await fetcher.fetch(server.uri(), ISSUER, 10)


async def test_a_server_that_does_not_answer_is_given_up(
    server: KeyServer, fetcher: Fetcher
) -> None:
    server.answers["/keys"] = server.hangs
    with pytest.raises(FetchError, match="gave no answer"):
        await fetcher.fetch(server.uri(), ISSUER, 0.2)


# --- OpenID's discovery ---

CONFIGURATION = "/.well-known/openid-configuration"


async def test_the_issuers_configuration_says_where_the_keys_are(
    server: KeyServer, fetcher: Fetcher
) -> None:
    said = {"issuer": ISSUER, "jwks_uri": server.uri()}
    server.answers[CONFIGURATION] = json.dumps(said)
    found = await fetcher.fetch(server.uri(CONFIGURATION), ISSUER, 10)
    assert len(found.keys) == 1
    assert server.asked == [CONFIGURATION, "/keys"]


@pytest.mark.parametrize(
    ("said", "issuer", "why"),
    [
        ('{"issuer": "https://other", "jwks_uri": "https://localhost/"}', ISSUER, "not the conf"),
        ('{"issuer": "", "jwks_uri": "https://localhost/"}', "", "not the configuration"),
        ("[]", ISSUER, "not the configuration"),
        ("nothing", ISSUER, "is not JSON"),
        (json.dumps({"issuer": ISSUER}), ISSUER, "where the keys are"),
        (json.dumps({"issuer": ISSUER, "jwks_uri": "http://localhost/"}), ISSUER, "https://"),
        (json.dumps({"issuer": ISSUER, "jwks_uri": "https://169.254.169.254/"}), ISSUER, "stands"),
        (json.dumps({"issuer": ISSUER, "jwks_uri": "https://127.0.0.1/"}), ISSUER, "stands for"),
    ],
)
async def test_a_configuration_that_leads_astray_is_not_followed(
    server: KeyServer, fetcher: Fetcher, said: str, issuer: str, why: str
) -> None:
    server.answers[CONFIGURATION] = said
    with pytest.raises(FetchError, match=why):
        await fetcher.fetch(server.uri(CONFIGURATION), issuer, 10)
    assert server.asked == [CONFIGURATION]


# --- whom a configuration may make us ask (SSRF) ---


@pytest.mark.parametrize(
    "uri",
    [
        "http://issuer.example/keys",
        "file:///etc/passwd",
        "https:///keys",
        "https://user@issuer.example/",
        "https://issuer.example/#keys",
        "https://issuer.example:0/",
        "https://issuer.example:99999/",
        "https://127。0。0。1/",
        "https://issuer.example\\@127.0.0.1/",
        "https://%31%32%37.0.0.1/",
        "https://[::1/",
        "https://issuer.example/a\x7fb",
    ],
)
def test_only_a_plain_https_uri_is_followed(uri: str) -> None:
    with pytest.raises(FetchError):
        checked_uri(uri)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.1.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1%eth0",
        "ff02::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_nobody_on_this_machine_its_link_or_its_cloud_is_asked(address: str) -> None:
    assert is_forbidden(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "10.0.0.7", "192.168.1.1", "2606:2800::1"])
def test_others_may_be_asked(address: str) -> None:
    assert not is_forbidden(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433"])
async def test_a_name_of_this_machine_is_refused_whatever_it_looks_like(
    server: KeyServer, certificate: Path, host: str
) -> None:
    strict = Fetcher(frozenset({"other"}), ssl.create_default_context(cafile=certificate))
    with pytest.raises(FetchError, match=ALLOWED_HOSTS):
        await strict.fetch(server.uri(host=host), ISSUER, 10)
    assert server.asked == []


async def test_a_host_may_be_allowed_with_its_port_only(
    server: KeyServer, certificate: Path
) -> None:
    context = ssl.create_default_context(cafile=certificate)
    allowed = Fetcher(frozenset({f"localhost:{server.port}"}), context)
    assert (await allowed.fetch(server.uri(), ISSUER, 10)).keys
    other = Fetcher(frozenset({"localhost:1"}), context)
    with pytest.raises(FetchError):
        await other.fetch(server.uri(), ISSUER, 10)


async def test_the_connection_goes_to_the_very_address_that_was_looked_at(
    server: KeyServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that changes between the look and the connection (DNS rebinding)."""
    loop, asked = asyncio.get_running_loop(), []

    async def resolved(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        if len(asked) > 1:
            raise AssertionError("asked again")
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(loop, "getaddrinfo", resolved)
    fetcher = Fetcher(HERE, ssl.create_default_context(cafile=certificate))
    assert (await fetcher.fetch(server.uri(), ISSUER, 10)).keys
    assert asked == ["localhost"]


async def test_whoever_is_elsewhere_is_asked(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address of the documentation: nobody answers there, but it was tried."""

    async def resolved(host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", ("192.0.2.1", port)), (10, 1, 6, "", ("2001:db8::1", port, 0, 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)
    with pytest.raises(FetchError, match=r"https://issuer\.example/keys") as failed:
        await fetcher.fetch("https://issuer.example/keys", ISSUER, 0.2)
    assert "stands for" not in str(failed.value)


async def test_a_host_that_nobody_knows_is_an_error(fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match="cannot be resolved"):
        await fetcher.fetch("https://nobody.invalid/", ISSUER, 10)


def test_hosts_are_allowed_by_the_environment() -> None:
    assert allowed_hosts({}) == frozenset()
    assert allowed_hosts({ALLOWED_HOSTS: "Keys.local, a:8443 ,"}) == {"keys.local", "a:8443"}


# --- how long keys count ---


def an_issuer(dice: float = 0.0) -> tuple[Issuer, FakeClock]:
    clock = FakeClock(1000.0)
    return Issuer(SOURCE, ISSUER, clock, always(dice)), clock


def test_keys_are_due_again_after_their_time_with_jitter() -> None:
    issuer, clock = an_issuer(dice=0.5)
    assert issuer.is_due
    issuer.succeeded(SET)
    clock.jump(569)
    assert not issuer.is_due
    clock.jump(2)
    assert issuer.is_due
    assert issuer.current() is SET


def test_a_fetch_that_fails_leaves_what_was_fetched_before_for_a_day() -> None:
    """CVE-2026-31837: no other keys ever take the place of those that cannot be had."""
    issuer, clock = an_issuer()
    issuer.succeeded(SET)
    clock.jump(MAX_AGE)
    issuer.failed("down")
    assert issuer.current() is SET
    assert issuer.status() == {"uri": SOURCE.uri, "age": MAX_AGE, "error": "down"}
    clock.jump(1)
    assert issuer.current() is None


def test_one_that_fails_is_asked_less_and_less_often() -> None:
    issuer, clock = an_issuer()
    pauses = []
    for _ in range(12):
        issuer.failed("down")
        pauses.append(issuer.due - clock())
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 300
    assert issuer.current() is None
    issuer.succeeded(SET)
    issuer.failed("down")
    assert issuer.due - clock() == 1


def test_unknown_keys_make_it_ask_once_a_minute_at_most() -> None:
    issuer, clock = an_issuer()
    assert issuer.may_ask_again()
    assert not issuer.may_ask_again()
    clock.jump(BETWEEN_EXTRA - 1)
    assert not issuer.may_ask_again()
    clock.jump(1)
    assert issuer.may_ask_again()


# --- beside the calls ---


class Script:
    """A fetch that does as it is told, one after the other, and the last for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.count = 0
        self.gate: threading.Event | None = None

    async def __call__(self, *question: Any) -> KeySet:
        assert question == (SOURCE.uri, ISSUER, SOURCE.timeout)
        self.count += 1
        if self.gate is not None:
            await asyncio.to_thread(self.gate.wait, 10)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        found: KeySet = answer
        return found


@pytest.fixture
def keys_by() -> Any:
    made: list[RemoteKeys] = []

    def make(fetch: Any, clock: Any = None) -> RemoteKeys:
        made.append(RemoteKeys(clock=clock or FakeClock(), dice=always(0), fetch=fetch))
        return made[-1]

    yield make
    for one in made:
        one.close()


def fetched(remote: RemoteKeys) -> KeySet | None:
    """What is there when the fetch that is under way is over."""
    over = threading.Event()
    if remote.when_fetched(SOURCE, ISSUER, over.set):
        assert over.wait(10)
    return remote.current(SOURCE, ISSUER)


def test_the_first_question_begins_a_fetch_and_its_end_is_told(keys_by: Any) -> None:
    remote = keys_by(script := Script(SET))
    assert remote.current(SOURCE, ISSUER) is None
    assert fetched(remote) is SET
    assert not remote.when_fetched(SOURCE, ISSUER, lambda: None)
    assert script.count == 1
    assert remote.status() == {ISSUER: {"uri": SOURCE.uri, "age": 0.0, "error": ""}}


@pytest.mark.parametrize("error", [FetchError("down"), RuntimeError("broken")])
def test_a_failure_opens_nothing_and_is_told(keys_by: Any, error: Exception) -> None:
    remote = keys_by(Script(error))
    assert remote.current(SOURCE, ISSUER) is None
    assert fetched(remote) is None
    assert str(error) in remote.status()[ISSUER]["error"]


def test_the_next_question_after_its_time_fetches_again(keys_by: Any) -> None:
    other = parse_keys(json.dumps({"keys": [jwk("two")]}))
    clock = FakeClock()
    remote = keys_by(Script(SET, FetchError("down"), other), clock)
    assert remote.current(SOURCE, ISSUER) is None
    assert fetched(remote) is SET
    clock.jump(600)
    assert remote.current(SOURCE, ISSUER) is SET
    assert fetched(remote) is SET
    clock.jump(2)
    assert remote.current(SOURCE, ISSUER) is SET
    assert fetched(remote) is other


def test_an_unknown_key_fetches_again_but_not_at_once_once_more(keys_by: Any) -> None:
    remote = keys_by(script := Script(SET))
    remote.current(SOURCE, ISSUER)
    fetched(remote)
    over = threading.Event()
    assert remote.when_fetched(SOURCE, ISSUER, over.set, unknown_key=True)
    assert over.wait(10)
    assert not remote.when_fetched(SOURCE, ISSUER, over.set, unknown_key=True)
    assert script.count == 2


def test_keys_are_fetched_again_beside_the_calls_as_long_as_anybody_asks(keys_by: Any) -> None:
    """Each look at this clock takes its time."""
    moments = iter(range(0, 10**9, int(IDLE) // 8))
    ended = threading.Event()
    script = Script(SET)

    async def fetch(*question: Any) -> KeySet:
        found = await script(*question)
        asyncio.current_task().add_done_callback(lambda _task: ended.set())  # type: ignore[union-attr]
        return found

    remote = keys_by(fetch, lambda: float(next(moments)))
    remote.current(SOURCE, ISSUER)
    assert ended.wait(10)
    assert script.count >= 2


def test_who_waits_is_told_when_the_mesh_closes(keys_by: Any) -> None:
    script = Script(SET)
    script.gate = threading.Event()
    remote = keys_by(script)
    remote.current(SOURCE, ISSUER)
    over = threading.Event()
    assert remote.when_fetched(SOURCE, ISSUER, over.set)
    script.gate.set()
    remote.close()
    assert over.wait(10)
    remote.close()


def test_whoever_is_told_may_close_it(keys_by: Any) -> None:
    script = Script(SET)
    script.gate = threading.Event()
    remote = keys_by(script)
    remote.current(SOURCE, ISSUER)
    over = threading.Event()

    def close() -> None:
        remote.close()
        over.set()

    assert remote.when_fetched(SOURCE, ISSUER, close)
    script.gate.set()
    assert over.wait(10)


def test_a_forked_child_fetches_by_a_thread_of_its_own(keys_by: Any) -> None:
    remote = keys_by(script := Script(SET, FetchError("down")))
    remote.current(SOURCE, ISSUER)
    fetched(remote)
    remote.reset()
    assert remote.current(SOURCE, ISSUER) is SET
    over = threading.Event()
    assert remote.when_fetched(SOURCE, ISSUER, over.set, unknown_key=True)
    assert over.wait(10)
    assert remote.current(SOURCE, ISSUER) is SET
    assert script.count == 2
