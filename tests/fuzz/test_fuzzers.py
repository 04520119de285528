"""Every fuzzer for a while, all side by side: a second each, a minute in CI, or as many seconds as
``MESHLIB_FUZZ_EACH`` says.

By default all begin with the same seed, so that a change is not blamed for what luck found. A
longer run begins with a fresh one and tells it: ``MESHLIB_FUZZ_SEED`` makes that run again.
"""

import json
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FUZZERS = sorted(HERE.rglob("test_*_fuzz.py"))
SECONDS = float(os.environ.get("MESHLIB_FUZZ_EACH") or (60 if os.environ.get("CI") else 1))
PATIENCE = 3 * SECONDS + 120
"""Seconds until one of many beside each other has surely started and ended."""


@dataclass
class Run:
    name: str
    runs: int
    seconds: float
    found: list[str]
    failure: str

    def __str__(self):
        rate = self.runs / self.seconds if self.seconds else 0
        found = f", new findings: {' '.join(self.found)}" if self.found else ", nothing new"
        return f"{self.name}: {self.runs:,} runs, {rate:,.0f}/s{found}"


def first_seed():
    given = os.environ.get("MESHLIB_FUZZ_SEED")
    if given:
        return int(given)
    return secrets.randbelow(2**32) if SECONDS > 1 else 0


def run(fuzzer, seed, folder):
    name = fuzzer.name.removeprefix("test_").removesuffix("_fuzz.py")
    report, kept = folder / f"{name}.jsonl", fuzzer.parent / "corpus/found"
    before = set(kept.glob("*"))
    environment = {
        **{key: value for key, value in os.environ.items() if key != "MESHLIB_FUZZ"},
        "MESHLIB_FUZZ_SECONDS": str(SECONDS),
        "MESHLIB_FUZZ_SEED": str(seed),
        "MESHLIB_FUZZ_REPORT": str(report),
    }
    # So many at once would starve what else is tested meanwhile.
    command = ["nice", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(fuzzer)]
    done = subprocess.run(
        command,
        cwd=HERE.parent.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    told = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    return Run(
        name,
        sum(one["runs"] for one in told),
        sum(one["seconds"] for one in told),
        sorted(path.name for path in set(kept.glob("*")) - before),
        done.stdout if done.returncode else "",
    )


@pytest.mark.timeout(PATIENCE + 60)
def test_no_fuzzer_finds_anything(tmp_path, tell):
    seed = first_seed()
    with ThreadPoolExecutor(len(FUZZERS)) as pool:
        runs = list(pool.map(lambda fuzzer: run(fuzzer, seed, tmp_path), FUZZERS))
    for one in runs:
        tell(f"fuzzers, {SECONDS:g} s each from seed {seed}", str(one))
    again = f"again with MESHLIB_FUZZ_SEED={seed} MESHLIB_FUZZ_EACH={SECONDS:g}"
    failures = [one.failure for one in runs if one.failure]
    assert not failures, "\n".join([*failures, again])
    assert all(one.runs for one in runs)
