"""What stands before the handlers under one configuration: for each route its filters."""

from collections.abc import Callable, Sequence
from functools import partial

from ..model import FilterConfig, FilterDiscovery, HttpFilter, NonForwardingAction
from ..model.authn import JwtAuthn
from .events import CallRecord
from .filters.chain import Filter, Service, stacked
from .filters.local_reply import local_reply
from .filters.rbac import RoleBasedAccessControl
from .message import Cause, Outcome, Request, Response
from .outbound import LiveListener
from .routing.table import LiveRoute, RouteTable
from .steps import Serve, Steps, deliver

NO_ROUTE = 404

Decorated = Callable[[Sequence[HttpFilter]], tuple[Filter, ...]]


class Stacks:
    """A route is found before any filter is met, for each has filters of its own.

    Some routes ask what only a filter can tell, such as the claims of a verified token. Where
    that filter clears the route cache, as Envoy has it, the route is looked for again behind it,
    and what the call meets from there on is what stands before that route.
    """

    __slots__ = ("_clearing", "_decorated", "_made", "_order", "table")

    def __init__(self, listener: LiveListener | None, decorated: Decorated) -> None:
        self.table: RouteTable | None = None if listener is None else listener.router.table
        self._decorated = decorated
        self._made: dict[tuple[LiveRoute | None, int, str], Service] = {}
        filters = () if listener is None else listener.config.http.http_filters
        self._order = {one.name: place for place, one in enumerate(filters)}
        asks = self.table is not None and self.table.asks
        self._clearing = frozenset(one.name for one in filters if asks and _clears(one.config))

    def find(self, request: Request, record: CallRecord, extra: Sequence[HttpFilter]) -> Service:
        if self.table is None:
            return self._service(None, extra)
        route = record.route = self.table.find(request)
        return self._service(route, extra)

    def _service(
        self, route: LiveRoute | None, extra: Sequence[HttpFilter], behind: str = ""
    ) -> Service:
        # Each handler has one and the same tuple for all of its calls.
        key = route, id(extra), behind
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._stack(route, extra, behind)
        return found

    def _stack(self, route: LiveRoute | None, extra: Sequence[HttpFilter], behind: str) -> Service:
        table, place = self.table, route
        if route is None and table is not None:
            place = table.nowhere
        configured = _configured(place)
        kinds = {_kind(made) for _, made in configured}
        added = tuple(made for made in self._decorated(extra) if _kind(made) not in kinds)
        lost = route is None and table is not None
        service = _lost if lost else stacked(added, _innermost(route))
        passed = self._order.get(behind, -1)
        for name, around in reversed(configured):
            if self._order[name] <= passed:
                break
            if name in self._clearing:
                service = partial(self._rerouted, name, route, extra, service)
            service = stacked((around,), service)
        return service

    def _rerouted(
        self,
        name: str,
        before: LiveRoute | None,
        extra: Sequence[HttpFilter],
        service: Service,
        request: Request,
        record: CallRecord,
    ) -> Steps[Outcome]:
        """Nothing has been said of a request that is still the one that came in."""
        if request is record.request or self.table is None:
            return service(request, record)
        route = self.table.find(request)
        if route is not before:
            record.route = route
            service = self._service(route, extra, name)
        return service(request, record)


def _clears(config: FilterConfig | FilterDiscovery) -> bool:
    return isinstance(config, JwtAuthn) and any(one.clear_route_cache for one in config.providers)


def _configured(route: LiveRoute | None) -> tuple[tuple[str, Filter], ...]:
    return () if route is None else tuple(zip(route.filter_names, route.filters, strict=True))


def _kind(made: Filter) -> object:
    """What denies does not stand for what allows: without the latter all but those may pass."""
    return type(made), made.action if isinstance(made, RoleBasedAccessControl) else None


def _innermost(route: LiveRoute | None) -> Service:
    if route is None or isinstance(route.config.action, NonForwardingAction):
        return _served
    return _answered


def _served(request: Request, record: CallRecord) -> Steps[Outcome]:
    answer: Outcome = yield Serve(request, record)
    return (yield from deliver(record, answer))


def _answered(request: Request, record: CallRecord) -> Steps[Outcome]:
    """The route redirects or answers by itself; one that forwards leads nowhere (gRFC A36)."""
    route = record.route
    assert route is not None
    answer = route.answer(request, record)
    record.details = "direct_response" if isinstance(answer, Response) else ""
    return deliver(record, answer)


def _lost(request: Request, record: CallRecord) -> Steps[Outcome]:
    words = f"no inbound route for {request.method} {request.path}"
    return local_reply(request, record, Cause.NO_ROUTE, NO_ROUTE, words, grpc_status=14)
