"""How commands speak: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])
WIDE = 240
STYLES = {
    "error": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "matched": "bold green",
    "NACK": "bold red",
    "ACK": "green",
}


def is_address(value: str) -> bool:
    """Whether it is ``host:port``."""
    host, _, port = value.rpartition(":")
    return bool(host) and "/" not in host and port.isdecimal() and int(port) <= 65535


def output_option(default: str = "table") -> Callable[[F], F]:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default=default,
        show_default=True,
        help="For people, or for programs.",
    )


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def console() -> "Console":
    """Colours on a terminal only; elsewhere lines are not cut to the width of one."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDE
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell.split(" ")[0], "")) for cell in row))
    out = console()
    with out.capture() as shown:
        out.print(table)
    for line in shown.get().splitlines():
        click.echo(line.rstrip())
