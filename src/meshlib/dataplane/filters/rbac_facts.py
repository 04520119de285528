"""What rules of access control ask of a request, and nothing else that they go by."""

from collections.abc import Callable, Hashable, Iterable, Iterator

from ...model.rbac import (
    AndRules,
    AnyRule,
    Authenticated,
    DestinationIp,
    DestinationPort,
    DestinationPortRange,
    DirectRemoteIp,
    HeaderRule,
    MetadataRule,
    NotRule,
    OrRules,
    RbacRules,
    RemoteIp,
    RequestedServerName,
    Rule,
    UriTemplate,
    UrlPath,
)
from ..message import Request
from ..routing.matchers import path_of

Fact = Callable[[Request], Hashable]
Values = Callable[[Request], tuple[str, ...]]


def authority(request: Request) -> tuple[str, ...]:
    return (request.authority or request.target,)


PSEUDO: dict[str, Values] = {
    ":method": lambda request: (request.method,),
    ":path": lambda request: (request.path,),
    ":scheme": lambda request: (request.scheme,),
    ":authority": authority,
    "host": authority,
}


def values_of(name: str) -> Values:
    """Each value of a header (name in lower case); of a pseudo-header the one that it has."""
    pseudo = PSEUDO.get(name)
    if pseudo is not None:
        return pseudo
    return lambda request: tuple([value for key, value in request.headers if key == name])


def path(request: Request) -> str:
    return path_of(request.path)


def is_grpc(request: Request) -> bool:
    return request.is_grpc


def source(request: Request) -> str:
    return request.source


def remote(request: Request) -> str:
    """Who calls, or whom a gateway calls for."""
    return request.remote or request.source


def local_address(request: Request) -> str:
    return request.connection.local_address


def server_name(request: Request) -> str:
    return request.connection.server_name


def names(request: Request) -> Hashable:
    peer = request.connection.peer
    return peer.secure, peer.uri_sans, peer.dns_sans, peer.subject


FACTS: dict[type[Rule], Fact] = {
    Authenticated: names,
    DestinationIp: local_address,
    DestinationPort: local_address,
    DestinationPortRange: local_address,
    DirectRemoteIp: source,
    RemoteIp: remote,
    RequestedServerName: server_name,
    UriTemplate: path,
    UrlPath: path,
}


def facts_of(rules: RbacRules) -> tuple[Fact, ...] | None:
    """Requests of which these are alike are judged alike; ``None``: too much is asked for."""
    sides = [side for each in rules.policies for side in (each.permissions, each.principals)]
    asked = {rule for side in sides for rule in _leaves(side)}
    if any(isinstance(rule, MetadataRule) for rule in asked):
        return None
    headers = {rule.header.name.lower() for rule in asked if isinstance(rule, HeaderRule)}
    facts: set[Fact] = {FACTS[type(rule)] for rule in asked if not isinstance(rule, HeaderRule)}
    if headers:
        facts.add(is_grpc)
    return (*facts, *(values_of(name) for name in sorted(headers)))


def _leaves(rules: Iterable[Rule]) -> Iterator[Rule]:
    for rule in rules:
        match rule:
            case AndRules(members) | OrRules(members):
                yield from _leaves(members)
            case NotRule(inner):
                yield from _leaves((inner,))
            case AnyRule():
                pass
            case _:
                yield rule
