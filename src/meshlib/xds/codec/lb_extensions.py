"""``load_balancing_policy``: balancers as extensions, each with what it does about localities."""

from ...model import (
    ClientSideWeightedRoundRobin,
    ClusterProvided,
    LbPolicy,
    LeastRequest,
    LocalityLb,
    LocalityWeighted,
    Maglev,
    PickFirst,
    Random,
    RandomSubsetting,
    RingHash,
    RoundRobin,
    Subsettable,
    ZoneAware,
)
from .lb_parts import (
    decode_least_request,
    decode_locality,
    decode_maglev,
    decode_ring_hash,
    decode_slow_start,
    encode_bias,
    encode_locality,
    encode_slow_start,
)
from .wire import Fields, Reader, duration, packed, wrapped

Balance = tuple[LbPolicy, LocalityLb | None]

EXTENSIONS = "envoy.extensions.load_balancing_policies."
NAMES: dict[type[LbPolicy], tuple[str, str]] = {
    RoundRobin: ("round_robin", "RoundRobin"),
    LeastRequest: ("least_request", "LeastRequest"),
    Random: ("random", "Random"),
    PickFirst: ("pick_first", "PickFirst"),
    RingHash: ("ring_hash", "RingHash"),
    Maglev: ("maglev", "Maglev"),
    ClientSideWeightedRoundRobin: (
        "client_side_weighted_round_robin",
        "ClientSideWeightedRoundRobin",
    ),
    RandomSubsetting: ("random_subsetting", "RandomSubsetting"),
    ClusterProvided: ("cluster_provided", "ClusterProvided"),
}
TYPES = {f"{EXTENSIONS}{name}.v3.{kind}": policy for policy, (name, kind) in NAMES.items()}
WRR_LOCALITY = f"{EXTENSIONS}wrr_locality.v3.WrrLocality"
PERIODS = (
    "oob_reporting_period",
    "blackout_period",
    "weight_expiration_period",
    "weight_update_period",
)
MAX_DEPTH = 16
UNKNOWN: Balance = (RoundRobin(), None)


def holds(policy: LbPolicy, locality: LocalityLb | None) -> bool:
    """Whether the extension itself (or one around it) can say this of localities."""
    if isinstance(policy, RandomSubsetting):
        return holds(policy.child_policy, locality)
    if isinstance(policy, RoundRobin | LeastRequest | Random):
        return True
    return isinstance(locality, LocalityWeighted)


def encode_listed(policy: LbPolicy, locality: LocalityLb | None) -> Fields:
    """A ``LoadBalancingPolicy``."""
    name, kind = NAMES[type(policy)]
    if isinstance(policy, PickFirst | ClientSideWeightedRoundRobin) and locality is not None:
        inner = encode_listed(policy, None)
        return _listed("wrr_locality", WRR_LOCALITY, {"endpoint_picking_policy": inner})
    return _listed(name, f"{EXTENSIONS}{name}.v3.{kind}", _encode_config(policy, locality))


def _listed(name: str, type_name: str, config: Fields) -> Fields:
    extension = {
        "name": f"envoy.load_balancing_policies.{name}",
        "typed_config": packed(type_name, config),
    }
    return {"policies": [{"typed_extension_config": extension}]}


def _encode_config(policy: LbPolicy, locality: LocalityLb | None) -> Fields:
    around = {"locality_lb_config": encode_locality(locality)}
    match policy:
        case RoundRobin(slow_start=slow_start):
            return {**around, "slow_start_config": encode_slow_start(slow_start)}
        case Random():
            return around
        case LeastRequest():
            return {
                **around,
                "choice_count": wrapped(policy.choice_count),
                "active_request_bias": encode_bias(policy),
                "slow_start_config": encode_slow_start(policy.slow_start),
                "selection_method": "FULL_SCAN" if policy.full_scan else "N_CHOICES",
            }
        case PickFirst(shuffle_address_list=shuffle):
            return {"shuffle_address_list": shuffle}
        case ClientSideWeightedRoundRobin():
            return _encode_client_side_weighted(policy)
        case RandomSubsetting(subset_size=size, child_policy=child):
            return {"subset_size": wrapped(size), "child_policy": encode_listed(child, locality)}
        case RingHash() | Maglev() | ClusterProvided():  # whose names say all that there is to say
            return {}


def _encode_client_side_weighted(policy: ClientSideWeightedRoundRobin) -> Fields:
    return {
        "enable_oob_load_report": wrapped(policy.enable_oob_load_report),
        **{period: duration(getattr(policy, period)) for period in PERIODS},
        "error_utilization_penalty": wrapped(policy.error_utilization_penalty),
        "metric_names_for_computing_utilization": policy.metric_names_for_computing_utilization,
    }


def decode_listed(listed: Reader, depth: int = MAX_DEPTH) -> Balance:
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
    return UNKNOWN


def _decode_extension(type_name: str, config: Reader, depth: int) -> Balance | None:
    if type_name == WRR_LOCALITY and depth:
        policy, _ = decode_listed(config.child("endpoint_picking_policy"), depth - 1)
        return policy, LocalityWeighted()
    kind = TYPES.get(type_name)
    if kind is None:
        return None
    if kind is RandomSubsetting:
        return _decode_random_subsetting(config, depth)
    if kind is RingHash or kind is Maglev:
        weighted = config.optional_child("locality_weighted_lb_config") is not None
        policy = decode_ring_hash(config) if kind is RingHash else decode_maglev(config)
        return policy, LocalityWeighted() if weighted else None
    locality = None
    if kind in (RoundRobin, LeastRequest, Random):
        locality = decode_locality(config.child("locality_lb_config"))
    return _decode_plain(kind, config), locality


def _decode_plain(kind: type[LbPolicy], config: Reader) -> LbPolicy:
    if kind is RoundRobin:
        return RoundRobin(slow_start=decode_slow_start(config))
    if kind is LeastRequest:
        return decode_least_request(config)
    if kind is PickFirst:
        return PickFirst(shuffle_address_list=config.flag("shuffle_address_list"))
    if kind is ClientSideWeightedRoundRobin:
        return _decode_client_side_weighted(config)
    return Random() if kind is Random else ClusterProvided()


def _decode_random_subsetting(config: Reader, depth: int) -> Balance | None:
    if not depth:
        return None
    size = config.number("subset_size", low=1)
    child, locality = decode_listed(config.child("child_policy"), depth - 1)
    if isinstance(child, Subsettable):
        return RandomSubsetting(subset_size=size, child_policy=child), locality
    config.problem(f"{type(child).__name__} cannot balance a subset", "child_policy")
    return UNKNOWN


def _decode_client_side_weighted(config: Reader) -> ClientSideWeightedRoundRobin:
    default = ClientSideWeightedRoundRobin()
    out_of_band = config.flag("enable_oob_load_report")
    if out_of_band:  # reports come with the answers, and in no other way
        config.drop("enable_oob_load_report")
    penalty = config.real("error_utilization_penalty", default.error_utilization_penalty)
    if not 0 <= penalty < float("inf"):
        config.problem(f"must be at least 0, is {penalty}", "error_utilization_penalty")
    return ClientSideWeightedRoundRobin(
        enable_oob_load_report=out_of_band,
        error_utilization_penalty=penalty,
        metric_names_for_computing_utilization=config.texts(
            "metric_names_for_computing_utilization"
        ),
        **{period: config.seconds(period, getattr(default, period)) for period in PERIODS},
    )


def is_extension_only(policy: LbPolicy, locality: LocalityLb | None) -> bool:
    """Whether ``lb_policy`` and ``common_lb_config`` cannot say it."""
    if isinstance(locality, ZoneAware) and locality.force_local_zone_min_size is not None:
        return True
    if isinstance(policy, LeastRequest):
        return policy.full_scan
    return isinstance(policy, PickFirst | ClientSideWeightedRoundRobin | RandomSubsetting)
