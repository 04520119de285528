"""The reference lists every field of every kind. Code and pages must not part."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import pytest

from meshlib import __version__
from meshlib.controlplane.manifests.kinds import OTHER_ISTIO, SUPPORTED
from meshlib.controlplane.manifests.piece import Piece

FOLDER = Path(__file__).parent.parent.parent / "docs/reference"
INDEX = (FOLDER / "index.md").read_text(encoding="utf-8")
PAGES = {
    kind: re.sub(r"(?<!^)([A-Z])", r"-\1", kind).lower() + ".md" for kind in SUPPORTED
}  # VirtualService → virtual-service.md
ROW = re.compile(r"\| `([\w.]+)` \| (yes|told|no) \| (.+) \| (\d+\.\d+|-) \|")


class Row(NamedTuple):
    field: str
    supported: str
    said: str
    since: str


def rows(kind: str) -> list[Row]:
    text = (FOLDER / PAGES[kind]).read_text(encoding="utf-8")
    return [Row(*found.groups()) for found in map(ROW.fullmatch, text.splitlines()) if found]


def pieces(hint: Any) -> Iterator[type[Piece]]:
    if isinstance(hint, type) and issubclass(hint, Piece):
        yield hint
    for part in get_args(hint):
        yield from pieces(part)


def walk(piece: type[Piece], path: str, seen: set[type[Piece]]) -> Iterator[tuple[str, bool]]:
    """Each field where it is met first, and whether it is accepted."""
    if piece in seen:
        return
    seen.add(piece)
    fields = msgspec.structs.fields(piece)
    yield from ((f"{path}{field.encode_name}", True) for field in fields)
    told = piece.OF_PROXIES
    yield from ((f"{path}{name}", name in told) for name in sorted(told | piece.NOT_YET))
    for field in fields:
        for inner in pieces(field.type):
            yield from walk(inner, f"{path}{field.encode_name}.", seen)


def fields_of(kind: str) -> dict[str, bool]:
    """What an earlier page says of a shared part is not said again."""
    seen: set[type[Piece]] = set()
    for name, (_, piece) in SUPPORTED.items():
        found = dict(walk(piece, "", seen - {piece}))
        if name == kind:
            return found
        list(walk(piece, "", seen))
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_each_field_of_a_kind_has_its_row(kind: str) -> None:
    listed = {row.field: row.supported != "no" for row in rows(kind)}
    assert list(listed.items()) == list(fields_of(kind).items())


@pytest.mark.parametrize("kind", SUPPORTED)
def test_what_is_supported_says_since_when(kind: str) -> None:
    major, minor = map(int, __version__.split(".")[:2])
    for row in rows(kind):
        assert (row.since == "-") == (row.supported == "no"), row
        if row.since != "-":
            assert tuple(map(int, row.since.split("."))) <= (major, minor + 1), row


@pytest.mark.parametrize("kind", SUPPORTED)
def test_no_row_is_lost_and_each_kind_is_in_the_index(kind: str) -> None:
    lines = (FOLDER / PAGES[kind]).read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("| `") for line in lines) == len(rows(kind))
    assert f"[`{kind}`]({PAGES[kind]})" in INDEX


def test_a_kind_without_effect_is_named() -> None:
    assert "Sidecar" in OTHER_ISTIO
    assert "`Sidecar`" in INDEX
