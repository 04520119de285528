"""``meshlib status``: who is in sync with the control plane."""

import json
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import click

from ..errors import MeshError
from ._output import console, example, is_address, output_option, print_json, print_table

TYPES = ("lds", "rds", "cds", "eds")


def _address(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if is_address(value):
        return value
    raise click.BadParameter(f"{value!r} is not host:port")


@click.command(epilog=example("meshlib status --admin 127.0.0.1:18080"))
@click.option(
    "--admin",
    default="127.0.0.1:18080",
    show_default=True,
    metavar="ADDR",
    callback=_address,
    help="What `meshlib serve` says after admin=.",
)
@output_option()
def status(admin: str, output: str) -> None:
    """Show a control plane's clients, and what each accepted or refused."""
    found = _fetch(admin)
    if output == "json":
        print_json(found)
    else:
        _show(found)
    rejecting = any(_refusals(client) for client in found["clients"])
    raise SystemExit(1 if rejecting or found["errors"] else 0)


def _fetch(admin: str) -> dict[str, Any]:
    try:
        with urlopen(f"http://{admin}/api/v1/status", timeout=5) as answer:
            found = json.load(answer)
    except (HTTPException, ValueError):
        found = None  # somebody else's port: the ADS one, or another program's
    except (URLError, OSError) as error:
        why = getattr(error, "reason", error)
        raise MeshError(
            f"no control plane answers at {admin}: {why}\n"
            "Next: start one with `meshlib serve DIR`, or say where it is with --admin"
        ) from error
    if not isinstance(found, dict) or not found.keys() >= {"clients", "errors", "version"}:
        raise MeshError(
            f"what answers at {admin} is not the admin interface of a control plane\n"
            "Next: give --admin the address that `meshlib serve` says after admin="
        )
    return found


def _show(found: dict[str, Any]) -> None:
    out = console()
    clients = found["clients"]
    if clients:
        print_table(
            ("CLIENT", "KIND", "NAMESPACE", "LDS", "RDS", "CDS", "EDS", "AGE"), _rows(clients)
        )
    for client in clients:
        for kind, nack in _refusals(client):
            names = ", ".join(nack["resources"])
            said = f"  {client['id']} {kind.upper()} NACK: {names}: {nack['text']}"
            out.print(said, style="red", soft_wrap=True)
    for error in found["errors"]:
        out.print(f"  refused edit: {error}", style="red", soft_wrap=True)
    rejecting = sum(1 for client in clients if _refusals(client))
    refusals = f", {rejecting} rejecting" if rejecting else ""
    plural = "" if len(clients) == 1 else "s"
    out.print(f"{len(clients)} client{plural}{refusals}. Serving version {found['version']}.")
    if not clients:
        out.print("Next: start a program with MESHLIB_CONTROL_PLANE set to the ADS address")


def _rows(clients: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            client["id"],
            client["kind"],
            client["namespace"],
            *(_state(client["types"].get(kind)) for kind in TYPES),
            _age(client["connected_seconds"]),
        )
        for client in clients
    ]


def _state(kind: dict[str, Any] | None) -> str:
    if kind is None:
        return "-"
    version = kind["nack"]["version"] if kind["nack"] else kind["sent"]
    return f"{kind['state']} {version[:8]}".strip()


def _refusals(client: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(kind, state["nack"]) for kind, state in client["types"].items() if state["nack"]]


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
