"""Operators of access logs that members leave empty are such as an Envoy knows."""

import asyncio
import json
from pathlib import Path

import pytest

from meshlib.model import (
    ROUTER,
    Address,
    HttpConnectionManager,
    Listener,
    RouteConfiguration,
)
from meshlib.model.format import NEVER
from meshlib.model.log_format import UNFILLED
from meshlib.model.telemetry import AccessLog, FileAccessLog
from meshlib.xds.codec import encode_json

pytestmark = pytest.mark.interop


async def refusal(envoy: Path, text: str) -> str:
    """What an Envoy says of a log with this format; "" where it takes it."""
    log = AccessLog(name="file", config=FileAccessLog(path="/dev/null", text="TEXT"))
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="none"),
        http_filters=(ROUTER,),
        access_log=(log,),
    )
    listener = encode_json(Listener(name="l", address=Address("127.0.0.1", 0), http=http))
    listener.pop("@type")
    config = json.dumps({"static_resources": {"listeners": [listener]}}).replace("TEXT", text)
    process = await asyncio.create_subprocess_exec(
        *(str(envoy), "--mode", "validate", "--config-yaml", config, "-l", "error"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    return errors.decode() if process.returncode else ""


async def test_envoy_knows_each_of_them(envoy: Path) -> None:
    asked = [name if takes == NEVER else f"{name}(a)" for name, takes in UNFILLED.items()]
    assert await refusal(envoy, " ".join(f"%{one}%" for one in asked)) == ""
    assert "NO_SUCH_ONE" in await refusal(envoy, "%NO_SUCH_ONE%")
