"""A live endpoint: its configuration and what was seen of it."""

from math import inf
from typing import TYPE_CHECKING, Any

from ...clock import Clock
from ...model import Address, Cluster, Endpoint, HealthStatus
from ..introduction import is_named
from .load import Load

if TYPE_CHECKING:
    from .load_stats import EndpointCounts

SHUN_BASE = 0.5
SHUN_FACTOR = 1.6
SHUN_MAX = 10.0
SHUN_STEPS = 16
NEVER = -inf


class UpstreamEndpoint:
    """One place to send calls to. Kept while any configuration or call knows its address.

    ``config`` (weight, health) is that of the configuration in force. ``connect_timeout`` is in
    seconds: how long a new connection may take. ``ejected`` by outlier detection and ``unhealthy``
    by active checks are written by those who watch, as are ``passes`` (checks were made, and hold
    it to be healthy) and ``outlier``, what the detection remembers. ``since`` is when it became
    usable, :data:`NEVER` while it is not. ``wants_trailers``: what it says there counts, of its
    load (``reports``), or of who it is (``asks``; ``said`` what it said last). ``counts``: of
    calls, where somebody wants to be told. ``secured_by``: the cluster, where that has anything to
    say of how connections are secured. ``seen_as``: noted by those who count calls.
    ``is_external``: it is not of the mesh, whose own headers do not go there.
    """

    __slots__ = (
        "active",
        "address",
        "asks",
        "config",
        "connect_failures",
        "connect_timeout",
        "counts",
        "ejected",
        "http2",
        "is_external",
        "key",
        "load",
        "outlier",
        "passes",
        "priority",
        "reports",
        "said",
        "secured_by",
        "seen_as",
        "shunned_until",
        "since",
        "unhealthy",
        "wants_trailers",
    )

    def __init__(
        self, config: Endpoint, *, http2: bool, connect_timeout: float, priority: int = 0
    ) -> None:
        self.config = config
        self.address: Address = config.address
        self.key = str(config.address)
        self.http2 = http2
        self.connect_timeout = connect_timeout
        self.priority = priority
        self.active = 0
        self.shunned_until = 0.0
        self.connect_failures = 0
        self.ejected = False
        self.unhealthy = False
        self.passes = False
        self.outlier: Any = None
        self.since = NEVER
        self.wants_trailers = self.reports = self.asks = False
        self.said = ""
        self.is_external = False
        self.load: Load | None = None
        self.counts: EndpointCounts | None = None
        self.secured_by: Cluster | None = None
        self.seen_as: Any = None

    @property
    def usable(self) -> bool:
        return is_usable(self, self.config)

    @property
    def degraded(self) -> bool:
        return is_degraded(self, self.config)

    def ask(self) -> None:
        """With the next call over gRPC ask who answers, unless the configuration says so."""
        self.asks = not (self.is_external or is_named(self.config))
        self.wants_trailers = self.reports or self.asks

    def introduced(self, said: str) -> None:
        """It was asked, and said so; or nothing."""
        self.said, self.seen_as = said, None
        self.asks, self.wants_trailers = False, self.reports

    def connect_failed(self, clock: Clock) -> None:
        """Look elsewhere for a while, as gRPC does with a subchannel in backoff."""
        # Beyond so many the power is too large for a number, and the delay is the longest anyway.
        delay = min(SHUN_BASE * SHUN_FACTOR ** min(self.connect_failures, SHUN_STEPS), SHUN_MAX)
        self.connect_failures += 1
        self.shunned_until = clock() + delay

    def answered(self) -> None:
        if self.connect_failures:
            self.connect_failures = 0
            self.shunned_until = 0.0


def is_usable(endpoint: UpstreamEndpoint, config: Endpoint) -> bool:
    """By what the configuration says of it, and by what was seen."""
    if endpoint.ejected or endpoint.unhealthy:
        return False
    return config.health_status in (HealthStatus.UNKNOWN, HealthStatus.HEALTHY)


def is_degraded(endpoint: UpstreamEndpoint, config: Endpoint) -> bool:
    if endpoint.ejected or endpoint.unhealthy:
        return False
    return config.health_status is HealthStatus.DEGRADED


class Concurrency:
    """How many calls and retries of one cluster are in flight, over all its endpoints."""

    __slots__ = ("active", "retries")

    def __init__(self) -> None:
        self.active = 0
        self.retries = 0
