"""What it costs to be watched: ours and OpenTelemetry's instrumentors, against bare, interleaved.

Who watches is a matter of the whole process, so each variant has one of its own, all on the same
processor; they take turns in short shuffled blocks. The processes are started anew for each season
with another seed of hashes, which moves Python's speed by more than what is to be measured.
Spans go to an exporter that drops them, by the same BatchSpanProcessor for all.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client import Score, settle, shuffled
from run import MESH
from telemetry_caller import OURS, VARIANTS

HERE = Path(__file__).resolve().parent
WARM = 200
BARE, UNWATCHED = "bare", OURS[0]
LOGGED = "---\nkind: MeshConfig\naccessLogFile: {log}\n"


@dataclass
class Watched(Score):
    """``cpu_us``: of the whole process for one call, exporting included.

    ``added``: against the same calls that nobody watches, which for ours go over a mesh too.
    """

    cpu: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    delivered: dict[str, int] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        cpu = round(1e6 * statistics.median(self.cpu), 1)
        added = round(statistics.median(self.added), 3)
        return {**super().row(), "cpu_us": cpu, "added": added, "delivered": self.delivered}


class Caller:
    """The process of one variant."""

    def __init__(self, variant: str, plan: dict[str, Any], season: int) -> None:
        asked = {**plan, "variant": variant}
        self._running = subprocess.Popen(
            [sys.executable, str(HERE / "telemetry_caller.py"), json.dumps(asked)],
            env={**os.environ, "PYTHONHASHSEED": str(season)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def ask(self, what: str) -> dict[str, Any]:
        assert self._running.stdin is not None
        self._running.stdin.write(f"{what}\n")
        self._running.stdin.flush()
        return self._answer()

    def end(self) -> dict[str, int]:
        delivered = self.ask("end")
        self._running.communicate(timeout=20)
        return delivered

    def kill(self) -> None:
        self._running.kill()
        self._running.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._running.stdout is not None
        line = self._running.stdout.readline()
        if not line:
            raise SystemExit("a caller died")
        answer: dict[str, Any] = json.loads(line)
        return answer


def season(scores: dict[str, Watched], plan: dict[str, Any], number: int) -> None:
    callers: dict[str, Caller] = {}
    try:
        for name in scores:
            callers[name] = Caller(name, plan, number)
        for caller in callers.values():
            caller.ask(f"block {WARM}")
        for _ in range(plan["rounds"]):
            settle(dict(scores), medians(scores, callers, plan["calls"]), {})
        for _ in range(plan["burst_rounds"]):
            asked = f"burst {plan['burst_seconds']}"
            rates = {name: callers[name].ask(asked)["rate"] for name in shuffled(dict(callers))}
            settle(dict(scores), {}, rates)
        for name, caller in callers.items():
            scores[name].delivered = caller.end()
    finally:
        for caller in callers.values():
            caller.kill()


def medians(scores: dict[str, Watched], callers: dict[str, Caller], calls: int) -> dict[str, float]:
    found = {}
    for name in shuffled(dict(callers)):
        told = callers[name].ask(f"block {calls}")
        scores[name].latencies += told["times"]
        scores[name].cpu.append(told["cpu"])
        found[name] = statistics.median(told["times"])
    for name, score in scores.items():
        unwatched = UNWATCHED if name in OURS and UNWATCHED in found else BARE
        score.added.append(found[name] / found[unwatched])
    return found


def measure(plan: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    servers = subprocess.Popen(
        [sys.executable, str(HERE / "servers.py"), str(plan["server"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert servers.stdout is not None
    try:
        ports = tuple(map(int, servers.stdout.readline().split()))
        return {kind: measure_kind(kind, plan, ports) for kind in plan["kinds"]}
    finally:
        servers.terminate()
        servers.wait()


def measure_kind(
    kind: str, plan: dict[str, Any], ports: tuple[int, ...]
) -> dict[str, dict[str, Any]]:
    scores = {name: Watched() for name in plan.get("variants", VARIANTS)}
    grpc_port, http_port = ports
    for number in range(plan["seasons"]):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            write(Path(folder), grpc_port, http_port)
            told = {"kind": kind, "grpc_port": grpc_port, "http_port": http_port, "folder": folder}
            season(scores, {**plan, **told}, number)
    return {name: score.row() for name, score in scores.items()}


def write(folder: Path, grpc_port: int, http_port: int) -> None:
    text = MESH.format(grpc_port=grpc_port, http_port=http_port)
    for name, more in (("mesh", ""), ("logged", LOGGED.format(log=folder / "access.log"))):
        (folder / name).mkdir()
        (folder / name / "mesh.yaml").write_text(text + more)


def main() -> None:
    plan = json.loads(sys.argv[1])
    random.seed(plan.get("seed"))
    print(json.dumps(measure(plan)))


if __name__ == "__main__":
    main()
