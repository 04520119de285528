"""Answers that a filter gives in the place of whoever was called."""

from collections.abc import Callable

from ...clock import Dice
from ...model import Percentage
from ..events import CallRecord
from ..message import Cause, Failure, Headers, Outcome, Request, Response
from ..statuses import http_to_grpc
from ..steps import Steps, deliver

INTERNAL = 13


def local_reply(
    request: Request,
    record: CallRecord,
    cause: Cause,
    status: int,
    words: str,
    *,
    grpc_status: int | None = None,
    headers: Headers = (),
    body: bytes | None = None,
) -> Steps[Outcome]:
    """Answer as Envoy does: HTTP by ``status`` with the words as its text, gRPC by its status.

    Without a ``grpc_status`` it follows from ``status``. To gRPC the headers come as trailers.
    """
    record.flags += cause.flags
    if request.is_grpc:
        code = http_to_grpc(status) if grpc_status is None else grpc_status
        if code == 0:
            # There is no message to come with it, and nobody expects a success without one.
            code, words = INTERNAL, f"{words}: ended well without an answer"
        return deliver(record, Failure(cause, words, code, trailers=headers))
    made = words.encode() if body is None else body
    return deliver(record, Response(status, (*described(made, headers), *headers), body=made))


def described(body: bytes, headers: Headers = ()) -> Headers:
    """What every body of our own comes with."""
    length = ("content-length", str(len(body)))
    if not body or any(name == "content-type" for name, _ in headers):
        return (length,)
    return (length, ("content-type", "text/plain"))


def falls_under(percentage: Percentage, dice: Dice) -> bool:
    """Is this one of that share of the calls? Where it is all or none, nobody rolls."""
    share = percentage.share
    return share >= 1 or (share > 0 and dice() < share)


def adding(more: Headers) -> Callable[[Headers], Headers]:
    """For :meth:`CallRecord.responds`."""
    return lambda headers: (*headers, *more)


def setting(more: Headers) -> Callable[[Headers], Headers]:
    """:func:`adding`, in the place of what has the same name."""
    names = {name for name, _ in more}
    return lambda headers: (*(pair for pair in headers if pair[0] not in names), *more)
