"""What a route answers by itself: a redirect, or a direct response."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...model import DirectResponseAction, RedirectAction, Route
from ..message import Cause, Failure, Headers, Outcome, Request, Response
from .parts import Parts
from .redirect import Redirect, compile_redirect, path_rewrite, to_https
from .rewrite import ORIGINAL_PATH, Respond, with_header

if TYPE_CHECKING:
    from ..events import CallRecord

LocalAnswer = Callable[[Request, "CallRecord | None"], Outcome]

CREATED = 201
MOVED_PERMANENTLY = 301


def compile_answer(config: Route, respond: Respond, parts: Parts) -> LocalAnswer:
    match config.action:
        case RedirectAction() as action:
            moved = path_rewrite(action, config.match, parts.finditer)
            redirected = _answer(action.response_code, b"", compile_redirect(action), respond)
            return redirected if moved is None else _moved(moved, redirected)
        case DirectResponseAction(status=status, body=body):
            # Of itself: a status that says "look there" says to look here.
            there = compile_redirect(RedirectAction()) if _is_located(status) else None
            return _answer(status, body, there, respond)
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


def _moved(move: Callable[[str], str], answer: LocalAnswer) -> LocalAnswer:
    """The request goes by its new path from then on."""

    def moved(request: Request, record: "CallRecord | None") -> Outcome:
        headers = with_header(request.headers, ORIGINAL_PATH, request.path)
        path = move(request.path)
        gone = request.altered(path=path, authority=request.authority, headers=headers)
        return answer(gone, record)

    return moved


def _no_answer(name: str) -> LocalAnswer:
    detail = f"route {name!r} does not forward"
    return lambda _request, _record: Failure(Cause.NO_ROUTE, detail)
