"""A call on its way in before it is known what stands before the handlers: nobody is let in yet.

Else a member that begins while its control plane cannot be asked would serve everybody.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from ..model import HttpFilter, Listener
from .events import CallEnded, CallRecord
from .filters.local_reply import local_reply
from .filters.router import Surroundings
from .inbound import GONE
from .message import Cause, Outcome, Request
from .steps import Effect, Steps

Settle = Callable[[CallRecord], Generator[Effect, Any, bool]]
"""Waits until the policies are there; whether the call may go on."""
GoOn = Callable[[Request, Sequence[HttpFilter]], Steps[Outcome]]

UNAVAILABLE, UNAVAILABLE_BY_GRPC = 503, 14
WORDS = "no configuration yet"


def unjudged(
    request: Request,
    around: Surroundings,
    settle: Settle,
    go_on: GoOn,
    extra: Sequence[HttpFilter],
) -> Steps[Outcome]:
    started = around.clock()
    record = CallRecord(request, started, inbound=True, config_version=around.version)
    outcome: Outcome = GONE
    settled = False
    try:
        settled = yield from settle(record)
        if not settled:
            outcome = yield from local_reply(
                request,
                record,
                Cause.NO_CONFIG,
                UNAVAILABLE,
                WORDS,
                grpc_status=UNAVAILABLE_BY_GRPC,
            )
            return outcome
    finally:
        if not settled:
            around.observe(CallEnded(record, outcome, around.clock() - started))
    return (yield from go_on(request, extra))


def is_judged(request: Request, inbound: Listener | None) -> bool:
    """Would it have been let in as it came, had this been known then?

    Who came in plain text, which is not let in everywhere, has to come again.
    """
    if request.connection.peer.secure or inbound is None:
        return True
    is_open = inbound.tls is None or inbound.plaintext
    return is_open and inbound.metadata.get("meshlib", "mtls_ports") is None
