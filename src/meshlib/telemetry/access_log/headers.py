"""Headers of a call, by the names that a format asks for."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from ...dataplane import CallEnded, Headers, Request, Response
from ...dataplane.message import first
from .values import Read, nothing

PSEUDO: Mapping[str, Callable[[Request], str]] = {
    ":authority": lambda request: request.authority or request.target,
    ":method": attrgetter("method"),
    ":path": attrgetter("path"),
    ":scheme": attrgetter("scheme"),
}
SYNONYMS = {"host": ":authority"}


def of_request(names: Sequence[str], otherwise: Read = nothing) -> Read:
    """The first of these that is there, as the route left it, which is what Envoy's log shows."""
    asked = tuple((name, PSEUDO.get(name)) for name in (SYNONYMS.get(n, n) for n in names))

    def read(event: CallEnded) -> Any:
        request = event.record.sent or event.record.request
        for name, own in asked:
            found = request.first(name)
            if found is not None:
                return found
            if own is not None:
                return own(request)
        return otherwise(event)

    return read


def of_response(names: Sequence[str], otherwise: Read = nothing) -> Read:
    """The first of these that is there, as the caller sees them."""

    def read(event: CallEnded) -> Any:
        outcome, respond = event.outcome, event.record.respond
        if isinstance(outcome, Response):
            find = outcome.first if respond is None else _finder(respond(outcome.headers))
            for name in names:
                found = find(name)
                if found is not None:
                    return found
        return otherwise(event)

    return read


def of_trailers(names: Sequence[str]) -> Read:
    def read(event: CallEnded) -> Any:
        find = _finder(event.outcome.trailers)
        return next((found for name in names if (found := find(name)) is not None), None)

    return read


def _finder(headers: Headers) -> Callable[[str], str | None]:
    return partial(first, headers)
