"""Certificates exchanged all the time under a steady load: no call may fail of it.

Leaves of both sides every second, roots every half of their life, by a CA of our own; near the
end one of the callers is revoked. ``mode`` "authority": members have their certificates signed
in their own process, by the CA's folder; "plane": by ``meshlib serve --ca``.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from meshlib.identity.authority import Authority
from meshlib.identity.slots import Schedule, Stage
from meshlib.identity.spiffe import TrustDomain
from meshlib.identity.store import FolderStore

HERE = Path(__file__).resolve().parent
DOMAIN = "cluster.local"
ECHO, CALLER, STRANGER = (f"spiffe://{DOMAIN}/ns/default/sa/{n}" for n in ("echo", "load", "gone"))
PORTS = {"sync": 9080, "aio": 9081, "aiohttp": 9082}
PATIENCE = 60.0
SHORTEST = 20.0
"""Roots that follow each other faster are made by hand: leaves would not live long enough."""


class Roots:
    """Follows up the roots of the CA, and counts. ``every``: the next one is made before its time,
    after so many seconds."""

    def __init__(self, authority: Authority, *, advances: bool, every: float | None) -> None:
        self._authority = authority
        self._advances = advances
        self._every = every
        self._over = threading.Event()
        self.active: list[str] = []
        self.bundles: set[int] = set()
        self.known: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic() + (self._every or 0.0)
        while not self._over.wait(0.05):
            if self._every is not None and time.monotonic() >= due:
                self._authority.rotate(time.time())
                due += self._every
            if self._advances:
                self._authority.advance(time.time())
            else:
                self._authority.refresh()
            slots = self._authority.slots
            self.known.update(slot.name for slot in slots)
            self.bundles.add(self._authority.bundle().sequence)
            active = next(slot.name for slot in slots if slot.stage is Stage.ACTIVE)
            if active not in self.active:
                self.active.append(active)

    def close(self) -> dict[str, int]:
        self._over.set()
        self._thread.join()
        left = {slot.name for slot in self._authority.slots}
        return {"activated": len(self.active) - 1, "pruned": len(self.known - left)}


class Member:
    """A process; what it takes of the machine is looked at once a second."""

    def __init__(self, plan: dict[str, Any], **more: Any) -> None:
        command = (sys.executable, str(HERE / "rotation_member.py"), json.dumps(plan | more))
        pipe = subprocess.PIPE
        # gRPC core tells of each handshake with somebody who is revoked.
        quiet = {**os.environ, "GRPC_VERBOSITY": "NONE"}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=quiet)
        self.usage: list[dict[str, int]] = []

    def wait(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.strip() != "ready":
            raise SystemExit(f"a member did not start: {line}")

    def look(self) -> None:
        self.usage.append(usage(self._process.pid))

    def end(self) -> dict[str, Any]:
        out, _ = self._process.communicate("", timeout=PATIENCE)
        said: dict[str, Any] = json.loads(out)
        return said

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def usage(pid: int) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    said = dict(line.split(":", 1) for line in status if ":" in line)
    return {
        "rss_mb": int(said["VmRSS"].split()[0]) // 1024,
        "threads": int(said["Threads"]),
        "fds": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    }


def flatness(looks: list[dict[str, int]]) -> dict[str, dict[str, int]]:
    """What it was after it had warmed up, what at the end, and the most of it."""
    warm, end = looks[len(looks) // 5 :][:10], looks[-10:]
    return {
        name: {
            "warm": sorted(one[name] for one in warm)[len(warm) // 2],
            "end": sorted(one[name] for one in end)[len(end) // 2],
            "most": max(one[name] for one in looks),
            "over_time": [one[name] for one in looks[:: max(1, len(looks) // 10)]],
        }
        for name in (looks[0] if looks else {})
    }


def manifests(ports: dict[str, int]) -> list[dict[str, Any]]:
    names = {"sync": "grpc", "aio": "grpc-aio", "aiohttp": "http"}
    numbers = [{"name": names[kind], "port": PORTS[kind]} for kind in PORTS]
    spec = {
        "address": "127.0.0.1",
        "serviceAccount": "echo",
        "labels": {"app": "echo", "security.istio.io/tlsMode": "istio"},
        "ports": {names[kind]: port for kind, port in ports.items()},
    }
    strict = {"mtls": {"mode": "STRICT"}}
    return [
        of("v1", "Service", "echo", {"selector": {"app": "echo"}, "ports": numbers}),
        of("networking.istio.io/v1", "WorkloadEntry", "echo", spec),
        of("security.istio.io/v1", "PeerAuthentication", "default", strict),
    ]


def of(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    named = {"name": name, "namespace": "default"}
    return {"apiVersion": version, "kind": kind, "metadata": named, "spec": spec}


def free_ports() -> dict[str, int]:
    with ExitStack() as stack:
        probes = {kind: stack.enter_context(socket.socket()) for kind in PORTS}
        for probe in probes.values():
            probe.bind(("127.0.0.1", 0))
        return {kind: probe.getsockname()[1] for kind, probe in probes.items()}


def soak(plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    store = FolderStore(folder / "ca")
    store.create()
    by_life = plan["root_every"] >= SHORTEST
    schedule = Schedule(propagation=0.5)
    if by_life:
        life = 2 * plan["root_every"]
        schedule = Schedule(
            root_life=life, intermediate_life=life, propagation=life / 6, prune_after=0.0
        )
    authority = Authority.create(store, TrustDomain(DOMAIN), time.time(), schedule)
    with ExitStack() as stack:
        base = setup(plan, folder, free_ports(), stack)
        every = None if by_life else plan["root_every"]
        roots = Roots(authority, advances=plan["mode"] == "authority", every=every)
        server = started(stack, base, role="serve", name="echo", spiffe_id=ECHO)
        caller = started(stack, base, role="load", name="load", spiffe_id=CALLER)
        watching = [server, caller]
        look_for(plan["seconds"] - plan["revoked_for"], watching)
        gone = started(stack, base, role="revoked", name="gone", spiffe_id=STRANGER)
        look_for(plan["revoked_for"] / 3, watching)
        authority.revoke(STRANGER, time.time())
        pushed = time.monotonic()
        look_for(2 * plan["revoked_for"] / 3, watching)
        revocation, called = gone.end(), caller.end()
        served = server.end()
        rotated = roots.close()
    return {
        "mode": plan["mode"],
        "seconds": called["seconds"],
        "calls": sum(row["calls"] for row in called["kinds"].values()),
        "failed": sum(row["failed"] for row in called["kinds"].values()),
        "kinds": called["kinds"],
        "streams_broken": called["streams_broken"],
        "stream_messages": called["stream_messages"],
        "certificates_seen_by_servers": served["serials"],
        "roots": {**rotated, "bundles": len(roots.bundles)},
        "revocation_s": since(pushed, revocation),
        "server": flatness(server.usage),
        "caller": flatness(caller.usage),
        "unsigned": {**served["unsigned"], **called["unsigned"]},
    }


def setup(
    plan: dict[str, Any], folder: Path, ports: dict[str, int], stack: ExitStack
) -> dict[str, Any]:
    config = manifests(ports)
    base = {**plan, "ports": ports, "ca": str(folder / "ca"), "config": config}
    if plan["mode"] == "plane":
        (folder / "mesh.yaml").write_text("\n---\n".join(map(json.dumps, config)))
        base["plane"] = served(folder, stack)
    return base


def served(folder: Path, stack: ExitStack) -> str:
    """``meshlib serve --ca``; where it is."""
    command = [sys.executable, "-m", "meshlib", "serve", str(folder / "mesh.yaml")]
    command += ["--listen", "127.0.0.1:0", "--admin", "off", "--ca", str(folder / "ca")]
    log = stack.enter_context((folder / "serve.log").open("w"))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit((folder / "serve.log").read_text())
    return line.partition("ads=")[2].strip()


def started(stack: ExitStack, base: dict[str, Any], **more: Any) -> Member:
    made = Member(base, **more)
    stack.callback(made.kill)
    made.wait()
    return made


def look_for(seconds: float, members: list[Member]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        for member in members:
            member.look()


def since(pushed: float, told: dict[str, Any]) -> dict[str, Any]:
    """Seconds from the push to the first refusal; ``after``: to the last that was let in yet."""
    return {
        name: {
            "denied": round(told["first_bad"][name] - pushed, 3)
            if name in told["first_bad"]
            else None,
            "last_let_in": round(good - pushed, 3),
            "error": told["errors"].get(name, ""),
        }
        for name, good in sorted(told["last_good"].items())
    }


@contextmanager
def somewhere() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rotation-") as folder:
        yield Path(folder)


def main(plan: dict[str, Any]) -> None:
    scores = {}
    for mode in plan["modes"]:
        with somewhere() as folder:
            scores[mode] = soak({**plan, "mode": mode}, folder)
    print(json.dumps(scores))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
