"""``meshlib mtls``: may plain text be shut out?"""

from collections.abc import Iterable
from typing import Any

import click

from ._admin import admin_options, expect, fetch
from ._output import console, example, output_option, print_json, print_table

UNKNOWN = "not told"


@click.group(epilog=example("meshlib mtls readiness --admin 127.0.0.1:18080"))
def mtls() -> None:
    """Ask about mutual TLS."""


@mtls.command(epilog=example("meshlib mtls readiness --admin 127.0.0.1:18080"))
@admin_options
@output_option()
def readiness(admin: str, token: str | None, output: str) -> None:
    """Say whether STRICT is safe: who still calls in plain text, server by server.

    Registered servers are asked, since each began. Exit code 1 where STRICT would shut out a
    caller, or where a server does not tell.
    """
    found = expect(fetch(admin, "/api/v1/status", token), admin, "registered")
    servers = [_server(one) for one in found["registered"]]
    safe = bool(servers) and all(one["ready"] for one in servers)
    if output == "json":
        print_json({"safe": safe, "servers": servers})
    else:
        _show(servers, safe=safe)
    raise SystemExit(0 if safe else 1)


def _server(one: dict[str, Any]) -> dict[str, Any]:
    callers: dict[str, int] = one.get("plaintext_callers") or {}
    mode = one.get("mtls") or UNKNOWN
    return {
        "server": f"{one['address']}:{one['port'] or ','.join(map(str, one['ports'].values()))}",
        "namespace": one["namespace"],
        "labels": one["labels"],
        "mtls": mode,
        "plaintext_callers": callers,
        "ready": mode in ("auto", "strict") and not callers,
    }


def _show(servers: Iterable[dict[str, Any]], *, safe: bool) -> None:
    rows = [
        (
            one["server"],
            one["namespace"],
            one["labels"].get("app", "-"),
            one["mtls"],
            ", ".join(f"{name} {count}" for name, count in one["plaintext_callers"].items()) or "-",
            "yes" if one["ready"] else "no",
        )
        for one in servers
    ]
    if rows:
        print_table(("SERVER", "NAMESPACE", "APP", "MTLS", "IN PLAIN TEXT", "READY"), rows)
    out = console()
    if safe:
        out.print("STRICT is safe: nobody calls these servers in plain text.")
    elif rows:
        out.print("STRICT is not safe yet: those who are listed would be shut out.")
    else:
        out.print("No server is registered, so nothing is known of who calls.")
        out.print("Next: servers call mesh.register(port)")
