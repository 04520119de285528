import json
from pathlib import Path

import pytest

from meshlib.dataplane.statuses import (
    decode_grpc_timeout,
    encode_grpc_timeout,
    grpc_to_http,
    http_to_grpc,
)

CODES = [
    "Ok",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
    "InvalidCode",
]


@pytest.fixture(scope="module")
def vectors(testdata: Path) -> dict[str, list[dict[str, object]]]:
    """Envoy's own."""
    made: dict[str, list[dict[str, object]]]
    made = json.loads((testdata / "envoy_vectors_public.json").read_text())
    return made


def test_an_http_status_means_to_grpc_what_envoy_says(vectors) -> None:
    rows = vectors["http_to_grpc"]
    assert len(rows) == 9
    assert [CODES[http_to_grpc(row["http"])] for row in rows] == [row["grpc"] for row in rows]


def test_a_grpc_status_is_to_http_what_envoy_says(vectors) -> None:
    rows = vectors["grpc_to_http"]
    assert len(rows) == 18
    assert [grpc_to_http(CODES.index(row["grpc"])) for row in rows] == [r["http"] for r in rows]


def test_a_timeout_is_written_as_envoy_writes_it(vectors) -> None:
    rows = vectors["grpc_timeout_encode"]
    assert len(rows) == 6
    assert [encode_grpc_timeout(row["ms"] / 1000) for row in rows] == [r["expected"] for r in rows]


def test_a_timeout_is_read_as_envoy_reads_it(vectors) -> None:
    rows = vectors["grpc_timeout_decode"]
    assert len(rows) == 10
    read = [decode_grpc_timeout(row["header"]) for row in rows]
    assert read == [None if r["expected_ms"] is None else r["expected_ms"] / 1000 for r in rows]


@pytest.mark.parametrize("text", ["1234567890S", "-1S", "٣S", "1.5S", "S", " 1S"])
def test_what_is_no_timeout_is_none(text: str) -> None:
    assert decode_grpc_timeout(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0004, "1m"), (1.001, "1001m"), (-1.0, "0m"), (0.29, "290m")]
)
def test_no_timeout_becomes_shorter_than_it_is(seconds: float, text: str) -> None:
    assert encode_grpc_timeout(seconds) == text
