"""Manifests bent at random, as values and as text, and again the same way by the same seed."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CORPUS = Path(__file__).parent / "corpus"
WRITABLE = 80
"""What is nested deeper is not bent further: the next change may add 200 levels, or as many again,
and PyYAML writes no more than some 300.
"""
NUMBERS = (0, 1, -1, 65535, 65536, 2**31, 2**32 - 1, 2**63, 2**64, 10**30, -(2**63), 100, 101)
REALS = (0.0, -0.5, 1e308, 5e-324, float("inf"), float("nan"), 0.1)
TEXTS = (
    *("", "*", ".", "/", "~", "null", "on", "0", "-", "a" * 300, "*.*", "a..b", "..", "%", "%%"),
    *("%REQ(", "(", "(a+)+$", "[", "\\", "\0", "\r\n", "\x1b[31m", "\u202e", "\ufeff", "é", "İ"),
    *("\U0001f980", "٣", "ﬀ", "1s", "1e9h", "99999999999h", "-1s", "0.0000000001s", "10.0.0.0/33"),
    *("::/0", "1.2.3.4:80", "[::1]", "spiffe://a/b", "eu/*", "STRICT", "ALLOW", "5xx", "{**}/{*}"),
    *("request.headers[", "request.auth.claims[a][b]", '{"keys": [{}]}', "https://[", "reviews"),
)
PIECES = (
    *("&a ", "*a", "<<: ", "!!binary ", "!x ", "? ", "- ", ": ", "---\n", "...\n", "%YAML 9.9\n"),
    *("[" * 70, "{a: " * 70, "|\n", ">-\n", "'", '"', "#", "\t", "\u2028", "\ud800", "\0", "\x85"),
    *("9" * 400, "0x10", "0o7", ".inf", "12:30:45", "&a [*a, *a]", "\ufeff", "{" * 3, "@", "`"),
)


def bent_documents(documents: list[Any], seed: int) -> str:
    """One to four changes of what the documents say; the text of it is always YAML.

    After a change that nests them deeper than can be written down, there is no other.
    """
    dice = random.Random(seed)
    bent: Any = _copy(documents)
    for _ in range(dice.choice([1, 1, 2, 4])):
        holder, key = dice.choice(list(_places(bent)))
        _change(holder, key, bent, dice)
        if _depth(bent) > WRITABLE:
            break
    return yaml.dump_all(bent, Dumper=Plain, allow_unicode=dice.random() < 0.5)


class Plain(yaml.SafeDumper):
    """Writes out what stands twice, so that it is read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _change(holder: Any, key: Any, top: Any, dice: random.Random) -> None:
    value = holder[key]
    match dice.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, _copy(value))
        case 2 if isinstance(holder, dict):
            holder[dice.choice([*TEXTS, *NUMBERS[:4]])] = holder.pop(key)
        case 3:
            other, at = dice.choice(list(_places(top)))
            holder[key] = _copy(other[at])
        case 4:
            holder[key] = dice.choice([None, True, False, [], {}, [value], {"a": value}])
        case 5:
            for _ in range(dice.choice([3, 61, 200])):
                holder[key] = dice.choice([[holder[key]], {"spec": holder[key]}])
        case _:
            holder[key] = dice.choice(dice.choice([TEXTS, NUMBERS, REALS]))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    found = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(found):
        yield value, key
        if isinstance(inner, dict | list) and inner:
            yield from _places(inner)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def bend_text(bent):
    def made(text: str, seed: int) -> str:
        return bent(text, random.Random(seed), PIECES, PIECES)

    return made


@pytest.fixture(scope="session")
def bend_documents():
    return bent_documents


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for kind in ("good", "hostile"):
        if f"{kind}_file" in metafunc.fixturenames:
            paths = sorted((CORPUS / kind).glob("*.yaml"))
            metafunc.parametrize(f"{kind}_file", paths, ids=[path.stem for path in paths])
