"""How a cluster balances ⇄ :class:`LbPolicy`."""

from collections.abc import Callable

from ...model import (
    ClusterProvided,
    LbPolicy,
    LeastRequest,
    Maglev,
    Random,
    RingHash,
    RoundRobin,
)
from .wire import Fields, Reader, wrapped

EXTENSIONS = "envoy.extensions.load_balancing_policies."
PLAIN: dict[str, Callable[[], LbPolicy]] = {
    "ROUND_ROBIN": RoundRobin,
    "RANDOM": Random,
    "CLUSTER_PROVIDED": ClusterProvided,
}
PLAIN_EXTENSIONS: dict[str, Callable[[], LbPolicy]] = {
    f"{EXTENSIONS}round_robin.v3.RoundRobin": RoundRobin,
    f"{EXTENSIONS}random.v3.Random": Random,
    f"{EXTENSIONS}cluster_provided.v3.ClusterProvided": ClusterProvided,
}
MAX_RING_SIZE = 8_388_608
MAX_TABLE_SIZE = 5_000_011
MAX_DEPTH = 16


def encode_lb_policy(policy: LbPolicy) -> Fields:
    match policy:
        case RoundRobin():
            return {"lb_policy": "ROUND_ROBIN"}
        case Random():
            return {"lb_policy": "RANDOM"}
        case ClusterProvided():
            return {"lb_policy": "CLUSTER_PROVIDED"}
        case LeastRequest(choice_count=count):
            config: Fields = {"choice_count": wrapped(count)}
            return {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": config}
        case RingHash(minimum_ring_size=least, maximum_ring_size=most):
            config = {"minimum_ring_size": wrapped(least), "maximum_ring_size": wrapped(most)}
            return {"lb_policy": "RING_HASH", "ring_hash_lb_config": config}
        case Maglev(table_size=size):
            return {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": wrapped(size)}}


def decode_lb_policy(cluster: Reader) -> LbPolicy:
    """``load_balancing_policy`` takes precedence over ``lb_policy`` (gRFC A52)."""
    listed = cluster.optional_child("load_balancing_policy")
    if listed is not None:
        cluster.skip("lb_policy")
        return _decode_listed(listed, MAX_DEPTH)
    match cluster.enum("lb_policy"):
        case "LEAST_REQUEST":
            return _decode_least_request(cluster.child("least_request_lb_config"))
        case "RING_HASH":
            return _decode_ring_hash(cluster.child("ring_hash_lb_config"))
        case "MAGLEV":
            return _decode_maglev(cluster.child("maglev_lb_config"))
        case name if name in PLAIN:
            return PLAIN[name]()
        case name:
            cluster.problem(f"{name} is not supported", "lb_policy")
            return RoundRobin()


def _decode_listed(listed: Reader, depth: int) -> LbPolicy:
    """The first policy of the list that is known."""
    unknown: list[str] = []
    for policy in listed.children("policies"):
        extension = policy.child("typed_extension_config")
        name = extension.text("name")
        type_name, config = extension.extension("typed_config")
        found = _decode_extension(type_name, config, depth) if config is not None else None
        if found is not None:
            return found
        policy.drop()
        unknown.append(type_name or name)
    listed.problem(f"no known policy among [{', '.join(unknown)}]")
    return RoundRobin()


def _decode_extension(type_name: str, config: Reader, depth: int) -> LbPolicy | None:
    if type_name in PLAIN_EXTENSIONS:
        return PLAIN_EXTENSIONS[type_name]()
    match type_name.removeprefix(EXTENSIONS):
        case "least_request.v3.LeastRequest":
            return _decode_least_request(config)
        case "ring_hash.v3.RingHash":
            return _decode_ring_hash(config)
        case "maglev.v3.Maglev":
            return _decode_maglev(config)
        case "wrr_locality.v3.WrrLocality" if depth:
            return _decode_listed(config.child("endpoint_picking_policy"), depth - 1)
    return None


def _decode_least_request(config: Reader) -> LeastRequest:
    return LeastRequest(choice_count=config.number("choice_count", 2, low=2))


def _decode_ring_hash(config: Reader) -> RingHash:
    if config.enum("hash_function") == "MURMUR_HASH_2":
        config.problem("only XX_HASH is supported", "hash_function")
    most = config.number("maximum_ring_size", MAX_RING_SIZE, low=1, high=MAX_RING_SIZE)
    least = config.number("minimum_ring_size", min(1024, most), low=1, high=MAX_RING_SIZE)
    if least > most:
        config.problem("must not be more than maximum_ring_size", "minimum_ring_size")
    return RingHash(minimum_ring_size=least, maximum_ring_size=most)


def _decode_maglev(config: Reader) -> Maglev:
    size = config.number("table_size", 65537, low=2, high=MAX_TABLE_SIZE)
    if 2 <= size <= MAX_TABLE_SIZE and not _is_prime(size):
        config.problem(f"must be a prime number, is {size}", "table_size")
    return Maglev(table_size=size)


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))
