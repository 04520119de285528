"""What our data plane makes of a request: the very engine, with an upstream that answers."""

import os
import socket
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from ...clock import Clock
from ...dataplane import (
    Deliver,
    Effect,
    Engine,
    Failure,
    Headers,
    Options,
    Outcome,
    Request,
    Response,
    Send,
    Whereabouts,
)
from ...dataplane.events import CallRecord
from ...model import Snapshot
from ...xds.regex import finditer, fullmatch
from ..clock import FakeClock
from ..dice import always
from .case import UPSTREAM_HEADERS, Sent


@dataclass(frozen=True, slots=True)
class Verdict:
    """``cluster`` "" where nothing was sent; then ``path``, ``host`` and ``sent`` are empty."""

    status: int
    headers: Headers
    body: str = ""
    cluster: str = ""
    method: str = ""
    path: str = ""
    host: str = ""
    sent: Headers = ()
    failed: bool = False


def engine(snapshot: Snapshot, wall: Clock) -> Engine:
    made = Engine(
        clock=FakeClock(),
        dice=always(0.0),
        options=Options(
            complete=True,
            regex=fullmatch,
            finditer=finditer,
            wall=wall,
            whereabouts=Whereabouts(hostname=socket.gethostname(), environment=dict(os.environ)),
        ),
    )
    made.apply(snapshot)
    return made


def judged(engine: Engine, target: str, sent: Sent, added: Headers = ()) -> Verdict:
    """``added`` is what stands in the headers of every request before it is routed."""
    request = Request(
        target,
        sent.method,
        sent.path,
        sent.authority,
        headers=(*sent.headers, *added),
        source="127.0.0.1:1",
    )
    return _play(engine.outbound(request))


def _play(steps: Generator[Effect, Any, Outcome]) -> Verdict:
    sent: Request | None = None
    effect = next(steps)
    if isinstance(effect, Send):
        assert effect.endpoint is not None
        sent = effect.request
        effect = steps.send(Response(200, UPSTREAM_HEADERS))
    assert isinstance(effect, Deliver), effect
    verdict = _verdict(effect.outcome, effect.record, sent)
    steps.close()
    return verdict


def _verdict(outcome: Outcome, record: CallRecord, sent: Request | None) -> Verdict:
    if isinstance(outcome, Failure):
        return Verdict(404 if outcome.cause.value == "NR" else 503, (), failed=True)
    headers = outcome.headers if record.respond is None else record.respond(outcome.headers)
    if sent is None:
        return Verdict(outcome.status, headers, outcome.body.decode())
    assert record.cluster is not None
    return Verdict(
        outcome.status,
        headers,
        cluster=record.cluster.name,
        method=sent.method,
        path=sent.path,
        host=sent.authority or sent.target,
        sent=sent.headers,
    )
