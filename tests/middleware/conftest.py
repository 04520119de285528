"""What the hooks of gRPC and of aiohttp are tried with alike."""

from collections.abc import Callable

import pytest


class Trace:
    """Numbers the attempts of one call."""

    sampled = True

    def __init__(self, more: tuple[str, str]) -> None:
        self.sends = []
        self._more = more

    def attempt(self, send):
        self.sends.append(send)
        return (("traceparent", str(len(self.sends))), self._more)


class Tracing:
    """A propagation that traces every call; ``more`` goes out with every attempt."""

    def __init__(self, more: tuple[str, str]) -> None:
        self.begun = []
        self.entered = []
        self.left = []
        self._more = more

    def receive(self, request):
        self.entered.append(request)
        return request

    def release(self, token):
        self.left.append(token)

    def outgoing(self, *, foreign=False):
        return (("traceparent", "caller"), ("x-kept", "1"))

    def begin(self, request, *, foreign=False):
        request.meter.trace = Trace(self._more)
        self.begun.append((request, foreign))

    def attempt(self, send):
        return send.request.meter.trace.attempt(send)


@pytest.fixture
def traces_with() -> Callable[[tuple[str, str]], Tracing]:
    return Tracing
