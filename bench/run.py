"""The cost of the mesh, as a ratio against bare, from one interleaved run.

    python bench/run.py [--quick] [--json] [--only aio,sync,aiohttp,core,scale,…]

Servers are pinned to one processor and the client to another (where there are two), variants take
turns in short shuffled blocks, ratios are made inside a round. "bare again" against "bare" says
what the noise is: an effect below it is none. Numbers, not verdicts: nothing here fails.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
KINDS = {
    "aio": "grpc.aio unary",
    "sync": "grpc sync unary",
    "aiohttp": "aiohttp GET",
    "core": "one decision, over the size of the configuration",
    "scale": "an edit of one service, of 200, told to many clients; 10,000 endpoints in a member",
    "churn": "1,000 edits in a minute, at 500 calls a second",
    "rotation": "certificates exchanged every second, roots every 30, at 600 calls a second",
    "identity": "who calls, and whether he may: grpc.aio server, mutual TLS, 10 policies",
    "telemetry": "who watches: metrics, traces, access log; beside OpenTelemetry's instrumentors",
}
MESH = """
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec: {{selector: {{app: echo}}, ports: [{{name: grpc, port: 9080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: hello}}
spec: {{selector: {{app: hello}}, ports: [{{name: http, port: 9080}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: echo}}
spec: {{address: 127.0.0.1, ports: {{grpc: {grpc_port}}}, labels: {{app: echo, version: v1}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: hello}}
spec: {{address: 127.0.0.1, ports: {{http: {http_port}}}, labels: {{app: hello, version: v1}}}}
"""
RULES = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}]
  http:
    - match: [{{headers: {{end-user: {{exact: jason}}}}}}]
      route: [{{destination: {{host: {name}, subset: v1}}}}]
    - match: [{{uri: {{prefix: /never}}}}]
      route: [{{destination: {{host: {name}, subset: v1}}}}]
    - route:
        - {{destination: {{host: {name}, subset: v1}}, weight: 50}}
        - {{destination: {{host: {name}}}, weight: 50}}
      retries: {{attempts: 2, retryOn: "connect-failure,refused-stream,unavailable,reset,503"}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {name}
  trafficPolicy: {{connectionPool: {{http: {{http2MaxRequests: 1000}}}}}}
  subsets: [{{name: v1, labels: {{version: v1}}}}]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", default=usual(), help=",".join(KINDS))
    options = parser.parse_args()
    console = Console(stderr=options.json, width=100)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for kind in options.only.split(","):
            with console.status(f"measuring {KINDS[kind]} …"):
                results[kind] = (
                    ALONE[kind](quick=options.quick)
                    if kind in ALONE
                    else measure(kind, Path(folder) / kind, quick=options.quick)
                )
            SHOWS.get(kind, show)(console, kind, results[kind])
    if options.json:
        print(json.dumps(results))


def usual() -> str:
    return ",".join(kind for kind in KINDS if kind not in LONG)


def measure(kind: str, folder: Path, *, quick: bool) -> dict[str, dict[str, float]]:
    processors = sorted(os.sched_getaffinity(0))
    servers = subprocess.Popen(
        [sys.executable, str(HERE / "servers.py"), str(processors[0])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert servers.stdout is not None
    grpc_port, http_port = map(int, servers.stdout.readline().split())
    folder.mkdir()
    rules = RULES.format(name="echo") + RULES.format(name="hello")
    (folder / "mesh.yaml").write_text(MESH.format(grpc_port=grpc_port, http_port=http_port) + rules)
    plan = {
        "kind": kind,
        "grpc_port": grpc_port,
        "http_port": http_port,
        "mesh_folder": str(folder),
        "processor": processors[-1],
        "rounds": 10 if quick else 100,
        "calls": 40,
        "burst_rounds": 4 if quick else 30,
        "burst_seconds": 0.2,
        "xds": kind in ("aio", "sync"),
    }
    plane, environment = control_plane(folder) if plan["xds"] else (None, dict(os.environ))
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / "client.py"), json.dumps(plan)],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    finally:
        for process in (servers, plane):
            if process is not None:
                process.terminate()
                process.wait()
    scores: dict[str, dict[str, float]] = json.loads(done.stdout)
    return scores


def measure_core(*, quick: bool) -> dict[str, dict[str, Any]]:
    plan = {"processor": max(os.sched_getaffinity(0)), "rounds": 10 if quick else 60}
    return scores_of("core.py", plan)


def measure_scale(*, quick: bool) -> dict[str, dict[str, Any]]:
    processors = sorted(os.sched_getaffinity(0))
    plan = {
        "plane": processors[0],
        "processor": processors[-1],
        "clients": 300 if quick else 1_000,
        "services": 200,
        "edits": 5 if quick else 20,
        "endpoints": 10_000,
        "encodings": ["delta"] if quick else ["delta", "sotw"],
    }
    return scores_of("scale.py", plan)


def measure_churn(*, quick: bool) -> dict[str, dict[str, Any]]:
    processors = sorted(os.sched_getaffinity(0))
    plan = {
        "processor": processors[0],
        "client": processors[-1],
        "edits": 100 if quick else 1_000,
        "pace": 0.058,
        "rate": 500,
        "quiet": 2 if quick else 10,
        "encodings": ["delta", "sotw"],
    }
    return scores_of("churn.py", plan)


def measure_rotation(*, quick: bool) -> dict[str, dict[str, Any]]:
    plan = {
        "modes": ["authority", "plane"],
        "seconds": 12 if quick else 600,
        "root_every": 3 if quick else 30,
        "every": 1.0,
        "ttl": 20,
        "rate": 600,
        "revoked_for": 6 if quick else 15,
    }
    return scores_of("rotation.py", plan)


def measure_identity(*, quick: bool) -> dict[str, dict[str, Any]]:
    processors = sorted(os.sched_getaffinity(0))
    plan = {
        "server": processors[0],
        "processor": processors[-1],
        "cost_rounds": 50 if quick else 500,
        "rounds": 10 if quick else 100,
        "burst_rounds": 4 if quick else 30,
    }
    return scores_of("identity.py", plan)


def measure_telemetry(*, quick: bool) -> dict[str, dict[str, Any]]:
    processors = sorted(os.sched_getaffinity(0))
    plan = {
        "server": processors[0],
        "processor": processors[-1],
        "kinds": ["aio", "sync", "aiohttp"],
        "seasons": 1 if quick else 5,
        "rounds": 10 if quick else 40,
        "calls": 40,
        "burst_rounds": 4 if quick else 10,
        "burst_seconds": 0.2,
    }
    return scores_of("telemetry.py", plan)


def scores_of(script: str, plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(HERE / script), json.dumps(plan)],
        stdout=subprocess.PIPE,
        check=True,
    )
    scores: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return scores


def control_plane(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Our control plane, for grpcio's own xDS client beside ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "meshlib", "serve", str(folder), "--listen", address]
    plane = subprocess.Popen(
        [*command, "--admin", "127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until_open(port)
    bootstrap = {
        "xds_servers": [{"server_uri": address, "channel_creds": [{"type": "insecure"}]}],
        "node": {"id": "bench", "metadata": {"NAMESPACE": "default"}},
    }
    return plane, {**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)}


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the control plane did not come up")


def show(console: Console, kind: str, rows: dict[str, dict[str, float]]) -> None:
    table = Table(title=KINDS[kind], title_justify="left")
    table.add_column("variant")
    for column in ("p50 µs", "p99 µs", "p50 ratio", "q1 .. q3", "calls/s", "ratio"):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        quartiles = f"{row['p50_ratio_q1']:.3f} .. {row['p50_ratio_q3']:.3f}"
        cells = (
            f"{row['p50_us']:.0f}",
            f"{row['p99_us']:.0f}",
            f"{row['p50_ratio']:.3f}",
            quartiles,
        )
        table.add_row(name, *cells, f"{row['rps']:.0f}", f"{row['rps_ratio']:.3f}")
    console.print(table)


def show_core(console: Console, kind: str, tables: dict[str, dict[str, Any]]) -> None:
    table = Table(title=KINDS[kind], title_justify="left")
    for column in ("of", "size", "µs", "ratio"):
        table.add_column(column, justify="left" if column == "of" else "right")
    for name, rows in tables.items():
        for size, row in rows.items():
            table.add_row(name, size, f"{row['us']:.2f}", f"{row['ratio']:.3f}")
    console.print(table)


def show_scale(console: Console, kind: str, scores: dict[str, dict[str, Any]]) -> None:
    table = Table(title=KINDS[kind], title_justify="left")
    for column in ("of", "what", "measured"):
        table.add_column(column, justify="right" if column == "measured" else "left")
    for name, row in scores.items():
        for what, value in row.items():
            table.add_row(name, what.replace("_", " "), f"{value:g}")
    console.print(table)


def show_rotation(console: Console, kind: str, scores: dict[str, dict[str, Any]]) -> None:
    table = Table(title=KINDS[kind], title_justify="left")
    for column in ("of", "what", "measured"):
        table.add_column(column)
    for name, score in scores.items():
        for what, value in score.items():
            if isinstance(value, dict):
                for part, found in value.items():
                    table.add_row(name, f"{what.replace('_', ' ')}: {part}", told(found))
            else:
                table.add_row(name, what, told(value))
    console.print(table)


def told(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {found}" for name, found in value.items() if name != "error")


def show_identity(console: Console, kind: str, scores: dict[str, dict[str, Any]]) -> None:
    table = Table(title=f"{KINDS[kind]}; by itself", title_justify="left")
    table.add_column("variant")
    for column in ("µs", "more µs"):
        table.add_column(column, justify="right")
    for name, row in scores["by itself"].items():
        table.add_row(name, f"{row['us']:.2f}", f"{row['more_us']:.2f}")
    console.print(table)
    show(console, kind, scores["over the wire"])


def show_telemetry(console: Console, kind: str, kinds: dict[str, dict[str, Any]]) -> None:
    for name, rows in kinds.items():
        table = Table(title=f"{KINDS[name]}: {KINDS[kind]}", title_justify="left")
        table.add_column("variant")
        for column in (
            "p50 µs",
            "more µs",
            "p50 ratio",
            "q1 .. q3",
            "by watching",
            "cpu µs",
            "calls/s ratio",
        ):
            table.add_column(column, justify="right")
        for variant, row in rows.items():
            cells = (
                f"{row['p50_us']:.0f}",
                f"{row['p50_us'] - rows['bare']['p50_us']:+.0f}",
                f"{row['p50_ratio']:.3f}",
                f"{row['p50_ratio_q1']:.3f} .. {row['p50_ratio_q3']:.3f}",
                f"{row['added']:.3f}",
                f"{row['cpu_us']:.0f}",
            )
            table.add_row(variant, *cells, f"{row['rps_ratio']:.3f}")
        console.print(table)


ALONE = {
    "core": measure_core,
    "scale": measure_scale,
    "churn": measure_churn,
    "rotation": measure_rotation,
    "identity": measure_identity,
    "telemetry": measure_telemetry,
}
SHOWS = {
    "core": show_core,
    "scale": show_scale,
    "churn": show_scale,
    "rotation": show_rotation,
    "identity": show_identity,
    "telemetry": show_telemetry,
}
LONG = ("rotation", "telemetry")
"""Only where it is asked for by name."""

if __name__ == "__main__":
    main()
