"""Targets and hosts bent at random, and again the same way by the same seed."""

import random
from pathlib import Path

import pytest

CORPUS = Path(__file__).parent / "corpus"
PIECES = ("/", "//", "/./", "/../", "%2e", "%2E%2e/", "%2f", "%5C", "\\", "%25", "%", "%0", "%00")
SIGNS = "\0#?;@:.[], \té\udcffA_"
"""Octets that are no UTF-8 come as such surrogates."""


def bent(text: str, seed: int) -> str:
    dice = random.Random(seed)
    for _ in range(dice.choice([1, 1, 2, 4])):
        at, to = sorted(dice.randrange(len(text) + 1) for _ in range(2))
        match dice.randrange(6):
            case 0:
                text = text[:at] + text[to:]
            case 1:
                text = text[:to] + text[at:]
            case 2:
                text = text[:at] + dice.choice(SIGNS) + text[at + 1 :]
            case 3:
                text = text[:at] + dice.choice(PIECES) + text[at:]
            case 4:
                text = text[:at] + text[at:to].swapcase() + text[to:]
            case _:
                octets = text[at:to].encode("utf-8", "surrogateescape")
                text = text[:at] + "".join(f"%{octet:02x}" for octet in octets) + text[to:]
    return text


@pytest.fixture
def lines():
    def read(name: str) -> list[str]:
        return (CORPUS / f"{name}.txt").read_text(encoding="utf-8").splitlines()

    return read


@pytest.fixture
def bend():
    return bent
