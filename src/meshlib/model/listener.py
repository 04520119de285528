"""Listeners as data (``envoy.config.listener.v3``, HttpConnectionManager)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from .endpoint import Address
from .filter import ROUTER, ExtensionConfig, FilterDiscovery, HttpFilter
from .metadata import SOURCE_FILTER, Metadata
from .route import RouteConfiguration
from .security import DownstreamTls
from .telemetry import AccessLog, Tracing

ACCESS_LOG, DISABLED = "access_log", "disabled"
"""In the metadata of a listener: no log, not even one that the member's environment asks for."""


@dataclass(frozen=True, slots=True)
class Rds:
    """Routes come by RDS under this name."""

    route_config_name: str


class PathWithEscapedSlashesAction(Enum):
    """What becomes of a path with ``%2F`` or ``%5C``; they are taken for what they stand for."""

    KEEP_UNCHANGED = "KEEP_UNCHANGED"
    REJECT_REQUEST = "REJECT_REQUEST"
    UNESCAPE_AND_REDIRECT = "UNESCAPE_AND_REDIRECT"
    """gRPC calls, which cannot be redirected, are refused."""
    UNESCAPE_AND_FORWARD = "UNESCAPE_AND_FORWARD"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConnectionManager:
    """``path_with_escaped_slashes_action``, then ``normalize_path`` (RFC 3986: dots), then
    ``merge_slashes``: what is done to a path before anything looks at it."""

    routes: Rds | RouteConfiguration
    http_filters: tuple[HttpFilter, ...] = (ROUTER,)
    stat_prefix: str = "mesh"
    max_stream_duration: float | None = None
    normalize_path: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: PathWithEscapedSlashesAction = (
        PathWithEscapedSlashesAction.KEEP_UNCHANGED
    )
    access_log: tuple[AccessLog, ...] = ()
    tracing: Tracing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """``address`` ``None`` makes it an API listener: it is called by name, nothing listens.

    With ``tls`` its connections are encrypted, and with ``plaintext`` besides, those are let in
    too that are not (Istio's PERMISSIVE): on the wire one filter chain for each.
    """

    name: str
    http: HttpConnectionManager
    address: Address | None = None
    metadata: Metadata = Metadata()
    tls: DownstreamTls | None = None
    plaintext: bool = False

    @property
    def wants_no_logs(self) -> bool:
        """Its configuration says that nobody is to write of its calls, whoever else would."""
        return self.metadata.get(SOURCE_FILTER, ACCESS_LOG) == DISABLED

    @property
    def route_config_name(self) -> str | None:
        """The RDS resource that this listener needs, or ``None``."""
        routes = self.http.routes
        return routes.route_config_name if isinstance(routes, Rds) else None

    @property
    def discoveries(self) -> dict[str, FilterDiscovery]:
        """The filters whose configuration comes by ECDS."""
        filters = self.http.http_filters
        return {f.name: f.config for f in filters if isinstance(f.config, FilterDiscovery)}


def discovered(listener: Listener, extensions: Mapping[str, ExtensionConfig]) -> Listener:
    """The listener with what its filters discover in the place of the discovery."""
    if not listener.discoveries:
        return listener
    filters = tuple(_discovered(one, extensions) for one in listener.http.http_filters)
    return replace(listener, http=replace(listener.http, http_filters=filters))


def _discovered(one: HttpFilter, extensions: Mapping[str, ExtensionConfig]) -> HttpFilter:
    if not isinstance(one.config, FilterDiscovery):
        return one
    found = extensions.get(one.name)
    config = found.config if found is not None else None
    chosen = config if isinstance(config, one.config.types) else one.config.default_config
    return one if chosen is None else replace(one, config=chosen)
