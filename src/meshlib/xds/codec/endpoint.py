"""``ClusterLoadAssignment`` ⇄ :class:`ClusterLoadAssignment`."""

from collections.abc import Iterable

from ...model import (
    Address,
    ClusterLoadAssignment,
    DropOverload,
    Endpoint,
    HealthStatus,
    Locality,
    LocalityLbEndpoints,
)
from .matcher import decode_fraction, encode_fraction
from .metadata import decode_metadata, encode_metadata
from .plain import is_ip, shared_endpoint
from .wire import UINT32_MAX, Fields, Reader, wrapped

MAX_PRIORITY = 128


def encode_load_assignment(assignment: ClusterLoadAssignment) -> Fields:
    return {
        "cluster_name": assignment.cluster_name,
        "endpoints": [_encode_locality(group) for group in assignment.endpoints],
        "policy": {
            "overprovisioning_factor": wrapped(assignment.overprovisioning_factor),
            "drop_overloads": [_encode_drop(drop) for drop in assignment.drop_overloads],
        },
    }


def decode_load_assignment(reader: Reader, *, dns: bool = False) -> ClusterLoadAssignment:
    """With ``dns``, hosts may be names; else they are IP addresses."""
    groups = reader.children("endpoints")
    policy = reader.child("policy")
    assignment = ClusterLoadAssignment(
        cluster_name=reader.text("cluster_name", required=True),
        endpoints=tuple(_decode_locality(group, dns=dns) for group in groups),
        overprovisioning_factor=policy.number("overprovisioning_factor", 140, low=1),
        drop_overloads=tuple(_decode_drop(drop) for drop in policy.children("drop_overloads")),
    )
    _check_priorities(reader, assignment.endpoints)
    _check_addresses(reader, assignment.endpoints)
    return assignment


def _check_priorities(reader: Reader, groups: Iterable[LocalityLbEndpoints]) -> None:
    """No gaps, no locality twice in a priority, weights within 32 bits (gRFC A27)."""
    weights: dict[int, int] = {}
    seen: set[tuple[int, Locality]] = set()
    for group in groups:
        key = (group.priority, group.locality)
        if key in seen:
            reader.problem(f"duplicate {group.locality}, priority {group.priority}", "endpoints")
        seen.add(key)
        weight = group.load_balancing_weight or 0
        weights[group.priority] = weights.get(group.priority, 0) + weight
    if any(total > UINT32_MAX for total in weights.values()):
        reader.problem(f"locality weights of a priority sum to over {UINT32_MAX}", "endpoints")
    missing = sorted(set(range(len(weights))) - weights.keys())
    if missing:
        reader.problem(f"no locality has priority {missing[0]}", "endpoints")


def _check_addresses(reader: Reader, groups: Iterable[LocalityLbEndpoints]) -> None:
    seen: set[Address] = set()
    for group in groups:
        for endpoint in group.lb_endpoints:
            if endpoint.address in seen:
                reader.problem(f"duplicate address {endpoint.address}", "endpoints")
            seen.add(endpoint.address)


def _encode_locality(group: LocalityLbEndpoints) -> Fields:
    locality = group.locality
    return {
        "locality": {
            "region": locality.region,
            "zone": locality.zone,
            "sub_zone": locality.sub_zone,
        },
        "lb_endpoints": [_encode_endpoint(endpoint) for endpoint in group.lb_endpoints],
        "load_balancing_weight": wrapped(group.load_balancing_weight),
        "priority": group.priority,
    }


def _decode_locality(reader: Reader, *, dns: bool) -> LocalityLbEndpoints:
    locality = reader.child("locality")
    endpoints = tuple(
        shared_endpoint(message, dns=dns)
        or _decode_endpoint(reader.item("lb_endpoints", index, message), dns=dns)
        for index, message in enumerate(reader.messages("lb_endpoints"))
    )
    if sum(endpoint.load_balancing_weight for endpoint in endpoints) > UINT32_MAX:
        reader.problem(f"weights sum to over {UINT32_MAX}", "lb_endpoints")
    return LocalityLbEndpoints(
        locality=Locality(
            locality.text("region"), locality.text("zone"), locality.text("sub_zone")
        ),
        lb_endpoints=endpoints,
        load_balancing_weight=reader.optional_number("load_balancing_weight", low=1),
        priority=reader.number("priority", high=MAX_PRIORITY),
    )


def _encode_endpoint(endpoint: Endpoint) -> Fields:
    weight = endpoint.load_balancing_weight
    return {
        "endpoint": {
            "address": encode_address(endpoint.address),
            "hostname": endpoint.hostname,
            "health_check_config": _encode_health_check_config(endpoint),
        },
        "health_status": endpoint.health_status.value,
        "load_balancing_weight": wrapped(weight) if weight != 1 else None,
        "metadata": encode_metadata(endpoint.metadata),
    }


def _encode_health_check_config(endpoint: Endpoint) -> Fields | None:
    if not endpoint.health_check_port and not endpoint.disable_active_health_check:
        return None
    return {
        "port_value": endpoint.health_check_port,
        "disable_active_health_check": endpoint.disable_active_health_check,
    }


def _decode_endpoint(reader: Reader, *, dns: bool) -> Endpoint:
    host = reader.child("endpoint")
    checked = host.child("health_check_config")
    return Endpoint(
        address=decode_address(host, dns=dns),
        hostname=host.text("hostname"),
        health_status=HealthStatus(reader.enum("health_status")),
        load_balancing_weight=reader.number("load_balancing_weight", 1, low=1),
        metadata=decode_metadata(reader),
        health_check_port=checked.number("port_value", high=65535),
        disable_active_health_check=checked.flag("disable_active_health_check"),
    )


def encode_address(address: Address) -> Fields:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def decode_address(holder: Reader, *, dns: bool = False, low_port: int = 1) -> Address:
    address = holder.child("address")
    if not address.has("socket_address"):
        address.refuse("pipe", "envoy_internal_address", otherwise="must be set")
        return Address("", 0)
    tcp = address.child("socket_address")
    if tcp.enum("protocol") != "TCP":
        tcp.problem("must be TCP", "protocol")
    host = tcp.text("address", required=True)
    if host and not dns and not is_ip(host):
        tcp.problem(f"{host!r} is not an IP address", "address")
    return Address(host, tcp.number("port_value", low=low_port, high=65535))


def _encode_drop(drop: DropOverload) -> Fields:
    percentage = encode_fraction(drop.numerator, drop.denominator)
    return {"category": drop.category, "drop_percentage": percentage}


def _decode_drop(reader: Reader) -> DropOverload:
    category = reader.text("category", required=True)
    numerator, denominator = decode_fraction(reader.child("drop_percentage"))
    return DropOverload(category=category, numerator=numerator, denominator=denominator)
