"""The kit for tests: a clock and dice of one's own, calls played in virtual time, verdicts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._authorize import Verdict, authorize
    from ._control_plane import control_plane
    from ._decide import decide, is_open
    from ._one_service import REVIEWS, A, B, C, a_mesh, assignment, endpoint, one_service
    from ._play import Held, Played, get, play, play_alike, rpc
    from ._replies import (
        Reply,
        fails_with,
        grpc_status,
        hangs_up,
        ok,
        refuses,
        refuses_stream,
        resets,
        said,
        slow,
    )
    from ._virtual import VirtualMesh
    from .clock import FakeClock
    from .dice import always, scripted, seeded

_HOMES = {
    "A": "_one_service",
    "B": "_one_service",
    "C": "_one_service",
    "FakeClock": "clock",
    "Held": "_play",
    "Played": "_play",
    "REVIEWS": "_one_service",
    "Reply": "_replies",
    "Verdict": "_authorize",
    "VirtualMesh": "_virtual",
    "a_mesh": "_one_service",
    "always": "dice",
    "assignment": "_one_service",
    "authorize": "_authorize",
    "control_plane": "_control_plane",
    "decide": "_decide",
    "endpoint": "_one_service",
    "fails_with": "_replies",
    "get": "_play",
    "grpc_status": "_replies",
    "hangs_up": "_replies",
    "is_open": "_decide",
    "ok": "_replies",
    "one_service": "_one_service",
    "play": "_play",
    "play_alike": "_play",
    "refuses": "_replies",
    "refuses_stream": "_replies",
    "resets": "_replies",
    "rpc": "_play",
    "said": "_replies",
    "scripted": "dice",
    "seeded": "dice",
    "slow": "_replies",
}

__all__ = [
    "REVIEWS",
    "A",
    "B",
    "C",
    "FakeClock",
    "Held",
    "Played",
    "Reply",
    "Verdict",
    "VirtualMesh",
    "a_mesh",
    "always",
    "assignment",
    "authorize",
    "control_plane",
    "decide",
    "endpoint",
    "fails_with",
    "get",
    "grpc_status",
    "hangs_up",
    "is_open",
    "ok",
    "one_service",
    "play",
    "play_alike",
    "refuses",
    "refuses_stream",
    "resets",
    "rpc",
    "said",
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
