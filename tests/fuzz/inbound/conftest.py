"""Targets and hosts bent at random, and again the same way by the same seed."""

import random
from pathlib import Path

import pytest

CORPUS = Path(__file__).parent / "corpus"
PIECES = ("/", "//", "/./", "/../", "%2e", "%2E%2e/", "%2f", "%5C", "\\", "%25", "%", "%0", "%00")
SIGNS = "\0#?;@:.[], \té\udcffA_"
"""Octets that are no UTF-8 come as such surrogates."""


def escaped(text: str) -> str:
    return "".join(f"%{octet:02x}" for octet in text.encode("utf-8", "surrogateescape"))


@pytest.fixture
def lines():
    def read(name: str) -> list[str]:
        return (CORPUS / f"{name}.txt").read_text(encoding="utf-8").splitlines()

    return read


@pytest.fixture
def bend(bent):
    def made(text: str, seed: int) -> str:
        return bent(text, random.Random(seed), SIGNS, PIECES, str.swapcase, escaped)

    return made
