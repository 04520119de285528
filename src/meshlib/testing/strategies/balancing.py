"""Hypothesis strategies for how a cluster balances."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    ClientSideWeightedRoundRobin,
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
    SlowStart,
    Subsettable,
    ZoneAware,
)

from .basics import NAME, POSITIVE, PRIMES, UINT32, optional, seconds, some

UINT64 = st.integers(0, 2**64 - 1)
BALANCE_FACTOR = st.just(0) | st.integers(100, 2**32 - 1)


def slow_starts() -> SearchStrategy[SlowStart]:
    return st.builds(
        SlowStart,
        slow_start_window=POSITIVE,
        aggression=st.floats(0, 1e6, exclude_min=True),
        min_weight_percent=st.floats(0, 100),
    )


def least_requests() -> SearchStrategy[LeastRequest]:
    return st.builds(
        LeastRequest,
        choice_count=st.integers(2, 2**32 - 1),
        active_request_bias=st.floats(0, 1e6),
        slow_start=optional(slow_starts()),
        full_scan=st.booleans(),
    )


@st.composite
def ring_hashes(draw: st.DrawFn) -> RingHash:
    most = draw(st.integers(1, 8_388_608))
    return RingHash(
        minimum_ring_size=draw(st.integers(1, most)),
        maximum_ring_size=most,
        hash_function=draw(st.sampled_from(["xx_hash", "murmur_hash_2"])),
        use_hostname_for_hashing=draw(st.booleans()),
        hash_balance_factor=draw(BALANCE_FACTOR),
    )


def maglevs() -> SearchStrategy[Maglev]:
    return st.builds(
        Maglev,
        table_size=PRIMES,
        use_hostname_for_hashing=st.booleans(),
        hash_balance_factor=BALANCE_FACTOR,
    )


def client_side_weighted() -> SearchStrategy[ClientSideWeightedRoundRobin]:
    return st.builds(
        ClientSideWeightedRoundRobin,
        enable_oob_load_report=st.booleans(),
        oob_reporting_period=seconds(),
        blackout_period=seconds(),
        weight_expiration_period=seconds(),
        weight_update_period=seconds(),
        error_utilization_penalty=st.floats(0, 1e6, width=32),
        metric_names_for_computing_utilization=some(NAME),
    )


def subsettables() -> SearchStrategy[Subsettable]:
    return st.one_of(
        st.builds(RoundRobin, slow_start=optional(slow_starts())),
        least_requests(),
        st.builds(Random),
        st.builds(PickFirst, shuffle_address_list=st.booleans()),
        client_side_weighted(),
    )


def lb_policies() -> SearchStrategy[LbPolicy]:
    subset = st.builds(
        RandomSubsetting, subset_size=st.integers(1, 2**32 - 1), child_policy=subsettables()
    )
    return st.one_of(subsettables(), ring_hashes(), maglevs(), subset)


def zone_awares(*, forced: bool = False) -> SearchStrategy[ZoneAware]:
    """``forced``: with ``force_local_zone_min_size``, which not every balancer can say."""
    return st.builds(
        ZoneAware,
        min_cluster_size=UINT64,
        routing_enabled=st.floats(0, 100),
        fail_traffic_on_panic=st.booleans(),
        force_local_zone_min_size=UINT32 if forced else st.none(),
    )


def locality_lbs() -> SearchStrategy[LocalityLb | None]:
    return st.none() | st.builds(LocalityWeighted) | zone_awares()
