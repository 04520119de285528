"""Istio's manifests: files and dicts in, :class:`World` out, or every problem at once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError, Place
from ..world import World
from .finding import UNREADABLE, Finding
from .load import Loading
from .memory import Memory

__all__ = [
    "SUFFIXES",
    "Memory",
    "Texts",
    "World",
    "accepted",
    "load_documents",
    "load_files",
    "read_files",
    "read_texts",
    "texts_of",
    "walk",
]

Texts = Sequence[tuple[Path, str | Finding]]
SUFFIXES = (".yaml", ".yml", ".json")


def load_files(paths: Sequence[Path | str]) -> World:
    """Read files, and folders with all that lies below them.

    Raises :class:`ConfigError` with every problem of every file; each says ``file:line:col``.
    """
    return accepted(*read_files(paths))


def load_documents(
    documents: Sequence[Mapping[str, Any]], name: str = "<config>", *, memory: Memory | None = None
) -> World:
    """Read manifests that are dicts already; a problem says ``<config>[2]: spec.http[0]``."""
    loading = Loading(memory)
    for index, document in enumerate(documents):
        loading.document(document, f"{name}[{index}]")
    return accepted(loading.world(), loading.findings)


def read_files(paths: Sequence[Path | str]) -> tuple[World, list[Finding]]:
    """What could be read, and everything found on the way; never raises for bad content."""
    return read_texts(texts_of(paths))


def texts_of(paths: Sequence[Path | str]) -> Texts:
    """The content of every file, or why it cannot be had."""
    texts: list[tuple[Path, str | Finding]] = []
    given = set(map(Path, paths))
    for path in walk(paths):
        if path.is_fifo() and path not in given:  # to read one that nobody writes would hang
            said = "a pipe, not a file"
            texts.append((path, Finding(UNREADABLE, "error", Place(str(path)), "", said)))
            continue
        try:
            texts.append((path, path.read_text(encoding="utf-8-sig")))
        except UnicodeDecodeError:
            texts.append((path, Finding(UNREADABLE, "error", Place(str(path)), "", "not UTF-8")))
        except OSError as error:
            said = error.strerror or str(error)
            texts.append((path, Finding(UNREADABLE, "error", Place(str(path)), "", said)))
    return texts


def read_texts(texts: Texts, memory: Memory | None = None) -> tuple[World, list[Finding]]:
    loading = Loading(memory)
    for path, text in texts:
        if isinstance(text, Finding):
            loading.findings.append(text)
        else:
            loading.text(text, str(path))
    return loading.world(), loading.findings


def walk(paths: Sequence[Path | str]) -> Iterator[Path]:
    """The files to read, in order, each once. Hidden ones are left out.

    A mounted ConfigMap keeps its generations in hidden folders, with links beside them.
    """
    seen: set[Path] = set()
    for path in map(Path, paths):
        for file in _files_below(path) if path.is_dir() else (path,):
            if file not in seen:
                seen.add(file)
                yield file


def _files_below(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield Path(root, name)


def accepted(world: World, findings: Sequence[Finding]) -> World:
    """The world, unless anything in it is wrong: then :class:`ConfigError` with all of it."""
    problems = [finding.problem for finding in findings if finding.severity == "error"]
    if problems:
        raise ConfigError(*problems)
    return world
