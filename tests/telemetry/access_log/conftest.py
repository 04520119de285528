"""Calls that have ended, with only the details that matter; and what a log says of them."""

from collections.abc import Callable
from typing import Any

import pytest

from meshlib.dataplane import (
    CallEnded,
    CallRecord,
    Connection,
    Meter,
    Outcome,
    Peer,
    Request,
    Response,
    Whereabouts,
)
from meshlib.telemetry.access_log import Site

STARTED, NOW = 100.0, 1_700_000_000.25
HEADERS = (
    ("user-agent", "curl/8"),
    ("x-request-id", "0000000a-0000-4000-8000-000000000000"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("authorization", "Bearer of.a.secret"),
)
PEER = Peer(secure=True, uri_sans=("spiffe://a/b", "spiffe://c/d"), subject="CN=web", serial="0a1b")


def a_call(
    outcome: Outcome | None = None,
    *,
    path: str = "/books?page=2",
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = HEADERS,
    duration: float = 0.25,
    is_grpc: bool = False,
    meter: Meter | None = None,
    connection: Connection | None = None,
    source: str = "",
    **facts: Any,
) -> CallEnded:
    request = Request(
        "books:9080",
        method,
        path,
        headers=headers,
        is_grpc=is_grpc,
        meter=meter,
        source=source,
        connection=connection or Connection(),
    )
    record = CallRecord(request, STARTED, **facts)
    return CallEnded(record, Response() if outcome is None else outcome, duration)


@pytest.fixture
def call() -> Callable[..., CallEnded]:
    return a_call


@pytest.fixture
def peer() -> Peer:
    return PEER


@pytest.fixture
def site() -> Site:
    """It is 22:13:20.25; the dice always say the same; the call began a quarter before."""
    whereabouts = Whereabouts(
        hostname="here", environment={"POD": "p-1"}, wall_clock=lambda: NOW, clock=lambda: 100.25
    )
    return Site(whereabouts=whereabouts, dice=lambda: 0.3, runtime={"slow": 0.5})
