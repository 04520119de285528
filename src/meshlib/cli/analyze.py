"""``meshlib analyze``: what is wrong with the manifests, with the lines themselves."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from ._output import STYLES, console, example, output_option, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..controlplane import Finding

LONGEST = 200
SEVERITIES = ("error", "warning", "info")


@click.command(epilog=example("meshlib analyze mesh/"))
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@output_option()
def analyze(paths: tuple[Path, ...], output: str) -> None:
    """Find what is wrong, doubtful or without effect in manifests."""
    from ..controlplane import analyze as analyzed
    from ..controlplane.manifests import walk

    started = perf_counter()
    findings = analyzed(paths)
    files = sum(1 for _ in walk(paths))
    errors = sum(finding.severity == "error" for finding in findings)
    if output == "json":
        print_json([finding.to_dict() for finding in findings])
    else:
        _show(findings, files, perf_counter() - started)
    raise SystemExit(1 if errors else 0)


def _show(findings: "tuple[Finding, ...]", files: int, seconds: float) -> None:
    out = console()
    sources: dict[str, list[str]] = {}
    for finding in findings:
        _show_one(out, finding, sources)
    counts = [(sum(f.severity == kind for f in findings), kind) for kind in SEVERITIES]
    said = ", ".join(_counted(count, kind) for count, kind in counts if count) or "no findings"
    out.print(f"{said} in {_counted(files, 'file')} ({seconds:.2f} s).")
    if not files:
        out.print("Next: put manifests (*.yaml, *.yml, *.json) there", soft_wrap=True)
    elif not counts[0][0]:
        out.print("Next: meshlib serve PATH", soft_wrap=True)


def _show_one(out: "Console", finding: "Finding", sources: dict[str, list[str]]) -> None:
    from rich.text import Text

    subject = f"{finding.resource}: " if finding.resource else ""
    out.print(
        Text(f"{finding.place}  "),
        Text(f"{finding.severity:<8}", style=STYLES[finding.severity]),
        Text(f"{finding.code}  {subject}{finding.message}"),
        sep="",
        soft_wrap=True,
    )
    place = finding.place
    if place.line and place.file not in sources:
        sources[place.file] = _lines(place.file)
    lines = sources.get(place.file, [])
    if 0 < place.line <= len(lines):
        line = lines[place.line - 1][: max(LONGEST, place.column)]
        out.print(f"{place.line:>5} | {line}", soft_wrap=True)
        caret = _caret(line, max(place.column, 1))
        out.print(f"      | {caret} {finding.hint}".rstrip(), soft_wrap=True)
    elif finding.hint:
        out.print(f"      | {finding.hint}", soft_wrap=True)


def _caret(line: str, column: int) -> str:
    """Under the word that begins at the column; tabs stay tabs, so that it stands right."""
    before = "".join("\t" if char == "\t" else " " for char in line[: column - 1])
    rest = line[column - 1 :]
    word = rest.split()[0] if rest.split() and not rest[0].isspace() else ""
    return before + "^" * max(1, len(word.rstrip(",]}:")))


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 or word == "info" else f"{count} {word}s"
