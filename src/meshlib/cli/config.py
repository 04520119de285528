"""``meshlib config``: what a client runs on."""

from typing import Any
from urllib.parse import quote

import click

from ._admin import admin_options, expect, fetch
from ._output import console, example, output_option, print_json, print_table

TYPES = ("lds", "rds", "cds", "eds", "sds", "ecds", "rtds")


@click.command(
    epilog=example("meshlib config productpage-1", "meshlib config productpage-1 cds -o json")
)
@click.argument("client")
@click.argument("type", required=False, type=click.Choice(TYPES), metavar="[TYPE]")
@admin_options
@output_option()
def config(client: str, type: str | None, admin: str, token: str | None, output: str) -> None:  # noqa: A002
    """Show what a control plane has sent to a client, and what of it the client took.

    CLIENT is its name in `meshlib status`; TYPE one of lds, rds, cds, eds, sds, ecds, rtds.
    As JSON with the resources themselves.
    """
    path = f"/api/v1/config/{quote(client, safe='')}" + (f"/{type}" if type else "")
    found = expect(fetch(admin, path, token), admin, "streams")
    if output == "json":
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    rows = [
        (kind, one["name"], one["version"], _state(one, content))
        for stream in found["streams"]
        for kind, content in sorted(stream["types"].items(), key=lambda item: _rank(item[0]))
        for one in content["names"]
    ]
    if rows:
        print_table(("TYPE", "RESOURCE", "VERSION", "STATE"), rows)
    for stream in found["streams"]:
        for kind, content in stream["types"].items():
            if content["nack"]:
                said = f"  {kind.upper()} NACK: {content['nack']}"
                console().print(said, style="red", soft_wrap=True)
    streams = len(found["streams"])
    plural = "" if streams == 1 else "s"
    said = f"{len(rows)} resources on {streams} stream{plural} of {found['client']}."
    console().print(said, soft_wrap=True)


def _rank(kind: str) -> int:
    return TYPES.index(kind) if kind in TYPES else len(TYPES)


def _state(one: dict[str, Any], content: dict[str, Any]) -> str:
    if one["refused"]:
        return "NACK"
    return "ACK" if content["version"] == content["acked"] else "SENT"
