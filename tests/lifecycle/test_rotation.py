"""Certificates and roots are exchanged under load, in programs of their own, and one is revoked.

``MESHLIB_ROTATION`` is for how many seconds: a long one is a soak.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("MESHLIB_ROTATION", "6"))
KINDS = ("sync", "aio", "aiohttp")
IS_LONG = SECONDS >= 60


@pytest.fixture(params=["authority", "plane"])
async def soaked(request):
    plan = {
        "modes": [request.param],
        "seconds": SECONDS,
        "root_every": 30.0 if IS_LONG else 2.0,
        "every": 1.0 if IS_LONG or request.param == "plane" else 0.2,
        "ttl": 20,
        "rate": 600 if IS_LONG else 60,
        "revoked_for": 3.0,
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "bench/rotation.py"),
        json.dumps(plan),
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=pipe,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    print(out.decode())
    return json.loads(out)[request.param]


@pytest.mark.timeout(SECONDS + 60)
async def test_no_call_fails_of_rotation_and_who_is_revoked_is_cut_off(soaked):
    assert soaked["calls"] >= SECONDS * 30
    assert soaked["failed"] == 0, soaked["kinds"]
    assert not soaked["streams_broken"]
    assert soaked["roots"]["activated"] >= 1
    assert all(seen >= 3 for seen in soaked["certificates_seen_by_servers"].values())
    revoked = soaked["revocation_s"]
    assert {*revoked} == {f"{kind} {how}" for kind in KINDS for how in ("kept", "new", "stream")}
    assert all(one["denied"] is not None for one in revoked.values())
