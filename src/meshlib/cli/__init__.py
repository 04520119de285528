"""The command line. Modules here import click only; what is heavy waits until a command runs."""

import errno
import sys
from io import TextIOWrapper
from typing import Any

import click

from .. import __version__
from ..errors import ConfigError, MeshError
from .analyze import analyze
from .ca import ca
from .check import check
from .compile import compile_
from .config import config
from .explain import explain
from .mtls import mtls
from .serve import serve
from .status import status

__all__ = ["main"]


class Commands(click.Group):
    """Turns what meshlib raises, and what the machine refuses, into a message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, TextIOWrapper):  # a sign that it lacks must not end a command
            sys.stdout.reconfigure(errors="replace")
        try:
            return super().invoke(ctx)
        except ConfigError as refused:
            for problem in refused.problems:
                click.echo(f"error  {problem}", err=True)
            click.echo(
                "The configuration is refused. Next: meshlib analyze PATH shows it with context",
                err=True,
            )
        except MeshError as error:
            click.echo(f"error  {error}", err=True)
        except OSError as error:
            if error.errno == errno.EPIPE:  # who reads has enough: click ends in silence
                raise
            click.echo(f"error  {error}", err=True)
        sys.exit(1)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start here:  meshlib analyze mesh/   then   meshlib serve mesh/",
)
@click.version_option(__version__, prog_name="meshlib")
def main() -> None:
    """A service mesh for Python, without proxies: control plane and tools.

    Exit codes: 0 all is well, 1 findings or failure, 2 wrong usage.
    """


for command in (serve, analyze, explain, compile_, status, config, ca, mtls, check):
    main.add_command(command)
