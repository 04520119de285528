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


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


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
@token_option(
    "--registration-token-file",
    "A token that members need to register as endpoints (from elsewhere than here they do)",
    "registration_token",
    "MESHLIB_REGISTRATION_TOKEN",
)
@click.option(
    "--registration-grace",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a registered endpoint outlives its connection.",
)
@click.option("--tls-cert", type=FILE, metavar="FILE", help="Speak TLS, with this certificate.")
@click.option("--tls-key", type=FILE, metavar="FILE", help="The key of --tls-cert.")
@click.option(
    "--tls-client-ca", type=FILE, metavar="FILE", help="Ask clients for a certificate of this CA."
)
@click.option(
    "--ca",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="CA_DIR",
    help="Give out certificates of this CA (made there, if there is none), and serve members only.",
)
@click.option(
    "--ca-host",
    "ca_hosts",
    multiple=True,
    metavar="NAME",
    help="As which clients call this machine, besides localhost and 127.0.0.1. May be repeated.",
)
@click.option(
    "--ca-socket",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For development: a socket at which your user may be given the certificate of anybody.",
)
@output_option()
def serve(  # noqa: PLR0913 - one an option
    config: Path,
    listen: str,
    admin: str,
    token: str | None,
    output: str,
    *,
    rollback_on_nack: bool,
    registration_token: str | None,
    registration_grace: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    ca: Path | None,
    ca_hosts: tuple[str, ...],
    ca_socket: Path | None,
) -> None:
    """Serve manifests as xDS over ADS, and follow their changes.

    The first line says `ready` with the addresses; a bad edit is refused whole and logged with
    its place. SIGTERM drains.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    from ..controlplane import ControlPlane, server_credentials

    credentials = None
    if tls_cert is not None and tls_key is not None:
        credentials = server_credentials(tls_cert, tls_key, tls_client_ca)
    elif tls_cert or tls_key or tls_client_ca:
        raise click.UsageError("--tls-cert and --tls-key go together")
    if ca is None and (ca_hosts or ca_socket is not None):
        raise click.UsageError("--ca-host and --ca-socket go with --ca")
    if ca is not None and credentials is not None:
        raise click.UsageError("--ca brings a certificate of its own, so --tls-cert has no place")
    plane = ControlPlane(
        config,
        listen=listen,
        admin=None if admin == "off" else admin,
        admin_token=token,
        rollback_on_nack=rollback_on_nack,
        credentials=credentials,
        registration_token=registration_token,
        registration_grace=registration_grace,
        ca=ca,
        ca_hosts=ca_hosts,
        ca_socket=ca_socket,
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
