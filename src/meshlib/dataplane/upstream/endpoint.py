"""A live endpoint: its configuration and what was seen of it."""

from ...clock import Clock
from ...model import Address, Endpoint, HealthStatus

SHUN_BASE = 0.5
SHUN_FACTOR = 1.6
SHUN_MAX = 10.0


class UpstreamEndpoint:
    """One place to send calls to. Kept while any configuration or call knows its address.

    ``connect_timeout`` is in seconds: how long a new connection may take.
    """

    __slots__ = (
        "active",
        "address",
        "config",
        "connect_failures",
        "connect_timeout",
        "http2",
        "key",
        "shunned_until",
    )

    def __init__(self, config: Endpoint, *, http2: bool, connect_timeout: float) -> None:
        self.config = config
        self.address: Address = config.address
        self.key = str(config.address)
        self.http2 = http2
        self.connect_timeout = connect_timeout
        self.active = 0
        self.shunned_until = 0.0
        self.connect_failures = 0

    @staticmethod
    def succeeding(
        old: "UpstreamEndpoint | None", config: Endpoint, *, http2: bool, connect_timeout: float
    ) -> "UpstreamEndpoint":
        """The live endpoint for a configuration: the old one where nothing changed.

        A changed one (weight, health) is a new object that inherits what was seen, so that the
        balance in use stays as it is until the next one takes over.
        """
        new = UpstreamEndpoint(config, http2=http2, connect_timeout=connect_timeout)
        if old is None:
            return new
        if (old.config, old.http2, old.connect_timeout) == (config, http2, connect_timeout):
            return old
        new.shunned_until = old.shunned_until
        new.connect_failures = old.connect_failures
        return new

    @property
    def usable(self) -> bool:
        return self.config.health_status in (HealthStatus.UNKNOWN, HealthStatus.HEALTHY)

    @property
    def degraded(self) -> bool:
        return self.config.health_status is HealthStatus.DEGRADED

    def connect_failed(self, clock: Clock) -> None:
        """Look elsewhere for a while, as gRPC does with a subchannel in backoff."""
        delay = min(SHUN_BASE * SHUN_FACTOR**self.connect_failures, SHUN_MAX)
        self.connect_failures += 1
        self.shunned_until = clock() + delay

    def answered(self) -> None:
        if self.connect_failures:
            self.connect_failures = 0
            self.shunned_until = 0.0


class Concurrency:
    """How many calls and retries of one cluster are in flight, over all its endpoints."""

    __slots__ = ("active", "retries")

    def __init__(self) -> None:
        self.active = 0
        self.retries = 0
