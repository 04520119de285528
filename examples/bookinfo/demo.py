"""Bookinfo on a mesh without sidecars: seven services, one control plane, six scenes.

    python examples/bookinfo/demo.py [--json] [--keep] [--mtls]

Exit status 0 when every scene went as it should, 1 otherwise.
"""

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mutual
import seen
from fleet import DemoError, Fleet
from rich.console import Console
from rich.table import Table
from rich.text import Text
from traffic import Client, Traffic

Scene = dict[str, Any]
TOLERANCE = 3.0
CALLS = 6000
"""Enough that chance alone moves a share by 3 points in one run of a hundred thousand."""
LIMIT = 2 * CALLS


class Demo:
    def __init__(self, fleet: Fleet, console: Console) -> None:
        self.fleet = fleet
        self.console = console
        self.client = Client(fleet.url("/productpage"))

    async def settle(self, scene: str, *versions: str) -> float:
        """Put rules in force and call until just these versions answer; says when that was."""
        self.fleet.scene(scene)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            traffic = await self.client.play(24)
            if set(traffic.counts()) == set(versions) and not traffic.failed:
                return time.monotonic()
        raise DemoError(
            f"rules {scene!r} had no effect in 10 s: {traffic.counts()} {traffic.errors}"
        )

    async def thirds(self) -> Scene:
        await self.settle("thirds", "v1", "v2", "v3")
        traffic = await self.client.play(CALLS)
        wanted = {"v1": 34.0, "v2": 33.0, "v3": 33.0}
        return scene("a: one third each", traffic, split=traffic.split(), wanted=wanted)

    async def by_user(self) -> Scene:
        await self.settle("by-user", "v1")
        people = ({"end-user": "jason"}, {"browser": "Firefox"}, {})
        answers = [await self.client.play(60, headers) for headers in people]
        together = Traffic([call for traffic in answers for call in traffic.calls])
        found = ["/".join(traffic.counts()) for traffic in answers]
        rules = dict(zip(("jason", "Firefox", "anyone"), found, strict=True))
        wanted = {"jason": "v2", "Firefox": "v3", "anyone": "v1"}
        return scene("b: by user and browser", together, rules=rules, wanted_rules=wanted)

    async def canary(self) -> Scene:
        await self.settle("canary-50", "v1", "v2")
        traffic, edited = Traffic(), 0.0

        async def edit() -> None:
            nonlocal edited
            await self.until(traffic, CALLS)
            edited = time.monotonic()
            self.fleet.scene("canary-100")
            await self.until(traffic, len(traffic.calls) + 500)

        await self.under_load(traffic, edit)
        old = [c.began for c in traffic.calls if c.version == "v1" and c.began >= edited]
        effect = max((began - edited for began in old), default=0.0)
        settled = edited + effect
        return scene(
            "c: canary 50/50, then 0/100",
            traffic,
            split=traffic.split(until=edited),
            wanted={"v1": 50.0, "v2": 50.0},
            split_after=traffic.split(since=settled + 0.001),
            wanted_after={"v2": 100.0},
            effect_ms=round(effect * 1000, 1),
        )

    async def kill_replica(self) -> Scene:
        await self.settle("all-v3", "v3")
        traffic = Traffic()
        victim = self.fleet.replicas("reviews", "v3")[0].process
        assert victim is not None

        async def kill() -> None:
            await self.until(traffic, 400)
            victim.kill()
            victim.wait()
            await self.until(traffic, len(traffic.calls) + 600)

        await self.under_load(traffic, kill)
        survivors = {call.replica for call in traffic.calls[-300:]}
        return scene(
            "d: a replica of reviews v3 is killed",
            traffic,
            split=traffic.split(),
            replicas_before=2,
            replicas_after=len(survivors),
        )

    async def kill_control_plane(self) -> Scene:
        traffic = Traffic()
        plane = self.fleet.control_plane
        assert plane is not None

        async def kill() -> None:
            await self.until(traffic, 300)
            plane.kill()
            plane.wait()
            await self.until(traffic, len(traffic.calls) + 400)
            await asyncio.to_thread(self.fleet.start_control_plane)
            await self.until(traffic, len(traffic.calls) + 300)

        await self.under_load(traffic, kill)
        began = time.monotonic()
        await self.settle("canary-100", "v2")
        caught_up = round((time.monotonic() - began) * 1000, 1)
        name = "e: control plane killed and restarted"
        return scene(name, traffic, split=traffic.split(), reconnected_edit_ms=caught_up)

    async def one_path(self) -> Scene:
        await self.settle("by-user", "v1")
        trace = secrets.token_hex(16)
        parent = f"00-{trace}-{secrets.token_hex(8)}-01"
        page = await self.client.page({"traceparent": parent, "end-user": "jason"})
        hops = page["hops"]
        kept = [hop for hop in hops if hop["trace"] and hop["trace"].split("-")[1] == trace]
        path = " > ".join(f"{hop['service']} {hop['version']}" for hop in hops)
        return {
            "name": "f: one request's path",
            "calls": 1,
            "failed": len(hops) - len(kept),
            "trace_id": trace,
            "path": path,
            "ok": len(kept) == len(hops) == 4,
        }

    async def until(self, traffic: Traffic, calls: int) -> None:
        while len(traffic.calls) < calls:
            await asyncio.sleep(0.005)

    async def under_load(self, traffic: Traffic, event: Callable[[], Awaitable[None]]) -> None:
        """Let something happen while calls go on, and for a while after."""
        stop = asyncio.Event()
        load = asyncio.create_task(self.client.play_until(traffic, stop, LIMIT))
        try:
            async with asyncio.timeout(30):
                await event()
        finally:
            stop.set()
            await load


def scene(name: str, traffic: Traffic, **facts: Any) -> Scene:
    """One scene's account; ``ok`` says whether all of it is as wanted."""
    ok = not traffic.failed
    for got, wanted in (("split", "wanted"), ("split_after", "wanted_after")):
        if wanted in facts:
            names = facts[got].keys() | facts[wanted].keys()
            gaps = [abs(facts[got].get(v, 0) - facts[wanted].get(v, 0)) for v in names]
            ok = ok and max(gaps) <= TOLERANCE
    if "wanted_rules" in facts:
        ok = ok and facts["rules"] == facts["wanted_rules"]
    if "replicas_after" in facts:
        ok = ok and facts["replicas_after"] == facts["replicas_before"] - 1
    account = {"name": name, "calls": len(traffic.calls), "failed": traffic.failed, **facts}
    account |= {"slowest_ms": round(traffic.slowest() * 1000, 1), "ok": ok}
    if traffic.failed:
        account["errors"] = traffic.errors[:5]
    return account


def show(console: Console, found: Scene) -> None:
    table = Table(title=found["name"], title_justify="left", show_header=False, min_width=72)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for key, value in found.items():
        if key not in ("name", "ok"):
            table.add_row(key.replace("_", " "), Text(told(value)))
    table.add_row(
        "verdict", "[green]as it should be[/]" if found["ok"] else "[red]not as it should be[/]"
    )
    console.print(table)


def told(value: Any) -> str:
    """One line where it fits, else one for each."""
    match value:
        case {"peer": peer, "id": callee}:
            return f"{peer}\n  > {callee}"
        case dict():
            line = "  ".join(f"{key} {one}" for key, one in value.items())
            return line if len(line) < 60 else "\n".join(f"{k}: {v}" for k, v in value.items())
        case list():
            return "\n".join(map(told, value)) or "none"
    return str(value)


async def watch(fleet: Fleet, console: Console, wanted: str) -> tuple[list[Scene], list[Scene]]:
    """The scenes, and then what the members' metrics say of them."""
    scenes = await play(fleet, console, wanted)
    edges = await seen.edges(fleet)
    console.print(seen.table(edges))
    console.print(seen.HINT)
    return scenes, edges


async def play(fleet: Fleet, console: Console, wanted: str) -> list[Scene]:
    if fleet.ca is None:
        return await play_scenes(Demo(fleet, console), console, wanted)
    async with mutual.member(fleet, "visitor") as mesh:
        demo = Demo(fleet, console)
        demo.client = mutual.visitor(mesh)
        scenes = await play_scenes(demo, console, wanted)
        await demo.settle("by-user", "v1")
        async for found in mutual.act(fleet, demo.client):
            scenes.append(found)
            show(console, found)
    return scenes


async def play_scenes(demo: Demo, console: Console, wanted: str) -> list[Scene]:
    acts = (
        ("one third each", demo.thirds),
        ("by user and browser", demo.by_user),
        ("canary", demo.canary),
        ("a replica is killed", demo.kill_replica),
        ("the control plane is killed", demo.kill_control_plane),
        ("one request's path", demo.one_path),
    )
    scenes = []
    for letter, (title, act) in zip("abcdef", acts, strict=True):
        if letter not in wanted:
            continue
        with console.status(f"scene: {title} …"):
            scenes.append(await act())
        show(console, scenes[-1])
    return scenes


@contextmanager
def workplace(*, keep: bool) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="bookinfo-")
    try:
        yield folder
    finally:
        if keep:
            print(f"logs and rules are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and rules")
    parser.add_argument("--mtls", action="store_true", help="with certificates and policies")
    parser.add_argument("--scenes", default="abcdef", help="which of the six (default: abcdef)")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    began = time.monotonic()
    with workplace(keep=options.keep) as folder:
        fleet = Fleet(Path(folder) / "mesh", Path(folder) / "logs")
        fleet.prepare()
        fleet.scene("thirds")
        if options.mtls:
            fleet.secure(mutual.POLICIES)
        try:
            with console.status("starting the control plane and seven services …"):
                fleet.start_control_plane()
                fleet.start_workloads()
            console.print(f"control plane and {len(fleet.workloads)} services are up")
            scenes, edges = asyncio.run(watch(fleet, console, options.scenes))
        except DemoError as error:
            console.print(f"[red]the demo failed:[/] {error}")
            return 1
        finally:
            fleet.stop()
    seconds = round(time.monotonic() - began, 1)
    ok = all(found["ok"] for found in scenes)
    if options.json:
        print(json.dumps({"scenes": scenes, "seen": edges, "seconds": seconds, "ok": ok}))
    verdict = "all scenes as they should be" if ok else "some scene is not as it should be"
    console.print(f"{verdict}, {seconds} s")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
