"""Headers of a call, by the names that a format asks for."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from ...dataplane import CallEnded, Headers, Request
from .values import Read

PSEUDO: Mapping[str, Callable[[Request], str]] = {
    ":authority": lambda request: request.authority or request.target,
    ":method": attrgetter("method"),
    ":path": attrgetter("path"),
    ":scheme": attrgetter("scheme"),
}
SYNONYMS = {"host": ":authority"}


def of_request(names: Sequence[str]) -> Read:
    """The first of these that is there, as the route left it, which is what Envoy's log shows."""
    finds = tuple(_finder(SYNONYMS.get(name, name)) for name in names)

    def read(event: CallEnded) -> str | None:
        request = event.record.sent or event.record.request
        for find in finds:
            found = find(request)
            if found is not None:
                return found
        return None

    return read


def _finder(name: str) -> Callable[[Request], str | None]:
    own = PSEUDO.get(name)

    def find(request: Request) -> str | None:
        for key, value in request.headers:
            if key == name:
                return value
        return None if own is None else own(request)

    return find


def first_of(headers_of: Callable[[CallEnded], Headers], names: Sequence[str]) -> Read:
    """The first of these that is there; of several with one name, the first."""

    def read(event: CallEnded) -> str | None:
        headers = headers_of(event)
        for name in names:
            for key, value in headers:
                if key == name:
                    return value
        return None

    return read
