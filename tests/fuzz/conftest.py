"""What every fuzzer is driven by.

A fuzzer is a file ``test_<name>_fuzz.py``. Its tests ask for ``fuzz``, and run a fixed number of
rounds, ``MESHLIB_FUZZ`` rounds, or together ``MESHLIB_FUZZ_SECONDS`` seconds, from the seed
``MESHLIB_FUZZ_SEED`` on. What fails is kept in ``corpus/found`` beside the fuzzer and tried first
from then on: commit it with what mends it.
"""

import hashlib
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

ROUNDS = int(os.environ.get("MESHLIB_FUZZ", "0"))
SECONDS = float(os.environ.get("MESHLIB_FUZZ_SECONDS", "0"))
FIRST = int(os.environ.get("MESHLIB_FUZZ_SEED", "0"))
REPORT = os.environ.get("MESHLIB_FUZZ_REPORT", "")
CPU = 10.0
"""Seconds of computing that one input may cost."""
GROWTH = 128 * 1024 * (1024 if sys.platform == "darwin" else 1)
"""By how much (KiB here, bytes there) the process may grow over one input."""
SHARE = pytest.StashKey[float]()

Sample = str | bytes


def bent(
    text: str,
    dice: random.Random,
    signs: Sequence[str],
    pieces: Sequence[str],
    *more: Callable[[str], str],
) -> str:
    """A few changes: a part is cut or told twice, a sign or a piece is put in, or ``more`` is done
    to a part."""
    for _ in range(dice.choice([1, 1, 2, 4])):
        at, to = sorted(dice.randrange(len(text) + 1) for _ in range(2))
        match dice.randrange(4 + len(more)):
            case 0:
                text = text[:at] + text[to:]
            case 1:
                text = text[:to] + text[at:]
            case 2:
                text = text[:at] + dice.choice(signs) + text[at + 1 :]
            case 3:
                text = text[:at] + dice.choice(pieces) + text[at:]
            case which:
                text = text[:at] + more[which - 4](text[at:to]) + text[to:]
    return text


@pytest.fixture(scope="session", name="bent")
def bent_text() -> Callable[..., str]:
    return bent


class Fuzz:
    """``fuzz(make, attempt)``: ``make(seed)`` is tried, seed after seed."""

    def __init__(self, name: str, found: Path, seconds: float) -> None:
        self._name = name
        self._found = found
        self._seconds = seconds

    def __call__(
        self,
        make: Callable[[int], Sample],
        attempt: Callable[[Any], object],
        *,
        rounds: int = 50,
        sees: frozenset[object] = frozenset(),
    ) -> None:
        """``sees``: outcomes that must be among those of as many attempts as ``rounds``."""
        rounds = ROUNDS or rounds
        for path in sorted(self._found.glob(f"{self._name}-*")):
            self._try(_read(path), attempt, path.name)
        outcomes: set[object] = set()
        began, runs = time.monotonic(), 0
        for seed in self._seeds(rounds):
            outcomes.add(self._try(make(seed), attempt, f"seed {seed}"))
            runs += 1
        self._report(runs, time.monotonic() - began)
        assert runs < rounds or sees <= outcomes, f"never seen: {sees - outcomes}"

    def _seeds(self, rounds: int) -> Iterator[int]:
        end = time.monotonic() + self._seconds
        for seed in count(FIRST):
            if time.monotonic() >= end if self._seconds else seed >= FIRST + rounds:
                return
            yield seed

    def _try(self, sample: Sample, attempt: Callable[[Any], object], whence: str) -> object:
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU)
        try:
            outcome = attempt(sample)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size
            assert grown < GROWTH, f"{grown} more memory for one input"
        except Exception as error:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            kept = self._keep(sample)
            raise AssertionError(f"{whence}: {error!r} of {sample!r:.4000}, see {kept}") from error
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return outcome

    def _keep(self, sample: Sample) -> Path:
        text = isinstance(sample, str)
        content = sample.encode("utf-8", "surrogatepass") if isinstance(sample, str) else sample
        name = f"{self._name}-{hashlib.sha256(content).hexdigest()[:12]}"
        path = self._found / f"{name}.{'txt' if text else 'bin'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def _report(self, runs: int, seconds: float) -> None:
        if REPORT:
            with Path(REPORT).open("a", encoding="utf-8") as report:
                report.write(json.dumps({"runs": runs, "seconds": seconds}) + "\n")


def _read(path: Path) -> Sample:
    content = path.read_bytes()
    return content.decode("utf-8", "surrogatepass") if path.suffix == ".txt" else content


def _too_long(*_: object) -> None:
    raise TimeoutError(f"{CPU:g} s of computing are too much for one input")


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Iterator[Fuzz]:
    name = request.function.__name__.removeprefix("test_").replace("_", "-")
    before = signal.signal(signal.SIGVTALRM, _too_long)
    yield Fuzz(name, request.path.parent / "corpus/found", request.config.stash.get(SHARE, 0.0))
    signal.signal(signal.SIGVTALRM, before)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With a number of seconds nothing but fuzzing is done, and each test has its share."""
    fuzzing = [item for item in items if "fuzz" in getattr(item, "fixturenames", ())]
    if SECONDS and fuzzing:
        config.hook.pytest_deselected(items=[item for item in items if item not in fuzzing])
        items[:] = fuzzing
        config.stash[SHARE] = SECONDS / len(fuzzing)
    if SECONDS or ROUNDS:
        for item in fuzzing:
            item.add_marker(pytest.mark.timeout(0))
