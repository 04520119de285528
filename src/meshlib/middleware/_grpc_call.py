"""A blocking call: one attempt in this very frame, and whatever follows it."""

from typing import Any

from ..dataplane import Deliver, Outcome, Send, Steps
from ._drive import Runtime, drive
from ._grpc_attempt import Attempt
from ._grpc_beside import Beside
from ._grpc_load import tell
from ._grpc_request import Draft, pause
from ._grpc_status import OK, READY_BACKOFF, MeshRpcError, error_for, unreached


def blocking(runtime: Runtime, draft: Draft, attempt: Attempt, *, wait_for_ready: bool) -> Any:
    """Make a call, and return what the native call returned."""
    steps = runtime.outbound(draft.request)
    effect = runtime.step(steps, None)
    if type(effect) is Send:
        try:
            outcome = attempt(effect)
        except BaseException:
            runtime.close(steps)
            raise
        if wait_for_ready:
            effect = runtime.step(steps, outcome)  # which may be to begin anew
        else:
            effect = runtime.conclude(steps, outcome)
        if outcome is OK and not wait_for_ready and type(effect) is Deliver:
            return attempt.answer if effect.record.respond is None else attempt.seen(effect)
    beside = Beside(runtime, attempt)
    try:
        deliver = drive(runtime, steps, attempt, effect, beside)
        if wait_for_ready and unreached(deliver):
            deliver, steps = _when_ready(runtime, steps, draft, attempt, beside)
        runtime.finish(steps)
    except BaseException:
        beside.cancel()
        raise
    return _answer(runtime, attempt, deliver, beside.settle(deliver))


def _when_ready(
    runtime: Runtime, steps: Steps[Outcome], draft: Draft, attempt: Attempt, beside: Beside
) -> tuple[Deliver, Steps[Outcome]]:
    """Call again and again until an endpoint can be reached, or no time is left."""
    wait, factor, longest = READY_BACKOFF
    while True:
        pause(runtime, steps, draft)
        beside.cancel()
        runtime.sleep(wait)
        wait = min(wait * factor, longest)
        steps = runtime.outbound(draft.request)
        deliver = drive(runtime, steps, attempt, None, beside)
        if not unreached(deliver):
            return deliver, steps


def _answer(runtime: Runtime, attempt: Attempt, deliver: Deliver, winner: Any) -> Any:
    """What the caller gets, or the error that he gets instead; ``winner``: of a race."""
    if attempt.load is not None:
        tell(runtime, deliver.record, attempt.load)
    error = error_for(deliver, MeshRpcError)
    if error is not None:
        raise error
    if winner is not None:
        answer = winner.result()
        attempt.answer = (answer, winner) if attempt.verb == "with_call" else answer
    return attempt.seen(deliver)
