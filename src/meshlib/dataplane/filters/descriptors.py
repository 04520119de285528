"""What a request is, in the words of a rate limit: descriptors of key and value entries."""

from collections.abc import Callable, Sequence

from ...model import (
    DestinationCluster,
    GenericKey,
    HeaderValueMatch,
    QueryParameter,
    RateLimit,
    RateLimitAction,
    RemoteAddress,
    RequestHeader,
    SourceCluster,
)
from ..events import CallRecord
from ..message import Request
from ..routing.matchers import header_condition, query_parameter
from .chain import Site

Entry = tuple[str, str]
Descriptor = tuple[Entry, ...]
SKIPPED: Entry = ("", "")
"""An action that may have nothing to say had nothing to say."""

Say = Callable[[Request, CallRecord], Entry | None]
"""An entry, :data:`SKIPPED`, or ``None``: then there is no descriptor at all."""


class Descriptors:
    """The rate limits of one stage, ready to describe requests (route_components.proto)."""

    __slots__ = ("_limits",)

    def __init__(self, limits: Sequence[RateLimit], site: Site) -> None:
        self._limits = tuple(
            tuple(_say(action, site) for action in limit.actions) for limit in limits
        )

    @staticmethod
    def chosen(own: Sequence[RateLimit], stage: int, site: Site) -> "Descriptors":
        """By the filter's own rate limits, else by those of the route that are of its stage."""
        routes = [limit for limit in site.rate_limits if limit.stage == stage]
        return Descriptors(own or routes, site)

    def __bool__(self) -> bool:
        return bool(self._limits)

    def __call__(self, request: Request, record: CallRecord) -> tuple[Descriptor, ...]:
        made = (self._described(actions, request, record) for actions in self._limits)
        return tuple(descriptor for descriptor in made if descriptor)

    def _described(
        self, actions: tuple[Say, ...], request: Request, record: CallRecord
    ) -> Descriptor:
        entries = []
        for say in actions:
            entry = say(request, record)
            if entry is None:
                return ()
            if entry is not SKIPPED:
                entries.append(entry)
        return tuple(entries)


def _say(action: RateLimitAction, site: Site) -> Say:
    match action:
        case GenericKey(descriptor_value=value, descriptor_key=key):
            generic = (key, value)
            return lambda _request, _record: generic
        case SourceCluster():
            source = ("source_cluster", site.service)
            return lambda _request, _record: source
        case DestinationCluster():
            return lambda _request, record: _named("destination_cluster", _destination(record))
        case RemoteAddress():
            return lambda request, _record: _named("remote_address", host_of(request.source))
        case RequestHeader():
            return _header(action)
        case QueryParameter():
            return _query(action)
        case HeaderValueMatch():
            return _match(action, site)


def _named(key: str, value: str) -> Entry | None:
    return (key, value) if value else None


def _destination(record: CallRecord) -> str:
    return record.destination.name if record.destination is not None else ""


def host_of(source: str) -> str:
    """An address without its port, if it came with one."""
    if source.startswith("["):
        return source[1:].partition("]")[0]
    host, _, port = source.rpartition(":")
    return host if port.isdecimal() and ":" not in host and host else source


def _header(action: RequestHeader) -> Say:
    name, key = action.header_name.lower(), action.descriptor_key
    missing = SKIPPED if action.skip_if_absent else None

    def say(request: Request, record: CallRecord) -> Entry | None:
        value = request.header(name)
        return missing if value is None else (key, value)

    return say


def _query(action: QueryParameter) -> Say:
    name, key = action.query_parameter_name, action.descriptor_key
    missing = SKIPPED if action.skip_if_absent else None

    def say(request: Request, record: CallRecord) -> Entry | None:
        value = query_parameter(request.path, name)
        return missing if value is None else (key, value)

    return say


def _match(action: HeaderValueMatch, site: Site) -> Say:
    conditions = tuple(header_condition(matcher, site.regex) for matcher in action.headers)
    entry = (action.descriptor_key, action.descriptor_value)

    def say(request: Request, record: CallRecord) -> Entry | None:
        matched = all(condition.test(request) for condition in conditions)
        return entry if matched is action.expect_match else None

    return say
