"""Meshes whose listeners have filters, and calls that come in."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from meshlib.dataplane import (
    AskRateLimit,
    Deliver,
    Engine,
    Options,
    Outcome,
    Request,
    Response,
    Serve,
    Sleep,
)
from meshlib.dataplane.message import Headers
from meshlib.model import ROUTER, HttpFilter, Snapshot, gather
from meshlib.testing import A, FakeClock, VirtualMesh, one_service

MakeMesh = Callable[..., VirtualMesh]
Serving = Callable[..., tuple[Outcome, Headers]]


def with_filters(snapshot: Snapshot, filters: Sequence[HttpFilter]) -> Snapshot:
    listeners = [
        replace(listener, http=replace(listener.http, http_filters=(*filters, ROUTER)))
        for listener in snapshot.listeners.values()
    ]
    return gather(
        listeners=listeners,
        clusters=snapshot.clusters.values(),
        endpoints=snapshot.endpoints.values(),
    )


@pytest.fixture
def filtered() -> MakeMesh:
    """``filtered(filters, upstreams=…, dice=…, service=…, routes=…)``: ``reviews:9080``, called
    through these filters."""

    def make(filters, upstreams=None, *, dice=None, service="", **fields) -> VirtualMesh:
        snapshot = with_filters(one_service(upstreams or (A,), **fields), filters)
        options = Options(complete=True, service=service)
        return VirtualMesh(snapshot, upstreams, dice=dice, options=options)

    return make


@pytest.fixture
def filters_on() -> Callable[[Snapshot, Sequence[HttpFilter]], Snapshot]:
    return with_filters


@pytest.fixture
def serving() -> Serving:
    """A call that comes in, up to its delivery; time passes on the clock of the engine.

    The handler takes ``took`` seconds and answers ``answer``. With the outcome come the headers
    that the filters made.
    """

    def serve(
        engine: Engine,
        request: Request,
        extra: Sequence[HttpFilter] = (),
        *,
        took: float = 0.0,
        answer: Outcome | None = None,
    ) -> tuple[Outcome, Headers]:
        clock = engine.around.clock
        assert isinstance(clock, FakeClock)
        steps = engine.inbound(request, extra)
        effect = next(steps)
        while not isinstance(effect, Deliver):
            assert isinstance(effect, Serve | Sleep)
            if isinstance(effect, Sleep):
                clock.jump(effect.seconds)
                effect = steps.send(None)
            else:
                clock.jump(took)
                effect = steps.send(answer or Response(200))
        respond, outcome = effect.record.respond, effect.outcome
        headers = outcome.headers if isinstance(outcome, Response) else outcome.trailers
        list(steps)
        return outcome, headers if respond is None else respond(headers)

    return serve


class ScriptedService:
    """A rate limit service: answers in turn, the last for ever; remembers what it was asked."""

    def __init__(self, *verdicts) -> None:
        self.asked: list[AskRateLimit] = []
        self._verdicts = list(verdicts)

    def ask(self, effect: AskRateLimit):
        self.asked.append(effect)
        return self._verdicts.pop(0) if len(self._verdicts) > 1 else self._verdicts[0]

    async def aask(self, effect: AskRateLimit):
        return self.ask(effect)


@pytest.fixture
def scripted_service() -> type[ScriptedService]:
    return ScriptedService
