"""Where a connection begins and ends, and ranges of addresses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from ...model.rbac import CidrRange

MAPPED_BITS = 96
"""Of ``::ffff:0:0/96``, where the addresses of IPv4 are within those of IPv6."""


@dataclass(frozen=True, slots=True)
class Place:
    """``version`` 0: no address is known. ``port`` is ``None`` where none is known."""

    version: int = 0
    number: int = 0
    port: int | None = None


NOWHERE = Place()


@lru_cache(maxsize=4096)
def place_of(address: str) -> Place:
    """``ip:port``, ``[ip]:port`` or, of an unknown address, ``:port`` read; else it is nowhere."""
    host, _, port = address.rpartition(":")
    known = port.isascii() and port.isdigit() and len(port) <= 5
    if not host:
        return Place(port=int(port)) if known and address[:1] == ":" else NOWHERE
    try:
        ip = _plain(ip_address(host.removeprefix("[").removesuffix("]").partition("%")[0]))
    except ValueError:
        return NOWHERE
    return Place(ip.version, int(ip), int(port) if known else None)


def _plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Sockets for both versions have callers by IPv4 as IPv6 mapped."""
    return getattr(ip, "ipv4_mapped", None) or ip


def range_test(range_: CidrRange) -> Callable[[Place], bool]:
    """Is an address, which must be known, of the range? Raises :class:`ValueError`."""
    network = ip_network((range_.address_prefix, range_.prefix_len), strict=False)
    first, version = network.network_address, network.version
    shift, plain = network.max_prefixlen - range_.prefix_len, _plain(first)
    if plain is not first and range_.prefix_len >= MAPPED_BITS:
        first, version = plain, 4
    wanted = int(first) >> shift
    return lambda place: place.version == version and place.number >> shift == wanted
