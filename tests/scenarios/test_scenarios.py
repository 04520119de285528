"""Scenarios told in YAML: manifests, what upstreams do, and the trace that must come of it.

Each is played by the real engine under both loops, which must do the same to the letter. Of an
event only the fields that are named are compared: a scenario tells what matters to it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlib.dataplane import Options
from meshlib.mesh import request_for
from meshlib.testing import (
    Held,
    Played,
    Reply,
    VirtualMesh,
    always,
    fails_with,
    grpc_status,
    hangs_up,
    is_open,
    ok,
    play_alike,
    refuses,
    refuses_stream,
    resets,
    said,
    scripted,
    slow,
)

FOLDER = Path(__file__).parent
WORDS = {
    "ok": ok,
    "refuses": refuses,
    "refuses stream": refuses_stream,
    "resets": resets,
    "hangs up": hangs_up,
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_mesh_plays_the_scene_as_written(path: Path) -> None:
    scene = yaml.safe_load(path.read_text(encoding="utf-8"))
    requests = [_request(call) for call in scene["calls"]]
    plays = play_alike(lambda: _mesh(scene), *requests)
    for call, played in zip(scene["calls"], plays, strict=True):
        assert _told(call["trace"], played) == call["trace"]
        assert said(played.outcome) == str(call["outcome"])


def test_every_scene_asserts_something() -> None:
    scenes = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yaml")]
    assert len(scenes) >= 8
    assert all(call["trace"] for scene in scenes for call in scene["calls"])


def _mesh(scene: Mapping[str, Any]) -> VirtualMesh:
    config = scene.get("manifests", ())
    dice = scene.get("dice", 0.0)
    return VirtualMesh(
        config,
        {address: _script(does) for address, does in scene.get("upstreams", {}).items()},
        dice=scripted(dice) if isinstance(dice, list) else always(dice),
        options=Options(complete=bool(config), passthrough=is_open(config)),
        news=[(news["at"], news["manifests"]) for news in scene.get("news", ())],
        source=scene.get("source"),
    )


def _request(call: Mapping[str, Any]) -> Any:
    method, url = call["call"].split()
    request = request_for(method, url, call.get("headers"))
    request.deadline = call.get("deadline")
    request.replayable = call.get("replayable", True)
    if "read_in" in call:
        return Held(request, call["read_in"])
    return request


def _script(does: Any) -> Reply | Sequence[Reply]:
    return [_reply(item) for item in does] if isinstance(does, list) else _reply(does)


def _reply(does: Any) -> Reply:
    match does:
        case int() as status:
            return fails_with(status)
        case {"grpc": int() as code}:
            return grpc_status(code, tuple(does.get("trailers", {}).items()))
        case {"status": int() as status}:
            return fails_with(status, tuple(does.get("headers", {}).items()))
        case {"slow": seconds, "then": then}:
            return slow(seconds, _reply(then))
        case {"slow": seconds}:
            return slow(seconds)
        case _:
            return WORDS[does]()


def _told(expected: Sequence[Mapping[str, Any]], played: Played) -> list[dict[str, Any]]:
    """The events that happened, with only the fields that are asked for."""
    names = {
        "send": "endpoint",
        "sleep": "seconds",
        "await_config": "listener",
        "await_turn": "timeout",
        "finish": "number",
        "spawn": "endpoint",
    }
    told = []
    for number, event in enumerate(played.trace):
        what = event["what"]
        facts = {**event, what: event[names.get(what, "outcome")]}
        asked = expected[number] if number < len(expected) else {what: ...}
        told.append({name: facts.get(name, "nothing") for name in asked})
    return told
