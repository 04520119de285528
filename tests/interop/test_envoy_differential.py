"""The same tables and requests, asked of Envoy and of ourselves: not one answer may differ.

``MESHLIB_SEED`` asks for the tables from another seed on.
"""

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshlib.dataplane import Engine
from meshlib.model import (
    Address,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    LocalityLbEndpoints,
    Static,
)
from meshlib.testing.differential import (
    CLUSTERS,
    FOUND,
    UPSTREAM_HEADERS,
    Case,
    Sent,
    Verdict,
    case,
    engine,
    judged,
    listener,
)
from meshlib.testing.envoy import bootstrap, running
from meshlib.xds.codec import decode_snapshot, encode_json

pytestmark = pytest.mark.interop

TABLES = 100
REQUESTS = 20
"""Of each table."""
SEEDS = (1, 20_000)
HCM = (("x-forwarded-proto", "http"),)
"""What Envoy's connection manager says of every request before it is routed."""
UNHEEDED = frozenset(
    {
        "x-forwarded-proto",  # HCM's own, and no proxy stands before us
        "x-request-id",  # tracing is the application's, or that of the hooks
        "x-envoy-expected-rq-timeout-ms",  # the hooks add it when they send
        "content-length",  # of a body, which is not routing's
        "transfer-encoding",
        "connection",
        "date",
        "server",
        "x-envoy-upstream-service-time",
        "x-echo",
    }
)


async def test_every_request_goes_where_envoy_sends_it(fleet: Any) -> None:
    given = os.environ.get("MESHLIB_SEED")
    starts = (int(given),) if given else (*SEEDS, random.SystemRandom().randrange(1 << 30))
    share = TABLES // len(starts) + 1
    cases = [case(start + number, REQUESTS) for start in starts for number in range(share)]
    wrong = await fleet(cases)
    assert not wrong, "\n".join(wrong[:20])


async def test_what_once_went_elsewhere_goes_where_envoy_sends_it(fleet: Any) -> None:
    wrong = await fleet(list(FOUND))
    assert not wrong, "\n".join(wrong)


@pytest.fixture
async def fleet(envoy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Ask both of all cases: an Envoy with a listener for each table, and an engine with all."""
    monkeypatch.setenv("MESHLIB_DIFFERENTIAL", "set")
    async with AsyncExitStack() as stack:
        ports = {name: await stack.enter_async_context(echo(name)) for name in CLUSTERS}

        async def ask(cases: list[Case]) -> list[str]:
            documents = [encode_json(listener(each)) for each in cases]
            clusters = [encode_json(cluster(name, port)) for name, port in ports.items()]
            ours = engine(decode_snapshot([*documents, *clusters]), time.time)
            config = bootstrap(listeners=documents, clusters=clusters)
            async with running(envoy, config, tmp_path) as one:
                places = await one.ports()
                return [
                    wrong
                    for found in await asyncio.gather(
                        *(compare(each, places[each.table.name], ours) for each in cases)
                    )
                    for wrong in found
                ]

        yield ask


async def compare(each: Case, port: int, ours: Engine) -> list[str]:
    wrong = []
    connection = Connection(port)
    try:
        for number, sent in enumerate(each.requests):
            theirs = tidy(await connection.ask(sent))
            mine = tidy(judged(ours, each.table.name, sent, HCM))
            if is_grpc(sent) and not (theirs.cluster or mine.cluster):
                # To us gRPC is what a gRPC library calls; Envoy answers whatever looks like it so.
                continue
            if sent.method == "HEAD":
                mine = replace(mine, body="")
            if mine.failed:
                # What is an exception to our callers is an answer of Envoy's to its own.
                theirs = replace(theirs, headers=(), body="", failed=True)
            if theirs != mine:
                where = f"{each.table.name}, seed {each.seed}, request {number}"
                wrong.append(f"{where}: {sent}\n{told(theirs, mine)}")
    finally:
        connection.close()
    return wrong


def is_grpc(sent: Sent) -> bool:
    return dict(sent.headers).get("content-type", "").startswith("application/grpc")


def told(theirs: Verdict, mine: Verdict) -> str:
    fields = (f for f in Verdict.__slots__ if getattr(theirs, f) != getattr(mine, f))
    return "\n".join(
        f"  {f}: Envoy {getattr(theirs, f)!r}\n  {' ' * len(f)}    we {getattr(mine, f)!r}"
        for f in fields
    )


def tidy(verdict: Verdict) -> Verdict:
    """Several values of a name are one, and the order of names does not matter."""
    return replace(verdict, headers=merged(verdict.headers), sent=merged(verdict.sent))


def merged(headers: Any) -> Any:
    found: dict[str, str] = {}
    for name, value in headers:
        if name in UNHEEDED:
            continue
        if name == "user-agent" and not (value and found.get(name)):
            # One of those that Envoy keeps as one line, where nothing needs no comma.
            found[name] = value or found.get(name, "")
        else:
            found[name] = f"{found[name]},{value}" if name in found else value
    return tuple(sorted(found.items()))


class Connection:
    """HTTP/1.1 by hand: what is sent is what was meant."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: Sent) -> Verdict:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        lines = [f"{sent.method} {sent.path} HTTP/1.1", f"host: {sent.authority}"]
        lines += [f"{name}: {value}" for name, value in sent.headers]
        lines += ["content-length: 0"] if sent.method == "POST" else []
        writer.write("\r\n".join((*lines, "", "")).encode())
        first, headers = await head(reader)
        table = dict(headers)
        length = int(table.get("content-length", "0")) if sent.method != "HEAD" else 0
        body = (await reader.readexactly(length)).decode()
        if table.get("connection") == "close":
            self.close()
        status = int(first.split()[1])
        if "x-echo" not in table:
            return Verdict(status, headers, body)
        seen = json.loads(base64.b64decode(table["x-echo"]))
        heard = tuple((name, value) for name, value in seen.pop("sent"))
        return Verdict(status, headers, body, sent=heard, **seen)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def head(reader: asyncio.StreamReader) -> tuple[str, tuple[tuple[str, str], ...]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, tuple((name.lower(), value.strip()) for name, _, value in pairs)


@asynccontextmanager
async def echo(cluster: str) -> AsyncIterator[int]:
    """An upstream that tells in a header what it was sent."""
    talking: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(writer)
        try:
            while True:
                writer.write(answer(cluster, *await head(reader)))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for writer in talking:
            writer.close()


def answer(cluster: str, first: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    method, path, _ = first.split(" ")
    told = {
        "cluster": cluster,
        "method": method,
        "path": path,
        "host": dict(headers)["host"],
        "sent": [pair for pair in headers if pair[0] != "host"],
    }
    echoed = base64.b64encode(json.dumps(told).encode()).decode()
    pairs = (*UPSTREAM_HEADERS, ("x-echo", echoed), ("content-length", "0"))
    lines = ("HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in pairs), "", "")
    return "\r\n".join(lines).encode()


def cluster(name: str, port: int) -> Cluster:
    place = Endpoint(address=Address("127.0.0.1", port))
    assignment = ClusterLoadAssignment(
        cluster_name=name, endpoints=(LocalityLbEndpoints(lb_endpoints=(place,)),)
    )
    return Cluster(name=name, discovery=Static(assignment))
