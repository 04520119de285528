"""What the pages show is run: Python is executed, YAML is loaded, commands are typed.

A page is played from top to bottom in a folder of its own. A block marked ``yaml file=mesh/a.yaml``
or ``python file=hello.py`` is written there under that name; such a program has to be started by a
console block. A Python block without a name is run where it stands. In a console block the lines
after a command are what it prints; "…" stands for anything.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_PLAYED = ("pip", "make", "git", "cd")


@dataclass(frozen=True)
class Block:
    language: str
    file: str | None
    text: str
    line: int


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    unstarted: set[str] = set()
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        match block.language:
            case "yaml":
                load(block, tmp_path)
            case "python" if block.file:
                write(block, tmp_path)
                unstarted.add(block.file)
            case "python":
                run([sys.executable, "-c", block.text], tmp_path, where)
            case "console":
                unstarted -= {word for command, _ in commands(block) for word in command}
                type_in(block, tmp_path, where)
            case "text" | "{toctree}":
                pass
            case other:
                pytest.fail(f"{where}: nobody checks blocks of {other!r}")
    assert not unstarted


def blocks(page: Path) -> Iterator[Block]:
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.map is not None:
            language, _, rest = token.info.partition(" ")
            file = rest.removeprefix("file=") if rest.startswith("file=") else None
            yield Block(language, file, token.content, token.map[0] + 1)


def write(block: Block, folder: Path) -> Path:
    path = folder / (block.file or "block.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")
    return path


def load(block: Block, folder: Path) -> None:
    """Refused YAML raises here, with the place of each problem."""
    from meshlib.controlplane.manifests import load_files

    load_files([write(block, folder)])


def commands(block: Block) -> Iterator[tuple[list[str], list[str]]]:
    """Each command of a console block with the lines that it prints."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *printed = part.splitlines()
        yield shlex.split(command), [line for line in printed if line]


def type_in(block: Block, folder: Path, where: str) -> None:
    for (program, *arguments), expected in commands(block):
        match program:
            case "python":
                said = run([sys.executable, *arguments], folder, where)
            case "meshlib" if arguments[0] == "serve":
                said = serve(arguments, folder)
            case "meshlib":
                said = run([sys.executable, "-m", "meshlib", *arguments], folder, where)
            case _:
                assert program in NOT_PLAYED, f"{where}: nobody checks {program!r}"
                continue
        wanted = ".*".join(re.escape(part) for part in "\n".join(expected).split("…"))
        assert re.search(wanted, said, re.DOTALL), f"{where}: said {said!r}"


def serve(arguments: list[str], folder: Path) -> str:
    """Start the control plane on free ports, wait until it is ready, and ask it to end."""
    free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    command = [sys.executable, "-m", "meshlib", *arguments, *free]
    with subprocess.Popen(
        command, cwd=folder, env=surroundings(), stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        said = server.stdout.readline().decode()
        server.terminate()
        assert server.wait(30) == 0
    return said


def run(command: list[str], folder: Path, where: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=surroundings(),
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, f"{where}: {done.stderr}"
    return done.stdout


def surroundings() -> dict[str, str]:
    """The caller's environment without a mesh of his own."""
    rest = {key: value for key, value in os.environ.items() if not key.startswith("MESHLIB_")}
    return {**rest, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
