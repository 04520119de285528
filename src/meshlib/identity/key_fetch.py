"""Key sets by https: only from hosts that a configuration may send us to, and never further.

Whoever writes a URI into a configuration must not be able to make a member of the mesh ask this
machine, its neighbours on the link, or the metadata service of a cloud: the addresses that a name
stands for are looked at first, and the connection is made to one of those very addresses.
"""

import asyncio
import json
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from ssl import SSLContext
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..errors import MeshError
from .jwks import MAX_SIZE, KeySet, KeySetError, parse_keys

ALLOWED_HOSTS = "MESHLIB_JWKS_ALLOWED_HOSTS"
"""Hosts, with commas between them, that may stand for any address at all."""
DISCOVERY = "/.well-known/openid-configuration"
HTTPS = 443
HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._:")

METADATA_SERVICES = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
        ),
    )
)
OF_IPV4 = (ip_network("64:ff9b::/96"), ip_network("::/96"))
"""IPv6 addresses that end in an IPv4 one."""


class FetchError(MeshError):
    """Keys that could not be had; says why."""


def allowed_hosts(environment: Mapping[str, str]) -> frozenset[str]:
    said = environment.get(ALLOWED_HOSTS, "").lower().split(",")
    return frozenset(host.strip() for host in said if host.strip())


def checked_uri(uri: str) -> SplitResult:
    """Raises :class:`FetchError` for what is no plain https URI."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise FetchError(f"{uri!r} is no URI") from None
    if parts.scheme != "https" or not parts.hostname:
        raise FetchError(f"{uri!r} does not begin with https:// and a host")
    if not HOST.issuperset(parts.hostname) or not uri.isascii() or not uri.isprintable():
        raise FetchError(f"{uri!r} can be read in two ways")
    if port == 0 or parts.username is not None or parts.fragment:
        raise FetchError(f"{uri!r} says more than where the keys are")
    return parts


def is_forbidden(address: str) -> bool:
    """Is it one of this machine, of its link, or of nobody in particular?"""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        found = _ipv4_within(found) or found
    return (
        found in METADATA_SERVICES
        or found.is_loopback
        or found.is_link_local
        or found.is_multicast
        or found.is_unspecified
        or found.is_reserved
        or (isinstance(found, IPv4Address) and found.packed[0] == 0)
    )


def _ipv4_within(address: IPv6Address) -> IPv4Address | None:
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and any(address in network for network in OF_IPV4) and int(address) > 1:
        inner = IPv4Address(address.packed[-4:])
    return inner


@dataclass(frozen=True, slots=True)
class Fetcher:
    """``context``: whom https is believed to be; ``None``: as the system has it."""

    allowed: Collection[str] = frozenset()
    context: SSLContext | None = None

    async def fetch(self, uri: str, issuer: str, timeout: float) -> KeySet:  # noqa: ASYNC109 - the configuration's
        """Raises :class:`FetchError`. ``timeout`` in seconds, for all of it."""
        try:
            async with asyncio.timeout(timeout):
                if uri.endswith(DISCOVERY):
                    uri = _discovered(await self._read(uri), uri, issuer)
                return parse_keys(await self._read(uri))
        except TimeoutError:
            raise FetchError(f"{uri} gave no answer in {timeout:g} s") from None
        except KeySetError as unusable:
            raise FetchError(f"{uri}: {unusable}") from None

    async def _read(self, uri: str) -> bytes:
        import aiohttp

        parts = checked_uri(uri)
        addresses = await self._addresses(parts)
        resolver: Any = _Known(addresses)
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                session.get(
                    uri,
                    allow_redirects=False,
                    ssl=self.context or True,
                    headers={"accept": "application/json", "accept-encoding": "identity"},
                ) as answer,
            ):
                if answer.status != 200:
                    raise FetchError(f"{uri} answered {answer.status}")
                return await _bounded(answer, uri)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchError(f"{uri}: {str(error) or type(error).__name__}") from None

    async def _addresses(self, parts: SplitResult) -> list[str]:
        """What the host stands for: all of it must be allowed, or none of it is asked."""
        host, port = parts.hostname or "", parts.port or HTTPS
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise FetchError(f"{host} cannot be resolved: {error}") from None
        addresses = [str(one[4][0]) for one in found]
        if not {host, f"{host}:{port}"} & set(self.allowed):
            for address in addresses:
                if is_forbidden(address):
                    why = f"{host} stands for {address}, which is not asked for keys"
                    raise FetchError(f"{why} unless {ALLOWED_HOSTS} names the host")
        return addresses


async def _bounded(answer: Any, uri: str) -> bytes:
    read = bytearray()
    async for piece in answer.content.iter_any():
        read += piece
        if len(read) > MAX_SIZE:
            raise FetchError(f"{uri} answered more than {MAX_SIZE} bytes")
    return bytes(read)


def _discovered(document: bytes, uri: str, issuer: str) -> str:
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        raise FetchError(f"{uri} is not JSON") from None
    if not isinstance(found, dict) or not issuer or found.get("issuer") != issuer:
        raise FetchError(f"{uri} is not the configuration of the issuer {issuer!r}")
    where = found.get("jwks_uri")
    if not isinstance(where, str):
        raise FetchError(f"{uri} does not say where the keys are")
    return where


class _Known:
    """A resolver that knows one host: nobody is asked again between the look and the connection."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._addresses = tuple(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_INET
    ) -> list[dict[str, Any]]:
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""
