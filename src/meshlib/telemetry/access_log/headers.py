"""Headers of a call, by the names that a format asks for."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from ...dataplane import CallEnded, Headers, Request
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
            for key, value in request.headers:
                if key == name:
                    return value
            if own is not None:
                return own(request)
        return otherwise(event)

    return read


def first_of(
    headers_of: Callable[[CallEnded], Headers], names: Sequence[str], otherwise: Read = nothing
) -> Read:
    """The first of these that is there; of several with one name, the first."""

    def read(event: CallEnded) -> Any:
        headers = headers_of(event)
        for name in names:
            for key, value in headers:
                if key == name:
                    return value
        return otherwise(event)

    return read
