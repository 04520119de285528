"""Listeners as data (``envoy.config.listener.v3``, HttpConnectionManager)."""

from dataclasses import dataclass

from .endpoint import Address
from .filter import ROUTER, HttpFilter
from .metadata import Metadata
from .route import RouteConfiguration


@dataclass(frozen=True, slots=True)
class Rds:
    """Routes come by RDS under this name."""

    route_config_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConnectionManager:
    """``normalize_path`` (RFC 3986: dots) and ``merge_slashes``: what is done to a path before
    anything looks at it."""

    routes: Rds | RouteConfiguration
    http_filters: tuple[HttpFilter, ...] = (ROUTER,)
    stat_prefix: str = "mesh"
    max_stream_duration: float | None = None
    normalize_path: bool = False
    merge_slashes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """``address`` ``None`` makes it an API listener: it is called by name, nothing listens."""

    name: str
    http: HttpConnectionManager
    address: Address | None = None
    metadata: Metadata = Metadata()

    @property
    def route_config_name(self) -> str | None:
        """The RDS resource that this listener needs, or ``None``."""
        routes = self.http.routes
        return routes.route_config_name if isinstance(routes, Rds) else None
