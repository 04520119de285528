"""The kit for tests: a clock and dice of one's own, calls played in virtual time, verdicts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import FakeClock
    from .decide import decide
    from .dice import always, scripted, seeded
    from .play import (
        Played,
        VirtualMesh,
        fails_with,
        get,
        grpc_status,
        hangs_up,
        ok,
        play,
        play_alike,
        refuses,
        refuses_stream,
        resets,
        rpc,
        slow,
    )

_HOMES = {
    "FakeClock": "clock",
    "Played": "play",
    "VirtualMesh": "play",
    "always": "dice",
    "decide": "decide",
    "fails_with": "play",
    "get": "play",
    "grpc_status": "play",
    "hangs_up": "play",
    "ok": "play",
    "play": "play",
    "play_alike": "play",
    "refuses": "play",
    "refuses_stream": "play",
    "resets": "play",
    "rpc": "play",
    "scripted": "dice",
    "seeded": "dice",
    "slow": "play",
}

__all__ = [
    "FakeClock",
    "Played",
    "VirtualMesh",
    "always",
    "decide",
    "fails_with",
    "get",
    "grpc_status",
    "hangs_up",
    "ok",
    "play",
    "play_alike",
    "refuses",
    "refuses_stream",
    "resets",
    "rpc",
    "scripted",
    "seeded",
    "slow",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for: the pytest plug-in lives here and must cost next to nothing."""
    from importlib import import_module

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
