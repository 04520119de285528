"""``loadBalancer`` → what a cluster balances by, and what routes make hashes of."""

from collections.abc import Iterable

from ... import model
from ..manifests.load_balancer import ConsistentHashLB, LoadBalancerSettings
from .policies import ClusterPolicy

MINIMUM_PERCENT = 10.0
AGGRESSION = 1.0


def lb_policy(policy: ClusterPolicy) -> model.LbPolicy:
    """Round robin unless said otherwise, as Istio gives to clients without a proxy."""
    said = policy.load_balancer or LoadBalancerSettings()
    if said.consistent_hash is not None:
        return _by_hash(said.consistent_hash)
    match said.simple:
        case "LEAST_REQUEST" | "LEAST_CONN":
            return model.LeastRequest(slow_start=slow_start(said))
        case "RANDOM":
            return model.Random()
        case "PASSTHROUGH":
            return model.ClusterProvided()
        case _:
            return model.RoundRobin(slow_start=slow_start(said))


def is_passthrough(policy: ClusterPolicy) -> bool:
    return policy.load_balancer is not None and policy.load_balancer.simple == "PASSTHROUGH"


def slow_start(said: LoadBalancerSettings) -> model.SlowStart | None:
    warmup = said.warmup
    if warmup is None:
        window = said.warmup_duration_secs
        return model.SlowStart(slow_start_window=window) if window else None
    least = warmup.minimum_percent
    return model.SlowStart(
        slow_start_window=warmup.duration,
        aggression=warmup.aggression or AGGRESSION,
        min_weight_percent=MINIMUM_PERCENT if least is None else least,
    )


def _by_hash(said: ConsistentHashLB) -> model.RingHash | model.Maglev:
    if said.maglev is not None:
        size = said.maglev.table_size
        return model.Maglev(table_size=size) if size else model.Maglev()
    size = said.ring_hash.minimum_ring_size if said.ring_hash else said.minimum_ring_size
    return model.RingHash(minimum_ring_size=size) if size else model.RingHash()


def hash_policies(policies: Iterable[ClusterPolicy]) -> tuple[model.HashPolicy, ...]:
    """What the destinations of a route are chosen by, each said once."""
    made: dict[model.HashPolicy, None] = {}
    for policy in policies:
        said = policy.load_balancer.consistent_hash if policy.load_balancer else None
        found = _hash_policy(said) if said is not None else None
        if found is not None:
            made[found] = None
    return tuple(made)


def _hash_policy(said: ConsistentHashLB) -> model.HashPolicy | None:
    cookie = said.http_cookie
    if said.http_header_name:
        return model.HashHeader(header_name=said.http_header_name.lower())
    if cookie is not None:
        return model.HashCookie(
            name=cookie.name,
            ttl=cookie.ttl,
            path=cookie.path,
            attributes=tuple((each.name, each.value) for each in cookie.attributes),
        )
    if said.use_source_ip:
        return model.HashSourceIp()
    if said.http_query_parameter_name:
        return model.HashQueryParameter(name=said.http_query_parameter_name)
    return None
