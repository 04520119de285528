"""The small examples, run as their pages say: ``python examples/outlier/run.py``."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SHOWN = {
    "canary": r"500 calls: v1 4\d\d, v2 \d\d\n20 calls of testers: v2 20\n.*: matched\n",
    "retries": r"without retries: 503 3, fine 3, slow 3\n.*each: fine 9\n.*: 4\d\d attempts",
    "outlier": r"fails: 500 3, one 17\n.*consecutive_5xx.*left out: one 20\n.*later: one \d+, two ",
    "faults": r"none: fine 20\n.*slow: fine 20\n  \d{3,} ms each, 20 .*broken: 503 \d+, fine \d+\n",
    "locality": r"from eu/a: eu/a 20\n.*503 2, eu/b 18\n.*503 2, us/a 18\n.*again: eu/a 20\n",
    "mtls": r"a member: 200 hello, spiffe://\S+/productpage\n.*text: refused.*cate: refused",
    "authorization": r"GET reviews/1: 200 .*page POST reviews/1: 403 .*stranger GET \S+: 403 ",
    "telemetry": (
        r"\A(?=.*DELETE reviews:9080/ was 403).*2 x source productpage > reviews 200 unknown .*"
        r"1 x destination productpage > reviews 403 mutual_tls DELETE.*one trace: 1 id, 7 spans"
    ),
    "rate_limits": r"anna POST /orders: 429 .*jason POST /orders: 200\n.*\n.*GET /goods: 429 ",
}
"""What each must say."""


def test_each_example_is_known(root: Path) -> None:
    folders = {path.parent.name for path in root.glob("examples/*/run.py")}
    assert folders == SHOWN.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_shows_what_it_is_about(root: Path, name: str, tmp_path: Path) -> None:
    rest = {key: value for key, value in os.environ.items() if not key.startswith("MESHLIB_")}
    done = subprocess.run(
        [sys.executable, root / f"examples/{name}/run.py"],
        cwd=tmp_path,
        env=rest | {"PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SHOWN[name], done.stdout, re.DOTALL), done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_fits_a_page(root: Path, name: str) -> None:
    text = (root / f"examples/{name}/run.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
