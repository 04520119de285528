"""What balancers are made of, the same in ``lb_policy`` and in the extensions."""

from ...model import (
    LeastRequest,
    LocalityLb,
    LocalityWeighted,
    Maglev,
    RingHash,
    SlowStart,
    ZoneAware,
)
from .runtime import decode_double, encode_double
from .wire import Fields, Reader, duration, wrapped

MAX_RING_SIZE = 8_388_608
MAX_TABLE_SIZE = 5_000_011
LEAST_BALANCE_FACTOR = 100


def encode_slow_start(slow_start: SlowStart | None) -> Fields | None:
    if slow_start is None:
        return None
    return {
        "slow_start_window": duration(slow_start.slow_start_window),
        "aggression": encode_double(slow_start.aggression, "slow_start_aggression"),
        "min_weight_percent": wrapped(slow_start.min_weight_percent),
    }


def decode_slow_start(holder: Reader) -> SlowStart | None:
    reader = holder.optional_child("slow_start_config")
    if reader is None:
        return None
    window = reader.seconds("slow_start_window", 0.0)
    percent = reader.percent("min_weight_percent", 10.0)
    aggression = decode_double(reader, "aggression", 1.0, positive=True)
    if not window:
        return None
    return SlowStart(
        slow_start_window=window,
        aggression=aggression,
        min_weight_percent=10.0 if percent is None else percent,
    )


def encode_bias(policy: LeastRequest) -> Fields:
    return encode_double(policy.active_request_bias, "least_request_active_request_bias")


def decode_least_request(config: Reader) -> LeastRequest:
    """``config`` of one of the two kinds; only the extension knows a full scan."""
    full_scan = False
    if "selection_method" in config.message.DESCRIPTOR.fields_by_name:
        full_scan = config.enum("selection_method") == "FULL_SCAN"
        full_scan = config.flag("enable_full_scan") or full_scan
    return LeastRequest(
        choice_count=config.number("choice_count", 2, low=2),
        active_request_bias=decode_double(config, "active_request_bias", 1.0),
        slow_start=decode_slow_start(config),
        full_scan=full_scan,
    )


def decode_ring_hash(config: Reader, hashing: Reader | None = None) -> RingHash:
    """``hashing``: where options of consistent hashing stand, if not in the policy."""
    function = config.enum("hash_function")
    most = config.number("maximum_ring_size", MAX_RING_SIZE, low=1, high=MAX_RING_SIZE)
    least = config.number("minimum_ring_size", min(1024, most), low=1, high=MAX_RING_SIZE)
    if least > most:
        config.problem("must not be more than maximum_ring_size", "minimum_ring_size")
    if hashing is None and config.which("use_hostname_for_hashing", "hash_balance_factor"):
        hashing = config  # how it was said before consistent_hashing_lb_config
    by_hostname, factor = _decode_hashing(hashing or config.child("consistent_hashing_lb_config"))
    return RingHash(
        minimum_ring_size=least,
        maximum_ring_size=most,
        hash_function="murmur_hash_2" if function == "MURMUR_HASH_2" else "xx_hash",
        use_hostname_for_hashing=by_hostname,
        hash_balance_factor=factor,
    )


def decode_maglev(config: Reader, hashing: Reader | None = None) -> Maglev:
    size = config.number("table_size", 65537, low=2, high=MAX_TABLE_SIZE)
    if 2 <= size <= MAX_TABLE_SIZE and not _is_prime(size):
        config.problem(f"must be a prime number, is {size}", "table_size")
    by_hostname, factor = _decode_hashing(hashing or config.child("consistent_hashing_lb_config"))
    return Maglev(table_size=size, use_hostname_for_hashing=by_hostname, hash_balance_factor=factor)


def encode_hashing(policy: RingHash | Maglev) -> Fields | None:
    if not policy.use_hostname_for_hashing and not policy.hash_balance_factor:
        return None
    return {
        "use_hostname_for_hashing": policy.use_hostname_for_hashing,
        "hash_balance_factor": wrapped(policy.hash_balance_factor or None),
    }


def _decode_hashing(reader: Reader) -> tuple[bool, int]:
    factor = 0
    if reader.has("hash_balance_factor"):
        factor = reader.number("hash_balance_factor", low=LEAST_BALANCE_FACTOR)
    return reader.flag("use_hostname_for_hashing"), factor


def encode_locality(locality: LocalityLb | None) -> Fields | None:
    """A ``LocalityLbConfig``, or those fields of a ``CommonLbConfig``."""
    match locality:
        case None:
            return None
        case LocalityWeighted():
            return {"locality_weighted_lb_config": {}}
        case ZoneAware():
            least = locality.force_local_zone_min_size
            zone_aware: Fields = {
                "routing_enabled": wrapped(locality.routing_enabled),
                "min_cluster_size": wrapped(locality.min_cluster_size),
                "fail_traffic_on_panic": locality.fail_traffic_on_panic,
            }
            if least is not None:
                zone_aware["force_local_zone"] = {"min_size": wrapped(least)}
            return {"zone_aware_lb_config": zone_aware}


def decode_locality(reader: Reader) -> LocalityLb | None:
    if reader.optional_child("locality_weighted_lb_config") is not None:
        return LocalityWeighted()
    zone_aware = reader.optional_child("zone_aware_lb_config")
    if zone_aware is None:
        return None
    enabled = zone_aware.percent("routing_enabled", 100.0)
    return ZoneAware(
        min_cluster_size=zone_aware.number("min_cluster_size", 6),
        routing_enabled=100.0 if enabled is None else enabled,
        fail_traffic_on_panic=zone_aware.flag("fail_traffic_on_panic"),
        force_local_zone_min_size=_decode_forced(zone_aware),
    )


def _decode_forced(zone_aware: Reader) -> int | None:
    if not zone_aware.has("force_local_zone"):
        return None
    return zone_aware.child("force_local_zone").number("min_size", 6)


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))
