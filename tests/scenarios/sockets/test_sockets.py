"""One scene, played in virtual time and over real sockets: the same attempts, the same end.

A scene names endpoints by number and outcomes by neutral words, so that it holds for gRPC and for
HTTP. In virtual time it is played under both loops; on sockets by grpc.aio, grpc and aiohttp,
against servers that do with each request what the scene says.
"""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import yaml

from meshlib.dataplane import AttemptFailed, CallEnded, Cause, Engine, Failure, Options, Request
from meshlib.errors import MeshError
from meshlib.middleware._drive import Runtime
from meshlib.middleware.aiohttp import AiohttpHooks
from meshlib.middleware.grpc import GrpcHooks
from meshlib.model import Locality
from meshlib.testing import (
    Reply,
    VirtualMesh,
    always,
    fails_with,
    grpc_status,
    ok,
    play,
    refuses,
    refuses_stream,
    said,
    slow,
)
from meshlib.testing._decide import snapshot_of
from meshlib.testing._play import DRIVERS

FOLDER = Path(__file__).parent
SCENES = sorted(FOLDER.glob("*.yaml"))
METHOD = "/reviews.Reviews/Get"
FOREVER = 3600.0
NEUTRAL = {"200": "ok", "grpc 0": "ok", "503": "unavailable", "grpc 14": "unavailable"}
NEUTRAL |= {"500": "error", "grpc 13": "error"}

Told = list[dict[str, Any]]
"""Of each call: whom it tried (``via``), and its outcome."""


def scene_of(path: Path, port: int) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8").replace("PORT", str(port))
    scene: dict[str, Any] = yaml.safe_load(text)
    return scene


def scripts(scene: Mapping[str, Any]) -> dict[int, list[Any]]:
    return {n: does if isinstance(does, list) else [does] for n, does in scene["upstreams"].items()}


def expected(scene: Mapping[str, Any]) -> Told:
    """In the order of their beginnings."""
    told = []
    for call in scene["calls"]:
        told.append({"via": call["via"], "outcome": call["outcome"]})
        if "meanwhile" in call:
            told.append(dict(call["meanwhile"]))
    return told


def neutral(outcome: Any) -> str:
    word = said(outcome)
    return NEUTRAL.get(word, word)


def number(address: str) -> int:
    return int(address.rpartition(":")[0].rpartition(".")[2])


def plays(hooks: Mapping[str, str]) -> list[Any]:
    """Each scene with each hook that speaks a protocol which the scene is for."""
    return [
        pytest.param(path, hook, id=f"{path.stem}-{hook}")
        for path in SCENES
        for hook, protocol in hooks.items()
        if protocol in scene_of(path, 0).get("only", protocol)
    ]


@pytest.mark.parametrize(("path", "protocol"), plays({"grpc": "grpc", "http": "http"}))
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_scene_goes_as_told_in_virtual_time(path: Path, protocol: str, driver: str) -> None:
    scene = scene_of(path, 9080)
    assert virtual(scene, protocol, driver) == expected(scene)


@pytest.mark.parametrize(
    ("path", "hook"), plays({"aio": "grpc", "sync": "grpc", "aiohttp": "http"})
)
def test_the_scene_goes_as_told_over_real_sockets(path: Path, hook: str, upstreams) -> None:
    scene = scene_of(path, 9080)
    upstreams.start(scripts(scene))
    assert real(scene_of(path, upstreams.port), hook, upstreams) == expected(scene)


# --- virtual time ---


class Meanwhile(Reply):
    """While the upstream works, the same caller calls again."""


class Playing(VirtualMesh):
    """Notes whom each call tries, those that are made meanwhile too."""

    def __init__(self, scene: Mapping[str, Any], protocol: str, driver: Any) -> None:
        self.told: Told = []
        self.protocol = protocol
        self.driver = driver
        replies = {
            # What is said before a stream is taken, gRPC sees to by itself.
            f"127.88.0.{n}:9080": [self.reply(word) for word in does if word != "goaway"]
            for n, does in scripts(scene).items()
        }
        super().__init__(
            scene["manifests"],
            replies,
            options=Options(complete=True, locality=locality(scene)),
            source={"locality": scene.get("locality", "")},
        )

    def reply(self, word: Any) -> Reply:
        is_grpc = self.protocol == "grpc"
        broken = Reply(Failure(Cause.RESET, "reset", 14 if is_grpc else None))
        words = {
            "ok": ok(),
            "unavailable": grpc_status(14) if is_grpc else fails_with(503),
            "error": grpc_status(13) if is_grpc else fails_with(500),
            "refuses": refuses(),
            "refuses stream": refuses_stream(),
            "resets": broken,
            "drops": broken,
            "hangs": slow(FOREVER),
        }
        match word:
            case {"slow": seconds}:
                return slow(seconds)
            case {"meanwhile": _}:
                return Meanwhile(ok().outcome)
            case _:
                return words[word]

    def call(self) -> None:
        entry: dict[str, Any] = {}
        self.told.append(entry)
        request = Request("reviews:9080", "GET", "/", authority="reviews:9080")
        if self.protocol == "grpc":
            request = Request("reviews:9080", "POST", METHOD, is_grpc=True)
        outer, self.trace = self.trace, []
        played = play(self, request, driver=self.driver)
        self.trace = outer
        entry |= {
            "via": [number(one) for one in played.attempts],
            "outcome": neutral(played.outcome),
        }

    def perform(self, effect: Any) -> Any:
        replies = self.upstreams.get(effect.endpoint.key) or [ok()]
        if isinstance(replies[0], Meanwhile):
            self.call()
        return super().perform(effect)


def virtual(scene: Mapping[str, Any], protocol: str, driver: str) -> Told:
    mesh = Playing(scene, protocol, driver)
    for call in scene["calls"]:
        mesh.passes(call.get("after", 0.0))
        mesh.call()
    return mesh.told


def locality(scene: Mapping[str, Any]) -> Locality:
    return Locality(*scene.get("locality", "").split("/"))


# --- real sockets ---


class Observed:
    """The engine's own account of calls: whom they tried, and how they ended."""

    def __init__(self) -> None:
        self.calls: dict[int, dict[str, Any]] = {}
        self._lasting: list[object] = []

    def __call__(self, event: object) -> None:
        if not isinstance(event, AttemptFailed | CallEnded):
            return
        record = event.record
        entry = self.calls.get(id(record))
        if entry is None:
            self._lasting.append(record)
            entry = self.calls[id(record)] = {"began": record.started, "via": []}
        if record.attempts > len(entry["via"]):
            entry["via"].append(number(record.endpoint.key))
        if isinstance(event, CallEnded):
            entry["outcome"] = neutral(event.outcome)

    def told(self) -> Told:
        ordered = sorted(self.calls.values(), key=lambda entry: entry["began"])
        return [{"via": entry["via"], "outcome": entry["outcome"]} for entry in ordered]


class Member:
    """One member of the mesh on real hooks, with the luck of the virtual one."""

    def __init__(self, scene: Mapping[str, Any], port: int) -> None:
        self.target = f"reviews:{port}"
        self.observed = Observed()
        engine = Engine(
            clock=time.monotonic,
            dice=always(0.0),
            observe=self.observed,
            options=Options(complete=True, locality=locality(scene)),
        )
        self.runtime = Runtime(engine, clock=time.monotonic, sleep=time.sleep)
        engine.apply(snapshot_of(scene["manifests"], {"locality": scene.get("locality", "")}))


def real(scene: Mapping[str, Any], hook: str, upstreams: Any) -> Told:
    member = Member(scene, upstreams.port)
    with calling(hook, member) as call, ThreadPoolExecutor(1) as others:
        upstreams.beside = lambda: others.submit(call)
        for one in scene["calls"]:
            pause(one.get("after", 0.0))
            call()
    member.runtime.collect()
    return member.observed.told()


def pause(seconds: float) -> None:
    """Real time has to pass: what the scene waits for is a clock."""
    threading.Event().wait(seconds)


@contextmanager
def calling(hook: str, member: Member) -> Iterator[Any]:
    """A function that makes one call and swallows its error, from any thread."""
    if hook == "sync":
        with GrpcHooks(member.runtime).channel(member.target) as channel:
            method = channel.unary_unary(METHOD)

            def blocking() -> None:
                with suppress(grpc.RpcError):
                    method(b"?")

            yield blocking
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        made: Future[Any] = asyncio.run_coroutine_threadsafe(work, loop)
        return made.result()

    opened, once = run(OPENINGS[hook](member))
    try:
        yield lambda: run(once())
    finally:
        run(opened.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def open_aio(member: Member) -> Any:
    channel = GrpcHooks(member.runtime).aio_channel(member.target)
    method = channel.unary_unary(METHOD)

    async def once() -> None:
        with suppress(grpc.RpcError):
            await method(b"?")

    return channel, once


async def open_aiohttp(member: Member) -> Any:
    session = AiohttpHooks(member.runtime).session()

    async def once() -> None:
        try:
            async with session.get(f"http://{member.target}/") as answer:
                await answer.read()
        except (aiohttp.ClientError, MeshError, OSError):
            pass

    return session, once


OPENINGS = {"aio": open_aio, "aiohttp": open_aiohttp}


def test_there_are_scenes_of_every_family() -> None:
    families = {"retry", "timeout", "outlier", "breaker", "fault", "priority", "connection"}
    assert families <= {path.stem.split("_")[0] for path in SCENES}
