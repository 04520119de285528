"""What gRPC core's own xDS client is told, so that it verifies a server by its SPIFFE id.

gRPC core compares URI names of a certificate only where xDS says which. So it is told, of each
endpoint by itself, that there is a cluster with this one endpoint and these names. The name of a
resource says all that is in it: nothing has to be kept, and nothing can be out of date.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from ..model import (
    Address,
    CircuitBreakers,
    Cluster,
    ClusterLoadAssignment,
    Eds,
    Endpoint,
    HttpConnectionManager,
    Listener,
    LocalityLbEndpoints,
    LogicalDns,
    PickFirst,
    Route,
    RouteAction,
    RouteConfiguration,
    SafeRegex,
    Thresholds,
    VirtualHost,
)
from ..model.security import (
    CertificateProviderInstance,
    CertificateValidation,
    SanMatcher,
    UpstreamTls,
)
from . import types
from .codec import Resource, encode
from .messages import DISCOVERY
from .protos import message_class

VERSION = "1"
UNBOUNDED = Thresholds(max_requests=2**32 - 1)
"""Who may call how often is decided before: gRPC core is not to count once more."""


def resource_name(address: Address, ids: Sequence[str], *, is_ip: bool, shows: bool) -> str:
    """Of the endpoint there, where one of these SPIFFE ids has to answer.

    ``shows``: the caller has a certificate of its own to show.
    """
    said = json.dumps([address.host, address.port, is_ip, shows, *ids], separators=(",", ":"))
    return urlsafe_b64encode(said.encode()).decode().rstrip("=")


class Conversation:
    """The server's side of one stream of ADS, state of the world."""

    def __init__(self, provider: str) -> None:
        """``provider`` of certificates and roots, as the bootstrap calls it."""
        self._provider = provider
        self._told: dict[str, tuple[str, ...]] = {}

    def answer(self, request: bytes) -> bytes | None:
        """``None``: it was told already. Raises :class:`ValueError` for what was not asked by
        gRPC core of this very process."""
        try:
            asked: Any = message_class(f"{DISCOVERY}.DiscoveryRequest").FromString(request)
        except DecodeError as error:
            raise ValueError(str(error)) from error
        kind, names = asked.type_url, tuple(asked.resource_names)
        if self._told.get(kind, ()) == names:
            return None
        self._told[kind] = names
        response: Any = message_class(f"{DISCOVERY}.DiscoveryResponse")(
            type_url=kind, version_info=VERSION, nonce=VERSION
        )
        response.resources.extend(encode(self._made(kind, name)) for name in names)
        encoded: bytes = response.SerializeToString(deterministic=True)
        return encoded

    def _made(self, kind: str, name: str) -> Resource:
        match kind:
            case types.LISTENER:
                return _listener(name)
            case types.CLUSTER:
                return _cluster(name, self._provider)
            case types.ENDPOINT:
                return _endpoints(name)
            case _:
                raise ValueError(f"there are no resources of type {kind!r}")


def _listener(name: str) -> Listener:
    route = Route(action=RouteAction(cluster=name, timeout=0.0))
    host = VirtualHost(name=name, domains=("*",), routes=(route,))
    routes = RouteConfiguration(name=name, virtual_hosts=(host,))
    return Listener(name=name, http=HttpConnectionManager(routes=routes))


def _cluster(name: str, provider_name: str) -> Cluster:
    _, _, is_ip, shows, *ids = _said(name)
    provider = CertificateProviderInstance(provider_name)
    matchers = tuple(SanMatcher(match=_the_very(one)) for one in ids)
    if not matchers:
        raise ValueError(f"{name}: nobody is to answer there")
    validation = CertificateValidation(roots=provider, match_subject_alt_names=matchers)
    return Cluster(
        name=name,
        discovery=Eds() if is_ip else LogicalDns(_endpoints(name)),
        lb_policy=PickFirst(),
        circuit_breakers=CircuitBreakers(default=UNBOUNDED),
        tls=UpstreamTls(validation=validation, certificate=provider if shows else None),
    )


def _the_very(spiffe_id: str) -> SafeRegex:
    """gRPC core's exact matcher is one for DNS names: it is blind to case, and knows wildcards."""
    return SafeRegex(re.escape(spiffe_id))


def _endpoints(name: str) -> ClusterLoadAssignment:
    host, port, *_ = _said(name)
    endpoint = Endpoint(address=Address(host, port))
    group = LocalityLbEndpoints(lb_endpoints=(endpoint,), load_balancing_weight=1)
    return ClusterLoadAssignment(cluster_name=name, endpoints=(group,))


def _said(name: str) -> list[Any]:
    found: list[Any] = json.loads(urlsafe_b64decode(name + "=" * (-len(name) % 4)))
    return found
