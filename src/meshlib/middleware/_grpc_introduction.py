"""Who answers calls of gRPC, for those who count them: asked for, and told in trailers."""

from collections.abc import Iterable
from typing import Any

from ..dataplane import Headers, Meter, UpstreamEndpoint
from ..dataplane.introduction import LONGEST, PEER, in_trailers
from ._drive import Runtime


def listen(endpoint: UpstreamEndpoint, trailing: Iterable[tuple[str, Any]], *, ok: bool) -> None:
    """To the end of a call that asked. ``ok``: it was the endpoint's very own."""
    said = next((value for name, value in trailing if name == PEER), "")
    if said or ok:
        endpoint.introduced(said if len(said) <= LONGEST else "")


def introduction(runtime: Runtime, meter: Meter | None) -> Headers:
    """What a caller is told of this member, if it asked."""
    if meter is None or not meter.asks:
        return ()
    return in_trailers(runtime.engine.around.introduction)
