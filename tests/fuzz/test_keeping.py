"""The harness itself: what fails is kept, and tried again first."""

import resource
import sys

import pytest

A_LOT = 200_000_000
UNIT = 1 if sys.platform == "darwin" else 1024


@pytest.fixture
def other(fuzz, tmp_path):
    return type(fuzz)("other", tmp_path / "found", 0)


def test_what_fails_is_kept_and_tried_first_from_then_on(other, tmp_path):
    def attempt(sample):
        assert sample != "\ud8007"

    with pytest.raises(AssertionError, match="seed 7"):
        other(lambda seed: f"\ud800{seed}", attempt)
    (kept,) = (tmp_path / "found").iterdir()
    with pytest.raises(AssertionError, match=kept.name):
        other(lambda _: "fine", attempt)
    other(lambda _: "fine", lambda sample: sample)


def test_bytes_come_back_as_bytes(other):
    seen = []
    with pytest.raises(AssertionError):
        other(lambda _: b"\xff\n", lambda _: 1 / 0)
    other(lambda _: b"", seen.append, rounds=1)
    assert seen == [b"\xff\n", b""]


def test_an_outcome_that_must_be_seen_is_missed(other):
    with pytest.raises(AssertionError, match="never seen"):
        other(str, str.isdigit, sees=frozenset({True, False}))


def test_an_input_that_fills_the_memory_fails(other):
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
    with pytest.raises(AssertionError, match="more memory"):
        other(lambda _: "", lambda _: bytes([1]) * (most + A_LOT))
