"""``loadBalancer`` of a DestinationRule, and what the MeshConfig says of localities."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from .piece import Count, Duration, Flaw, Piece, Text

Algorithm = Literal[
    "UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM", "PASSTHROUGH"
]
MAX_RING_SIZE = 8388608
MAX_TABLE_SIZE = 5000011


class CookieAttribute(Piece, frozen=True):
    name: Text
    value: str = ""


class HTTPCookie(Piece, frozen=True):
    name: Text
    path: str = ""
    ttl: Duration | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class RingHash(Piece, frozen=True):
    minimum_ring_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_RING_SIZE)] = 0


class MagLev(Piece, frozen=True):
    table_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_TABLE_SIZE)] = 0

    def rules(self) -> Iterator[Flaw]:
        size = self.table_size
        if size and (size == 1 or any(size % n == 0 for n in range(2, int(size**0.5) + 1))):
            yield Flaw(("tableSize",), f"{size} is not prime")


class ConsistentHashLB(Piece, frozen=True):
    http_header_name: str = ""
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool = False
    http_query_parameter_name: str = ""
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_RING_SIZE)] = 0

    def rules(self) -> Iterator[Flaw]:
        keys = {
            "httpHeaderName": bool(self.http_header_name),
            "httpCookie": self.http_cookie is not None,
            "useSourceIp": self.use_source_ip,
            "httpQueryParameterName": bool(self.http_query_parameter_name),
        }
        given = [name for name, is_given in keys.items() if is_given]
        if len(given) > 1:
            yield Flaw((), f"{' and '.join(given)} exclude each other")
        if self.ring_hash is not None and self.maglev is not None:
            yield Flaw((), "ringHash and maglev exclude each other")
        if self.minimum_ring_size and (self.ring_hash is not None or self.maglev is not None):
            said = "minimumRingSize is the older way to say ringHash: they exclude each other"
            yield Flaw(("minimumRingSize",), said, at_key=True)

    @property
    def has_key(self) -> bool:
        names = (self.http_header_name, self.http_query_parameter_name)
        return any(names) or self.http_cookie is not None or self.use_source_ip


class Distribute(Piece, frozen=True):
    from_: Text = msgspec.field(name="from")
    to: dict[str, Annotated[int, msgspec.Meta(ge=1, le=100)]] = msgspec.field(default_factory=dict)

    def rules(self) -> Iterator[Flaw]:
        total = sum(self.to.values())
        if total != 100:
            yield Flaw(("to",), f"the weights sum up to {total}, not to 100")


class Failover(Piece, frozen=True):
    from_: Text = msgspec.field(name="from")
    to: Text

    def rules(self) -> Iterator[Flaw]:
        for name, region in (("from", self.from_), ("to", self.to)):
            if "/" in region or "*" in region:
                yield Flaw((name,), f"{region!r}: only a region may stand here")
        if self.from_ == self.to:
            yield Flaw((), f"from {self.from_!r} to itself")


class LocalityLoadBalancerSetting(Piece, frozen=True):
    """``enabled`` unset means yes."""

    enabled: bool | None = None
    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[Text, ...] = ()

    def rules(self) -> Iterator[Flaw]:
        if self.distribute and (self.failover or self.failover_priority):
            yield Flaw((), "distribute excludes failover and failoverPriority")
        seen: set[str] = set()
        for index, rule in enumerate(self.distribute):
            if rule.from_ in seen:
                yield Flaw(("distribute", index, "from"), f"from {rule.from_!r} stands twice")
            seen.add(rule.from_)


class ZoneAwareLoadBalancerSetting(Piece, frozen=True):
    """``min_cluster_size`` unset is Envoy's: 6."""

    enabled: bool = False
    min_cluster_size: Count | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[Text, ...] = ()


class Warmup(Piece, frozen=True):
    """``minimum_percent`` unset is 10, ``aggression`` 1."""

    duration: Duration
    minimum_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    aggression: Annotated[float, msgspec.Meta(ge=1)] | None = None

    def rules(self) -> Iterator[Flaw]:
        if not self.duration:
            yield Flaw(("duration",), "must be longer than 0s")


class LoadBalancerSettings(Piece, frozen=True):
    simple: Algorithm = "UNSPECIFIED"
    consistent_hash: ConsistentHashLB | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup: Warmup | None = None
    warmup_duration_secs: Duration | None = None

    def rules(self) -> Iterator[Flaw]:
        if self.simple != "UNSPECIFIED" and self.consistent_hash is not None:
            yield Flaw((), "simple and consistentHash exclude each other")
        if self.warmup is not None and self.warmup_duration_secs is not None:
            said = "warmupDurationSecs is the older way to say warmup: they exclude each other"
            yield Flaw(("warmupDurationSecs",), said, at_key=True)
        zones = self.zone_aware_lb_setting
        if zones is not None and zones.enabled and self.locality_lb_setting is not None:
            yield Flaw((), "localityLbSetting and zoneAwareLbSetting exclude each other")
