"""The reference lists what each kind accepts and refuses. Code and page must not part."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from meshlib.controlplane.manifests.kinds import OTHER_ISTIO, SECURITY, SUPPORTED
from meshlib.controlplane.manifests.piece import Piece

PAGE = Path(__file__).parent.parent.parent / "docs/reference/index.md"
TEXT = PAGE.read_text(encoding="utf-8")


def pieces(hint: Any) -> Iterator[type[Piece]]:
    if isinstance(hint, type) and issubclass(hint, Piece):
        yield hint
    for part in get_args(hint):
        yield from pieces(part)


def rows(kind: type[Piece]) -> Iterator[str]:
    """One line for each piece of a kind, where it is met first, level by level."""
    waiting, seen = [(kind, "spec")], set()
    while waiting:
        piece, path = waiting.pop(0)
        if piece in seen:
            continue
        seen.add(piece)
        fields = msgspec.structs.fields(piece)
        accepted = ", ".join(f"`{field.encode_name}`" for field in fields)
        refused = ", ".join(f"`{name}`" for name in sorted(piece.NOT_YET)) or "-"
        yield f"| `{path}` | {accepted} | {refused} |"
        waiting += [(p, f"{path}.{f.encode_name}") for f in fields for p in pieces(f.type)]


@pytest.mark.parametrize("kind", SUPPORTED)
def test_each_kind_is_listed_with_the_fields_it_accepts_and_refuses(kind: str) -> None:
    section = re.search(rf"^### {kind}\n(.+?)(?=^### |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section
    listed = [line for line in section[1].splitlines() if line.startswith("| `")]
    assert listed == list(rows(SUPPORTED[kind][1]))


def test_the_kinds_that_are_refused_are_named() -> None:
    assert {kind for kind in SECURITY if f"`{kind}`" not in TEXT} == set()
    assert {"Gateway", "Sidecar"} <= OTHER_ISTIO
