"""Text and DER bent at random, and again the same way by the same seed."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

CORPUS = Path(__file__).parent / "corpus"
SIGNS = "/:.%?#@ \0\n\tAZaz09_-\\é*\u017f\u212a\u2024\ud800"
PIECES = ("spiffe://", "://", "/../", "//", "%2f", "%2e%2e", ":443", "user@", "x" * 300, "/a" * 900)
VALUES = (b"", b"\0", b"\xff" * 20, b"\x01\x01\xff", b"a\0b", b"\x30\x80", b"spiffe://b/c", b"*")
TAGS = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x16, 0x17, 0x30, 0x31, 0x82, 0x86, 0xA0)
ID = re.compile(r"(?i:spiffe)://[a-z0-9._-]{1,255}((?:/[A-Za-z0-9._-]+)*)", re.ASCII)
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
CONSTRUCTED, BOOLEAN = 0x20, 0x01
STRINGS = (0x0C, 0x13, 0x16, 0x81, 0x82, 0x86, 0x88)

Node = list[object]
"""``[tag, bytes]`` or ``[tag, [Node, …]]``."""


def bent_der(der: bytes, seed: int) -> bytes:
    """A few changes of the tree, lengths made good again; now and then of the bytes."""
    dice = random.Random(seed)
    if seed % 10 == 9:
        return _cut(der, dice)
    tree = _read(der)
    for _ in range(dice.choice([1, 1, 2, 3])):
        top = tree[0][1]
        last = isinstance(top, list) and top and dice.random() < 0.8  # where the extensions are
        nodes = list(_walk(top[-1:] if last else tree))
        act = _tweak if dice.random() < 0.75 else _change
        act(dice.choice(nodes), nodes, dice)
    return b"".join(map(_write, tree))


def _cut(der: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(der))
    return der[:at] if dice.random() < 0.3 else der[:at] + dice.randbytes(1) + der[at + 1 :]


def _tweak(node: Node, nodes: list[Node], dice: random.Random) -> None:
    """What still has the form that it should have."""
    tag, value = node
    like = [one for one in nodes if one[0] == tag and one is not node]
    if isinstance(value, list) and len({one[0] for one in value}) == 1 and dice.random() < 0.7:
        at = dice.randrange(len(value))  # a sequence of one kind
        value[at : at + 1] = dice.choice([[], [value[at], _copy(value[at])]])
    elif tag == BOOLEAN:
        node[1] = dice.choice([b"\xff", b"\0"])
    elif tag in STRINGS and isinstance(value, bytes) and dice.random() < 0.6:
        at = dice.randrange(len(value) + 1)
        node[1] = value[:at] + dice.choice([*VALUES, b"a", b".", b"/"]) + value[at + 1 :]
    elif tag in STRINGS and dice.random() < 0.5:
        node[0] = dice.choice(STRINGS)
    elif like:
        node[1] = _copy(dice.choice(like))[1]


def _change(node: Node, nodes: list[Node], dice: random.Random) -> None:
    value = node[1]
    match dice.randrange(6):
        case 0:
            node[0] = dice.choice(TAGS)
        case 1:
            node[1] = dice.choice(VALUES)
        case 2 if isinstance(value, list) and value:
            value.append(_copy(dice.choice(value)))
        case 3 if isinstance(value, list) and value:
            value.pop(dice.randrange(len(value)))
        case 4 if isinstance(value, bytes) and value:
            node[1] = _cut(value, dice)
        case _:
            node[0], node[1] = _copy(dice.choice(nodes))


def _copy(node: Node) -> Node:
    return _read(_write(node))[0] if _write(node) else [5, b""]


def _walk(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if isinstance(node[1], list):
            yield from _walk(node[1])


def _read(der: bytes) -> list[Node]:
    found: list[Node] = []
    while der:
        tag, length, at = der[0], der[1], 2
        if length & 0x80:
            at += length & 0x7F
            length = int.from_bytes(der[2:at])
        value, der = der[at : at + length], der[at + length :]
        inner = _inner(tag, value)
        found.append([tag, value if inner is None else inner])
    return found


def _inner(tag: int, value: bytes) -> list[Node] | None:
    """What is within; extensions hold DER in their octets, so those are looked into as well."""
    if not tag & CONSTRUCTED and not (tag == 0x04 and value[:1] in (b"\x30", b"\x03")):
        return None
    try:
        found = _read(value)
    except IndexError:
        return None
    return found if b"".join(map(_write, found)) == value else None


def _write(node: Node) -> bytes:
    tag, value = node
    content = b"".join(map(_write, value)) if isinstance(value, list) else value
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size) + content


@pytest.fixture(scope="session")
def fits():
    """Whether a text is a SPIFFE id: what SPIFFE-ID.md says, once more and shorter."""

    def is_valid(text):
        found = ID.fullmatch(text)
        return bool(found) and len(text) <= 2048 and not {".", ".."} & set(found[1].split("/"))

    return is_valid


@pytest.fixture(scope="session")
def check_words():
    """A log line of one line, whatever the sender wrote."""

    def check(refused):
        assert str(refused).isprintable()
        assert len(str(refused)) < 600

    return check


@pytest.fixture(scope="session")
def key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def signed(key):
    """The DER of something to be signed, with a signature of that key."""

    def sign(content):
        signature = b"\0" + key.sign(content, ec.ECDSA(SHA256()))
        tail = ECDSA_SHA256 + b"\x03" + bytes([len(signature)]) + signature
        return _write([0x30, content + tail])

    return sign


@pytest.fixture(scope="session")
def broken(bend_der):
    """What no longer means anything: DER with a wrong signature, PEM with a hole, and such."""

    def break_up(pem, der, seed):
        at = seed * 7919 % len(pem)
        made = (bend_der(der, seed), pem[:at] + pem[at + 1 :], pem[:at], pem[at:] + pem)
        return made[seed % 4]

    return break_up


@pytest.fixture(scope="session")
def bend_text(bent):
    def made(text: str, seed: int) -> str:
        return bent(text, random.Random(seed), SIGNS, PIECES, str.swapcase)

    return made


@pytest.fixture(scope="session")
def bend_der():
    return bent_der


@pytest.fixture(scope="session")
def corpus():
    return CORPUS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for kind in ("leaf", "csr"):
        if f"{kind}_file" in metafunc.fixturenames:
            paths = sorted((CORPUS / kind).glob("*.pem"))
            metafunc.parametrize(f"{kind}_file", paths, ids=[path.stem for path in paths])
