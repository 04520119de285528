"""What a route answers by itself: a redirect, or a direct response."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...model import DirectResponseAction, RedirectAction, Route
from ..message import Cause, Failure, Headers, Outcome, Request, Response
from .parts import Parts
from .redirect import Redirect, compile_redirect, to_https
from .rewrite import Respond

if TYPE_CHECKING:
    from ..events import CallRecord

LocalAnswer = Callable[[Request, "CallRecord | None"], Outcome]

CREATED = 201
MOVED_PERMANENTLY = 301


def compile_answer(config: Route, respond: Respond, parts: Parts) -> LocalAnswer:
    match config.action:
        case RedirectAction() as action:
            redirect = compile_redirect(action, config.match, parts.finditer)
            return _answer(action.response_code, b"", redirect, respond)
        case DirectResponseAction(status=status, body=body):
            # Of itself: a status that says "look there" says to look here.
            there = compile_redirect(RedirectAction(), config.match)
            return _answer(status, body, there if _is_located(status) else None, respond)
        case _:
            return _no_answer(config.name)


def https_answer() -> LocalAnswer:
    """Of a virtual host that requires TLS, to a caller without."""
    return _answer(MOVED_PERMANENTLY, b"", to_https, None)


def _is_located(status: int) -> bool:
    return status == CREATED or 300 <= status < 400


def _answer(
    status: int, body: bytes, redirect: Redirect | None, respond: Respond | None
) -> LocalAnswer:
    described = (("content-length", str(len(body))), ("content-type", "text/plain"))

    def answer(request: Request, record: "CallRecord | None") -> Response:
        headers: Headers = described if body else ()
        if redirect is not None:
            headers = (*headers, ("location", redirect(request)))
        if respond is not None:
            headers = respond(request, record, headers)
        return Response(status, headers, body=body)

    return answer


def _no_answer(name: str) -> LocalAnswer:
    detail = f"route {name!r} does not forward"
    return lambda _request, _record: Failure(Cause.NO_ROUTE, detail)
