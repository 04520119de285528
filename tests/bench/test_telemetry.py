"""What the telemetry benchmark compares is really delivered: who does nothing is fast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VARIANTS = ["bare", "mesh, metrics", "mesh, 100 %", "mesh, access log", "instrumentor, 100 %"]
PLAN = {"seasons": 1, "rounds": 2, "calls": 20, "burst_rounds": 1, "burst_seconds": 0.05}
CALLS = 201 + 2 * 21
"""At least: warming up, and both rounds; and what the burst gets done."""

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("kind", ["aio", "sync", "aiohttp"])
def test_each_variant_delivers_what_it_is_measured_for(kind: str) -> None:
    plan = PLAN | {"server": 0, "processor": 0, "kinds": [kind], "variants": VARIANTS}
    bench = [sys.executable, ROOT / "bench/telemetry.py", json.dumps(plan)]
    done = subprocess.run(bench, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)[kind]
    assert list(rows) == VARIANTS
    found = {name: row["delivered"] for name, row in rows.items()}

    nothing = {"spans": 0, "series": 0, "counted": 0, "lines": 0}
    assert found["bare"] == nothing
    assert found["mesh, metrics"]["series"] == 1
    assert found["mesh, metrics"]["counted"] >= CALLS
    assert found["mesh, 100 %"]["spans"] >= found["mesh, 100 %"]["counted"] >= CALLS
    assert found["mesh, access log"]["lines"] == found["mesh, access log"]["counted"] >= CALLS
    assert found["instrumentor, 100 %"]["spans"] >= CALLS
