"""A call on its way in: enter the inbound stack, then the application's handler."""

from .events import CallEnded, CallRecord
from .filters.router import Surroundings
from .message import Cause, Failure, Outcome, Request
from .steps import Deliver, Serve, Steps


def inbound(request: Request, around: Surroundings) -> Steps[Outcome]:
    record = CallRecord(request, around.clock(), inbound=True)
    outcome: Outcome = Failure(Cause.CANCELLED, "the caller went away")
    try:
        answer = yield Serve(request)
        outcome = (yield Deliver(answer, record)) or answer
        return outcome
    finally:
        around.observe(CallEnded(record, outcome, around.clock() - record.started))
