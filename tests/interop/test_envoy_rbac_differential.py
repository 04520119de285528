"""The same policies and requests, asked of Envoy and of ourselves: not one verdict may differ.

``MESHLIB_SEED`` asks for the policies from another seed on.
"""

import asyncio
import datetime as dt
import os
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshlib.dataplane import Engine
from meshlib.model import Address
from meshlib.testing.differential.access import (
    NAMES,
    PORT,
    TOLD,
    AccessCase,
    Caller,
    access_case,
)
from meshlib.testing.differential.access_found import ACCESS_FOUND
from meshlib.testing.differential.access_ours import (
    CASE,
    TELLING,
    Judgement,
    access_engine,
    access_judged,
    access_listener,
)
from meshlib.testing.differential.case import Sent
from meshlib.testing.envoy import bootstrap, running
from meshlib.xds.codec import encode_json

pytestmark = pytest.mark.interop

CASES = 170
REQUESTS = 12
"""Of each case."""
SEEDS = (1, 30_000)
HTTP = "type.googleapis.com/envoy.extensions.filters.http"
LISTENER_FILTER = "type.googleapis.com/envoy.extensions.filters.listener"
SOCKETS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


async def test_whoever_envoy_lets_in_is_let_in(judges: Any) -> None:
    given = os.environ.get("MESHLIB_SEED")
    starts = (int(given),) if given else (*SEEDS, random.SystemRandom().randrange(1 << 30))
    share = CASES // len(starts) + 1
    cases = [access_case(start + number, REQUESTS) for start in starts for number in range(share)]
    wrong, seen = await judges(cases)
    assert not wrong, f"{len(wrong)} of {sum(seen.values())}\n" + "\n".join(wrong[:5])
    assert min(seen[200], seen[403]) > CASES * REQUESTS / 10


async def test_who_once_was_judged_otherwise_is_judged_as_envoy_does(judges: Any) -> None:
    wrong, _ = await judges(list(ACCESS_FOUND))
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def judges(envoy: Path, tmp_path: Path, certificates: Path) -> Any:
    """Ask both of all cases: one Envoy with and without TLS, and an engine, with a route each."""

    async def ask(cases: list[AccessCase]) -> tuple[list[str], dict[int, int]]:
        seen = {200: 0, 403: 0}
        ours = access_engine(cases)
        with ports(2) as (plain, secure):
            async with running(envoy, config(cases, plain, secure, certificates), tmp_path):
                found = await asyncio.gather(
                    *(
                        compare(number, each, ours, (plain, secure), certificates, seen)
                        for number, each in enumerate(cases)
                    )
                )
        return [wrong for each in found for wrong in each], seen

    return ask


async def compare(
    number: int,
    case: AccessCase,
    ours: Engine,
    places: tuple[int, int],
    certificates: Path,
    seen: dict[int, int],
) -> list[str]:
    wrong = []
    reader, writer = await connected(case.caller, places, certificates)
    try:
        for position, sent in enumerate(case.requests):
            theirs = await asked(reader, writer, number, sent)
            mine = access_judged(ours, number, case, sent)
            seen[theirs.status] += 1
            if theirs != mine:
                where = f"seed {case.seed}, request {position}: {case.caller}\n  {sent}"
                wrong.append(f"{where}\n  {case.rbac}\n  Envoy {theirs}\n     we {mine}")
    finally:
        writer.close()
    return wrong


async def connected(
    caller: Caller, places: tuple[int, int], certificates: Path
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    plain, secure = places
    if not caller.certificate:
        return await asyncio.open_connection(
            caller.destination, plain, local_addr=(caller.source, 0)
        )
    made = ssl.create_default_context(cafile=certificates / "ca.pem")
    made.check_hostname = False  # the server is known by its root; SNI is what is tested
    made.load_cert_chain(certificates / f"{caller.certificate}.pem")
    return await asyncio.open_connection(
        caller.destination,
        secure,
        local_addr=(caller.source, 0),
        ssl=made,
        server_hostname=caller.server_name,
    )


async def asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, sent: Sent
) -> Judgement:
    lines = [f"{sent.method} {sent.path} HTTP/1.1", f"host: {sent.authority}"]
    lines += [f"{name}: {value}" for name, value in sent.headers]
    lines += [f"{CASE}: {number}", "content-length: 0"]
    writer.write("\r\n".join((*lines, "", "")).encode())
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *rest = text.removesuffix("\r\n\r\n").split("\r\n")
    pairs = [(name.lower(), value.strip()) for name, _, value in (r.partition(":") for r in rest)]
    found = dict(pairs)
    await reader.readexactly(int(found.get("content-length", "0")))
    told = tuple(sorted(pair for pair in pairs if pair[0] in TELLING))
    return Judgement(int(first.split()[1]), found.get("x-details", ""), told)


@contextmanager
def ports(count: int) -> Iterator[list[int]]:
    """Kept from others, and free for who shares them, as Envoy does."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(("0.0.0.0", 0))
        yield [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def config(cases: list[AccessCase], plain: int, secure: int, certificates: Path) -> dict[str, Any]:
    listener = replace(access_listener(cases), address=Address("0.0.0.0", PORT))
    return bootstrap(
        listeners=[
            listening(encode_json(listener), "plain", plain),
            secured(listening(encode_json(listener), "secure", secure), certificates),
        ]
    )


def listening(listener: Any, name: str, port: int) -> dict[str, Any]:
    """With what only Envoy has: it learns metadata from headers, and says why it denies."""
    made = moved(listener, port)
    http = made["filter_chains"][0]["filters"][0]["typed_config"]
    http["use_remote_address"] = True
    http["http_filters"].insert(0, learning())
    http["local_reply_config"] = {
        "mappers": [
            {
                "filter": {
                    "status_code_filter": {"comparison": {"op": "GE", "value": status(400)}}
                },
                "headers_to_add": [
                    {"header": {"key": "x-details", "value": "%RESPONSE_CODE_DETAILS%"}}
                ],
            }
        ]
    }
    return {**made, "name": name}


def status(least: int) -> dict[str, Any]:
    return {"default_value": least, "runtime_key": "none"}


def moved(found: Any, port: int) -> Any:
    """With the port that is listened on."""
    match found:
        case dict():
            return {key: moved(value, port) for key, value in found.items()}
        case list():
            return [moved(each, port) for each in found]
        case int() if found in (PORT, PORT + 1) and not isinstance(found, bool):
            return found - PORT + port
        case _:
            return found


def learning() -> dict[str, Any]:
    kinds = {"text": "STRING", "number": "NUMBER"}
    rules = [
        {
            "header": f"x-{key}",
            "on_header_present": {"metadata_namespace": TOLD, "key": key, "type": kind},
        }
        for key, kind in kinds.items()
    ]
    config = {"@type": f"{HTTP}.header_to_metadata.v3.Config", "request_rules": rules}
    return {"name": "envoy.filters.http.header_to_metadata", "typed_config": config}


def secured(listener: dict[str, Any], certificates: Path) -> dict[str, Any]:
    """TLS of both sides, with an eye on the name that is asked for."""
    inspector = {"@type": f"{LISTENER_FILTER}.tls_inspector.v3.TlsInspector"}
    server = {"filename": str(certificates / "server.pem")}
    context = {
        "@type": f"{SOCKETS}.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": server, "private_key": server}],
            "validation_context": {"trusted_ca": {"filename": str(certificates / "ca.pem")}},
        },
    }
    listener["listener_filters"] = [
        {"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}
    ]
    listener["filter_chains"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": context,
    }
    return listener


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root, and of it a server and every kind of caller."""
    folder = tmp_path_factory.mktemp("certificates")
    root = ec.generate_private_key(ec.SECP256R1())
    issuer = named("root")
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    ca = begun(issuer, issuer, root).add_extension(constraints, critical=True)
    signed = ca.sign(root, hashes.SHA256())
    (folder / "ca.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    callers = {**NAMES, "server": ((), ("server.example",), "")}
    for name, (uris, hosts, common) in callers.items():
        sans: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        sans += [x509.DNSName(host) for host in hosts]
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = begun(named(common), issuer, key)
        if sans:
            leaf = leaf.add_extension(x509.SubjectAlternativeName(sans), critical=not common)
        made = leaf.sign(root, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return folder


def named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


def begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
    )
