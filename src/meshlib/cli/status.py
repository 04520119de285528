"""``meshlib status``: who is in sync with the control plane."""

from typing import Any

import click

from ._admin import admin_options, expect, fetch
from ._output import console, example, output_option, print_json, print_table

TYPES = ("lds", "rds", "cds", "eds")
MOST_DOWNGRADES = 20


@click.command(epilog=example("meshlib status --admin 127.0.0.1:18080"))
@admin_options
@output_option()
def status(admin: str, token: str | None, output: str) -> None:
    """Show a control plane's clients, and what each accepted or refused."""
    answer = fetch(admin, "/api/v1/status", token)
    found = expect(answer, admin, "clients", "errors", "version")
    if output == "json":
        print_json(found)
    else:
        _show(found)
    rejecting = any(_refusals(client) for client in found["clients"])
    raise SystemExit(1 if rejecting or found["errors"] else 0)


def _show(found: dict[str, Any]) -> None:
    out = console()
    clients = found["clients"]
    if clients:
        print_table(
            ("CLIENT", "KIND", "NAMESPACE", "XDS", "LDS", "RDS", "CDS", "EDS", "AGE"),
            _rows(clients),
        )
    for client in clients:
        for kind, nack in _refusals(client):
            names = ", ".join(nack["resources"])
            said = f"  {client['id']} {kind.upper()} NACK: {names}: {nack['text']}"
            out.print(said, style="red", soft_wrap=True)
    for error in found["errors"]:
        out.print(f"  refused edit: {error}", style="red", soft_wrap=True)
    _show_downgrades(found.get("downgrades") or [])
    if found.get("loads"):
        print_table(
            ("CLUSTER", "CLIENTS", "CALLS/S", "ERRORS/S", "DROPPED/S", "IN PROGRESS"),
            [_load(one) for one in found["loads"]],
        )
    if found.get("registered"):
        print_table(
            ("REGISTERED", "NAMESPACE", "LABELS", "STATE", "LEASE"),
            [_workload(one) for one in found["registered"]],
        )
    rejecting = sum(1 for client in clients if _refusals(client))
    refusals = f", {rejecting} rejecting" if rejecting else ""
    plural = "" if len(clients) == 1 else "s"
    out.print(f"{len(clients)} client{plural}{refusals}. Serving version {found['version']}.")
    if not clients:
        out.print("Next: start a program with MESHLIB_CONTROL_PLANE set to the ADS address")


def _show_downgrades(downgrades: list[str]) -> None:
    out = console()
    for said in downgrades[:MOST_DOWNGRADES]:
        out.print(f"  downgraded: {said}", style="yellow", soft_wrap=True, markup=False)
    if len(downgrades) > MOST_DOWNGRADES:
        more = len(downgrades) - MOST_DOWNGRADES
        out.print(f"  and {more} downgrades more: see them all with -o json")


def _rows(clients: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            client["id"],
            client["kind"],
            client["namespace"],
            client["protocol"],
            *(_state(client["types"].get(kind)) for kind in TYPES),
            _age(client["connected_seconds"]),
        )
        for client in clients
    ]


def _load(load: dict[str, Any]) -> tuple[str, ...]:
    """What the clients say of a cluster, per second of the last interval."""
    calls = load["successful_per_second"] + load["error_per_second"]
    return (
        load["cluster"],
        str(load["clients"]),
        *(f"{each:.1f}" for each in (calls, load["error_per_second"], load["dropped_per_second"])),
        str(load["in_progress"]),
    )


def _workload(one: dict[str, Any]) -> tuple[str, ...]:
    ports = one["port"] or ",".join(f"{name}={port}" for name, port in one["ports"].items())
    return (
        f"{one['address']}:{ports}",
        one["namespace"],
        ",".join(f"{key}={value}" for key, value in one["labels"].items()),
        one["state"],
        f"{_age(one['age_seconds'])}, ends in {_age(max(0.0, one['ends_in_seconds']))}",
    )


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
