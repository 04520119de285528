"""A call on its way out: find its listener, enter the listener's stack."""

from collections.abc import Callable
from dataclasses import dataclass

from ..model import Listener
from ..model import Router as RouterConfig
from .filters.router import Router
from .message import Outcome, Request
from .steps import Steps

Service = Callable[[Request], Steps[Outcome]]


@dataclass(frozen=True, slots=True)
class LiveListener:
    """A listener with its stack of filters built, the router innermost."""

    config: Listener
    router: Router
    service: Service


def stack(config: Listener, router: Router) -> Service:
    """Filters wrap the router in the listener's order: the first one meets the request first."""
    service: Service = router
    for http_filter in reversed(config.http.http_filters):
        match http_filter.config:
            case RouterConfig():
                continue
    return service
