"""How commands ask a running control plane: its admin interface, over HTTP."""

import json
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import click

from ..errors import MeshError
from ._output import is_address

F = TypeVar("F", bound=Callable[..., Any])
TOKEN = "MESHLIB_ADMIN_TOKEN"  # noqa: S105 - the name of the variable


def admin_options(command: F) -> F:
    """``--admin`` and ``--token-file``."""
    address = click.option(
        "--admin",
        default="127.0.0.1:18080",
        show_default=True,
        metavar="ADDR",
        callback=_address,
        help="What `meshlib serve` says after admin=.",
    )
    return address(token_option("--token-file", "The file with its token")(command))


def token_option(
    name: str, text: str, parameter: str = "token", variable: str = TOKEN
) -> Callable[[F], F]:
    """The command is given the token itself."""
    return click.option(
        name,
        parameter,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        callback=_token,
        metavar="FILE",
        help=f"{text}; else {variable}.",
    )


def fetch(admin: str, path: str, token: str | None) -> dict[str, Any]:
    """What the admin interface says; raises :class:`MeshError` with what to do if it says no."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(f"http://{admin}{path}", headers=headers), timeout=5) as answer:
            found = json.load(answer)
    except HTTPError as refused:
        raise _refusal(admin, refused) from refused
    except (HTTPException, ValueError):
        found = None  # somebody else's port: the ADS one, or another program's
    except (URLError, OSError) as error:
        why = getattr(error, "reason", error)
        raise MeshError(
            f"no control plane answers at {admin}: {why}\n"
            "Next: start one with `meshlib serve DIR`, or say where it is with --admin"
        ) from error
    if not isinstance(found, dict):
        raise _stranger(admin)
    return found


def expect(found: dict[str, Any], admin: str, *keys: str) -> dict[str, Any]:
    if not found.keys() >= set(keys):
        raise _stranger(admin)
    return found


def _stranger(admin: str) -> MeshError:
    return MeshError(
        f"what answers at {admin} is not the admin interface of a control plane\n"
        "Next: give --admin the address that `meshlib serve` says after admin="
    )


def _refusal(admin: str, refused: HTTPError) -> MeshError:
    with refused:
        text = refused.read()
    if refused.code == 401:
        return MeshError(
            f"the control plane at {admin} wants its token\nNext: --token-file FILE, or {TOKEN}"
        )
    try:
        said: dict[str, Any] = json.loads(text)
        named = ", ".join(said.get("clients", said.get("types", ())))
        next_step = f"one of {named}" if named else "wait for a client; none is connected"
        return MeshError(f"{said['error']}\nNext: {next_step}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return _stranger(admin)


def _address(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if is_address(value):
        return value
    raise click.BadParameter(f"{value!r} is not host:port")


def _token(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> str | None:
    if value is None:
        token, place = os.environ.get(TOKEN) if parameter.name == "token" else None, TOKEN
        if not token:
            return token
    else:
        token, place = value.read_bytes().decode("latin-1").strip(), str(value)
    if not token:
        raise click.BadParameter(f"{place} is empty")
    if not (token.isascii() and token.isprintable()):
        raise click.BadParameter(f"{place} is not one line of ASCII, as a token is")
    return token
