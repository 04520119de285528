"""``/server_info``: who this is, since when, and on which configuration."""

from collections.abc import Iterator
from typing import Any

from ... import __version__
from .answers import Asked, in_json
from .member import Member

LIVE, INITIALIZING = "LIVE", "INITIALIZING"
OF_SOURCE = ("kind", "server", "connected", "error", "last_good_age", "ignored")


def json(member: Member, asked: Asked) -> Iterator[str]:
    """``envoy.admin.v3.ServerInfo``, and under ``meshlib`` what that has no place for."""
    from ...xds.config_dump import node_json

    uptime = f"{member.clock() - member.started:.3f}s"
    unready = member.unready()
    return in_json(
        {
            "version": f"meshlib/{__version__}",
            "state": INITIALIZING if unready else LIVE,
            "uptime_current_epoch": uptime,
            "uptime_all_epochs": uptime,
            "node": node_json(member.node),
            "meshlib": {"config": _config(member), "unready": unready},
        }
    )


def text(member: Member, asked: Asked) -> Iterator[str]:
    unready = member.unready()
    yield f"version    meshlib {__version__}"
    yield f"node       {member.node.id}"
    yield f"state      {f'{INITIALIZING}: {unready}' if unready else LIVE}"
    yield f"uptime     {member.clock() - member.started:.0f} s"
    for name, value in _config(member).items():
        if value not in (None, ""):
            yield f"config     {name} {f'{value:.0f} s' if isinstance(value, float) else value}"


def _config(member: Member) -> dict[str, Any]:
    """``age``: seconds since it is in force; ``last_good_age``: since the control plane's word."""
    source, since = member.source(), member.recorder.applied_at
    return {
        "version": member.engine.snapshot.version,
        "age": None if since is None else member.clock() - since,
        **{name: source[name] for name in OF_SOURCE if name in source},
    }
