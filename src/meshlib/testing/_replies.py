"""What upstreams of a played mesh do, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..dataplane import Cause, Failure, Headers, Outcome, Response


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upstream does with one attempt; ``outcome`` ``None``: meanwhile the caller leaves."""

    outcome: Outcome | None
    after: float = 0.0


Script = Reply | Sequence[Reply]
"""One reply for ever, or several in turn, the last of them for ever."""


def ok(headers: Headers = (), *, body: bytes = b"") -> Reply:
    return Reply(Response(200, headers, body=body))


def fails_with(status: int, headers: Headers = ()) -> Reply:
    return Reply(Response(status, headers))


def grpc_status(code: int, trailers: Headers = ()) -> Reply:
    return Reply(Response(200, grpc_status=code, trailers=trailers))


def refuses() -> Reply:
    """No connection comes about."""
    return Reply(Failure(Cause.CONNECT, "connection refused"))


def refuses_stream() -> Reply:
    """The peer refuses the stream before it processed anything."""
    return Reply(Failure(Cause.REFUSED, "stream refused"))


def resets() -> Reply:
    """The connection breaks after the request was sent."""
    return Reply(Failure(Cause.RESET, "connection reset"))


def hangs_up() -> Reply:
    """The caller goes away while this upstream works."""
    return Reply(None)


def slow(seconds: float, then: Reply | None = None) -> Reply:
    reply = then or ok()
    return Reply(reply.outcome, reply.after + seconds)


def said(outcome: Outcome) -> str:
    """An outcome in a word: ``200``, ``grpc 14``, or a response flag."""
    if isinstance(outcome, Failure):
        return outcome.cause.value
    if outcome.grpc_status is not None:
        return f"grpc {outcome.grpc_status}"
    return str(outcome.status)
