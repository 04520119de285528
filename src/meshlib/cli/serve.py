"""``meshlib serve``: the control plane."""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._admin import token_option
from ._output import example, is_address, output_option, print_json

if TYPE_CHECKING:
    from ..controlplane import ControlPlane


def _address(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if is_address(value) or (value == "off" and parameter.name == "admin"):
        return value
    raise click.BadParameter(f"{value!r} is not host:port")


@click.command(epilog=example("meshlib serve mesh/ --listen 127.0.0.1:18000"))
@click.argument("config", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--listen",
    default="127.0.0.1:18000",
    show_default=True,
    callback=_address,
    metavar="ADDR",
    help="Where clients find it; port 0 takes a free one.",
)
@click.option(
    "--admin",
    default="127.0.0.1:18080",
    show_default=True,
    callback=_address,
    metavar="ADDR",
    help="Health and status over HTTP; 'off' for none.",
)
@token_option("--admin-token-file", "A token that --admin asks for (elsewhere than here it must)")
@click.option(
    "--rollback-on-nack",
    is_flag=True,
    help="Take an edit back for all if a client refuses something new in it.",
)
@output_option()
def serve(
    config: Path,
    listen: str,
    admin: str,
    token: str | None,
    output: str,
    *,
    rollback_on_nack: bool,
) -> None:
    """Serve manifests as xDS over ADS, and follow their changes.

    The first line says `ready` with the addresses; a bad edit is refused whole and logged with
    its place. SIGTERM drains.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    from ..controlplane import ControlPlane

    plane = ControlPlane(
        config,
        listen=listen,
        admin=None if admin == "off" else admin,
        admin_token=token,
        rollback_on_nack=rollback_on_nack,
    )
    asyncio.run(_serve(plane, output))


async def _serve(plane: "ControlPlane", output: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with plane:
        if output == "json":
            ready = {"ads": plane.address, "admin": plane.admin_address, "version": plane.version}
            print_json({"ready": ready})
        else:
            shown = f" admin={plane.admin_address}" if plane.admin_address else ""
            click.echo(f"ready ads={plane.address}{shown}")
        sys.stdout.flush()
        await stop.wait()
        logging.getLogger("meshlib.controlplane").info("draining")
