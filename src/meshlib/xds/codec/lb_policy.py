"""How a cluster balances: its policy, its localities, its panic threshold."""

from ...errors import ConfigError, Problem
from ...model import (
    ClusterProvided,
    LbPolicy,
    LeastRequest,
    LocalityLb,
    Maglev,
    Random,
    RingHash,
    RoundRobin,
    ZoneAware,
)
from .lb_extensions import decode_listed, encode_listed, holds, is_extension_only
from .lb_parts import (
    decode_least_request,
    decode_locality,
    decode_maglev,
    decode_ring_hash,
    decode_slow_start,
    encode_bias,
    encode_hashing,
    encode_locality,
    encode_slow_start,
)
from .wire import Fields, Reader, wrapped


def encode_balance(policy: LbPolicy, locality: LocalityLb | None, panic: float | None) -> Fields:
    """The fields of a cluster: as an extension only where nothing else says it."""
    common: Fields = {"healthy_panic_threshold": wrapped(panic)}
    if is_extension_only(policy, locality):
        _check_zone_aware(policy, locality)
        inside = locality if holds(policy, locality) else None
        outside = None if inside is not None else encode_locality(locality)
        listed = {"load_balancing_policy": encode_listed(policy, inside)}
        return {**listed, **_common({**common, **(outside or {})})}
    common |= encode_locality(locality) or {}
    if isinstance(policy, RingHash | Maglev):
        common["consistent_hashing_lb_config"] = encode_hashing(policy)
    return {**_encode_named(policy), **_common(common)}


def _check_zone_aware(policy: LbPolicy, locality: LocalityLb | None) -> None:
    forced = isinstance(locality, ZoneAware) and locality.force_local_zone_min_size is not None
    if forced and not holds(policy, locality):
        said = f"{type(policy).__name__} cannot be said together with force_local_zone_min_size"
        raise ConfigError(Problem("locality_lb", said))


def _common(fields: Fields) -> Fields:
    said = {name: value for name, value in fields.items() if value is not None}
    return {"common_lb_config": said} if said else {}


def decode_balance(cluster: Reader) -> tuple[LbPolicy, LocalityLb | None, float | None]:
    """``load_balancing_policy`` takes precedence over ``lb_policy`` (gRFC A52)."""
    common = cluster.child("common_lb_config")
    panic = common.percent("healthy_panic_threshold")
    outside = decode_locality(common)
    listed = cluster.optional_child("load_balancing_policy")
    if listed is not None:
        cluster.skip("lb_policy")
        policy, inside = decode_listed(listed)
        return policy, inside or outside, panic
    return _decode_named(cluster, common), outside, panic


def _encode_named(policy: LbPolicy) -> Fields:
    match policy:
        case RoundRobin(slow_start=slow_start):
            start = encode_slow_start(slow_start)
            config: Fields | None = start and {"slow_start_config": start}
            return {"lb_policy": "ROUND_ROBIN", "round_robin_lb_config": config}
        case Random():
            return {"lb_policy": "RANDOM"}
        case LeastRequest(choice_count=count, slow_start=slow_start):
            config = {
                "choice_count": wrapped(count),
                "active_request_bias": encode_bias(policy),
                "slow_start_config": encode_slow_start(slow_start),
            }
            return {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": config}
        case RingHash(minimum_ring_size=least, maximum_ring_size=most):
            config = {
                "minimum_ring_size": wrapped(least),
                "maximum_ring_size": wrapped(most),
                "hash_function": policy.hash_function.upper(),
            }
            return {"lb_policy": "RING_HASH", "ring_hash_lb_config": config}
        case Maglev(table_size=size):
            return {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": wrapped(size)}}
        case _:
            return {"lb_policy": "CLUSTER_PROVIDED"}


def _decode_named(cluster: Reader, common: Reader) -> LbPolicy:
    hashing = "consistent_hashing_lb_config"
    match cluster.enum("lb_policy"):
        case "ROUND_ROBIN":
            return RoundRobin(slow_start=decode_slow_start(cluster.child("round_robin_lb_config")))
        case "RANDOM":
            return Random()
        case "CLUSTER_PROVIDED":
            return ClusterProvided()
        case "LEAST_REQUEST":
            return decode_least_request(cluster.child("least_request_lb_config"))
        case "RING_HASH":
            return decode_ring_hash(cluster.child("ring_hash_lb_config"), common.child(hashing))
        case "MAGLEV":
            return decode_maglev(cluster.child("maglev_lb_config"), common.child(hashing))
        case name:
            cluster.problem(f"{name} is not supported", "lb_policy")
            return RoundRobin()
