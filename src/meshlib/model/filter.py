"""HTTP filters as data. Order in a listener is the order in which a request meets them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Router:
    """Always last: it owns the attempts."""


FilterConfig = Router


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFilter:
    name: str
    config: FilterConfig
    is_optional: bool = False
    disabled: bool = False


ROUTER = HttpFilter(name="envoy.filters.http.router", config=Router())
