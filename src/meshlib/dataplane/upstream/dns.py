"""Clusters whose endpoints are whatever their names stand for (STRICT_DNS)."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ...model import Address, ClusterLoadAssignment, Endpoint

Addresses = Mapping[str, Collection[str]]
"""What each name was last resolved to."""


def names_of(assignment: ClusterLoadAssignment) -> frozenset[str]:
    """The hosts that the endpoints are configured with, be they names or addresses."""
    return frozenset(
        endpoint.address.host
        for locality in assignment.endpoints
        for endpoint in locality.lb_endpoints
    )


def resolved(assignment: ClusterLoadAssignment, addresses: Addresses) -> ClusterLoadAssignment:
    """An endpoint for each address; a name that is not known yet stays one endpoint."""
    if not addresses:
        return assignment
    return replace(
        assignment,
        endpoints=tuple(
            replace(
                locality,
                lb_endpoints=tuple(
                    one
                    for endpoint in locality.lb_endpoints
                    for one in _each(endpoint, addresses.get(endpoint.address.host, ()))
                ),
            )
            for locality in assignment.endpoints
        ),
    )


def _each(endpoint: Endpoint, addresses: Collection[str]) -> list[Endpoint]:
    """Known by the name that was configured, as far as it says none itself."""
    name, port = endpoint.address.host, endpoint.address.port
    if tuple(addresses) in ((), (name,)):
        return [endpoint]
    return [
        replace(endpoint, address=Address(address, port), hostname=endpoint.hostname or name)
        for address in addresses
    ]
