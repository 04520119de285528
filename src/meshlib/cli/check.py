"""``meshlib check``: is this machine fit for a mesh?"""

import logging
import os
import platform
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click

from .. import __version__
from ..errors import ConfigError, MeshError
from ._output import console, example, is_address, output_option, print_json

REQUIRED = ("grpcio", "protobuf", "aiohttp", "pyyaml", "msgspec", "google-re2")
CLASHING = ("xds-protos", "grpcio-csds", "grpcio-admin")
SIGNS = {"ok": ("√", "green"), "warning": ("!!", "yellow"), "error": ("✗", "bold red")}


@dataclass(frozen=True, slots=True)
class Checked:
    group: str
    state: str
    what: str
    hint: str = ""


@click.command(epilog=example("meshlib check --config mesh/"))
@click.option(
    "--config",
    envvar="MESHLIB_CONFIG",
    metavar="DIR",
    help="A folder or file; else MESHLIB_CONFIG.",
)
@click.option(
    "--control-plane",
    envvar="MESHLIB_CONTROL_PLANE",
    metavar="ADDR",
    help="Try to reach it; else MESHLIB_CONTROL_PLANE.",
)
@output_option()
def check(config: str | None, control_plane: str | None, output: str) -> None:
    """Look whether this machine and environment are fit for a mesh."""
    results = [
        *_versions(),
        *_clashes(),
        *_environment(),
        *_telemetry(),
        *_bootstrap(),
        *_config(config),
        *_control_plane(control_plane),
    ]
    if output == "json":
        print_json([asdict(result) for result in results])
    else:
        _show(results)
    raise SystemExit(1 if any(result.state == "error" for result in results) else 0)


def _show(results: list[Checked]) -> None:
    out = console()
    group = ""
    for result in results:
        if result.group != group:
            group = result.group
            out.print(group, style="bold")
        sign, style = SIGNS[result.state]
        out.print(f"  {sign:<3}{result.what}", style=style, soft_wrap=True)
        if result.hint:
            out.print(f"     {result.hint}", soft_wrap=True)
    errors = sum(result.state == "error" for result in results)
    out.print("all is well" if not errors else f"{errors} to be mended")


def _versions() -> Iterator[Checked]:
    fit = sys.version_info >= (3, 11)
    yield Checked("versions", "ok" if fit else "error", f"python {platform.python_version()}")
    yield Checked("versions", "ok", f"meshlib {__version__}")
    for name in REQUIRED:
        version = _version(name)
        if version is None:
            hint = "install meshlib-proxyless again"
            yield Checked("versions", "error", f"{name} is missing", hint)
        else:
            yield Checked("versions", "ok", f"{name} {version}")


def _clashes() -> Iterator[Checked]:
    from ..xds.protos import pool

    for name in CLASHING:
        if (version := _version(name)) is not None:
            hint = (
                f"it overwrites opentelemetry/proto; meshlib needs none of it: pip uninstall {name}"
            )
            yield Checked("clashes", "warning", f"{name} {version} is installed", hint)
    try:
        pool()
    except MeshError as error:
        yield Checked("clashes", "error", str(error))
    else:
        yield Checked("clashes", "ok", "the xDS messages load")


def _environment() -> Iterator[Checked]:
    """A mesh is made as a program would make it; that begins nothing."""
    from ..mesh import Mesh

    logging.getLogger("meshlib").addHandler(logging.NullHandler())  # it is told here
    try:
        options = Mesh().options
    except MeshError as error:
        for line in str(error).splitlines():
            yield Checked("environment", "error", line)
        return
    yield Checked("environment", "ok", f"service {options.service or 'without a name'}")
    for said in options.without_effect:
        yield Checked("environment", "warning", said)


def _telemetry() -> Iterator[Checked]:
    from ..telemetry.setup import PACKAGES, refused

    port = os.environ.get("MESHLIB_ADMIN")
    yield Checked("telemetry", "ok", f"metrics at {port}" if port else "no admin port")
    log = os.environ.get("MESHLIB_ACCESS_LOG")
    yield Checked("telemetry", "ok", f"access log {log}" if log else "no access log of its own")
    known = [
        f"{package} {version}" for package in PACKAGES.values() if (version := _version(package))
    ]
    hint = "" if known else f"for meshlib.telemetry.setup(): pip install {PACKAGES['grpc']}"
    yield Checked("telemetry", "ok", ", ".join(known) or "no exporter of OTLP is installed", hint)
    error = refused()
    if error is not None:
        hint = "meshlib.telemetry.setup() refuses it"
        yield Checked("telemetry", "warning", str(error), hint)


def _bootstrap() -> Iterator[Checked]:
    from ..xds.bootstrap import Bootstrap

    if not any(map(os.environ.get, ("GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG"))):
        yield Checked("bootstrap", "ok", "none in the environment")
        return
    try:
        found = Bootstrap.from_env()
    except (ConfigError, OSError) as error:
        yield Checked("bootstrap", "error", str(error))
        return
    if found is not None:
        servers = ", ".join(server.server_uri for server in found.xds_servers)
        yield Checked("bootstrap", "ok", f"{found.node.id} of {servers}")
        for place in found.ignored:
            yield Checked("bootstrap", "warning", f"{place} is accepted but not acted on")


def _config(config: str | None) -> Iterator[Checked]:
    if not config:
        yield Checked("config", "ok", "none given: calls go out as they would without a mesh")
        return
    from ..controlplane import analyze

    if not Path(config).exists():
        yield Checked("config", "error", f"{config} does not exist")
        return
    findings = analyze([Path(config)])
    errors = sum(finding.severity == "error" for finding in findings)
    said = f"{config}: {errors} errors, {len(findings) - errors} other findings"
    hint = f"meshlib analyze {config}" if findings else ""
    yield Checked("config", "error" if errors else "ok", said, hint)


def _control_plane(address: str | None) -> Iterator[Checked]:
    if not address:
        return
    if not is_address(address):
        hint = "write it as 127.0.0.1:18000"
        yield Checked("control plane", "error", f"{address!r} is not host:port", hint)
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            yield Checked("control plane", "ok", f"{address} answers")
    except OSError as error:
        hint = "meshlib serve DIR starts one"
        yield Checked("control plane", "error", f"{address}: {error}", hint)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
