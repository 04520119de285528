"""``security.istio.io`` AuthorizationPolicy: who may do what."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from ...model.uri_template import TemplateError, parse_template
from .decode import did_you_mean
from .piece import Flaw, Piece, Text
from .selection import Targeting, no_empty

Action = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]

KEYS = frozenset(
    {"source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount"}
    | {"source.trustDomain", "request.auth.principal", "request.auth.audiences"}
    | {"request.auth.presenter", "destination.ip", "destination.port", "connection.sni"}
)
ADDRESSES = frozenset({"source.ip", "remote.ip", "destination.ip"})
_KEYED = re.compile(
    r"request\.headers\[[^\[\]]+\]|request\.auth\.claims(?:\[[^\[\]]+\])+"
    r"|experimental\.envoy\.filters\.[^\[\]]+\[[^\[\]]+\]"
)
_SEGMENT = re.compile(r"\{\*\*?\}|[^{}*]+")


class Source(Piece, frozen=True):
    """All that is said must hold; within a list, one of it."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()

    def rules(self) -> Iterator[Flaw]:
        yield from _filled(self, "a source")
        both = self.service_accounts or self.not_service_accounts
        others = self.principals or self.not_principals or self.namespaces or self.not_namespaces
        if both and others:
            said = "serviceAccounts exclude principals and namespaces"
            yield Flaw(("serviceAccounts",), said)
        for name, accounts in (
            ("serviceAccounts", self.service_accounts),
            ("notServiceAccounts", self.not_service_accounts),
        ):
            for index, account in enumerate(accounts):
                if account.count("/") > 1 or "*" in account:
                    said = f"{account!r} is not NAME or NAMESPACE/NAME"
                    yield Flaw((name, index), said)
        for name, blocks in (
            ("ipBlocks", self.ip_blocks),
            ("notIpBlocks", self.not_ip_blocks),
            ("remoteIpBlocks", self.remote_ip_blocks),
            ("notRemoteIpBlocks", self.not_remote_ip_blocks),
        ):
            yield from _blocks(blocks, name)


class From(Piece, frozen=True):
    source: Source


class Operation(Piece, frozen=True):
    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()

    def rules(self) -> Iterator[Flaw]:
        yield from _filled(self, "an operation")
        for name, ports in (("ports", self.ports), ("notPorts", self.not_ports)):
            yield from _ports(ports, name)
        for name, paths in (("paths", self.paths), ("notPaths", self.not_paths)):
            for index, path in enumerate(paths):
                yield from _template(path, name, index)


class To(Piece, frozen=True):
    operation: Operation


class Condition(Piece, frozen=True):
    key: Text
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()

    def rules(self) -> Iterator[Flaw]:
        if self.key not in KEYS and not _KEYED.fullmatch(self.key):
            hint = did_you_mean(self.key, KEYS) or "request.headers[…], request.auth.claims[…], …"
            yield Flaw(("key",), f"unknown key {self.key!r}", hint)
        if not self.values and not self.not_values:
            yield Flaw((), "at least one of values and notValues is needed")
        for name, values in (("values", self.values), ("notValues", self.not_values)):
            yield from no_empty(values, name)
            if self.key in ADDRESSES:
                yield from _blocks(values, name)
            elif self.key == "destination.port":
                yield from _ports(values, name)


class Rule(Piece, frozen=True, rename={"from_": "from"}):
    from_: tuple[From, ...] | None = None
    to: tuple[To, ...] | None = None
    when: tuple[Condition, ...] = ()

    def rules(self) -> Iterator[Flaw]:
        for name, given in (("from", self.from_), ("to", self.to)):
            if given is not None and not given:
                yield Flaw((name,), "an empty list; leave it out to mean everything")


class Provider(Piece, frozen=True):
    name: Text


class AuthorizationPolicy(Targeting, frozen=True):
    """Without rules, ALLOW lets nobody in; a rule that says nothing matches everything."""

    action: Action = "ALLOW"
    rules_: tuple[Rule, ...] = msgspec.field(default=(), name="rules")
    provider: Provider | None = None

    def rules(self) -> Iterator[Flaw]:
        yield from Targeting.rules(self)
        if self.action == "CUSTOM" and self.provider is None:
            yield Flaw((), "action CUSTOM needs provider.name")
        if self.action != "CUSTOM" and self.provider is not None:
            yield Flaw(("provider",), f"a provider is for CUSTOM, not for {self.action}")
        if self.action != "ALLOW" and not self.rules_:
            yield Flaw((), f"{self.action} without rules matches nothing", "rules: [{}] is all")


def _filled(piece: Source | Operation, what: str) -> Iterator[Flaw]:
    said = False
    for info in msgspec.structs.fields(piece):
        values: tuple[str, ...] = getattr(piece, info.name)
        said = said or bool(values)
        yield from no_empty(values, info.encode_name)
    if not said:
        yield Flaw((), f"{what} must say something")


def _ports(ports: tuple[str, ...], name: str) -> Iterator[Flaw]:
    for index, port in enumerate(ports):
        if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
            yield Flaw((name, index), f"{port!r} is not a port from 1 to 65535")


def _blocks(blocks: tuple[str, ...], name: str) -> Iterator[Flaw]:
    for index, block in enumerate(blocks):
        try:
            ipaddress.ip_network(block, strict=False)
        except ValueError:
            yield Flaw((name, index), f"{block!r} is not an IP address or CIDR block")


def _template(path: str, name: str, index: int) -> Iterator[Flaw]:
    """Braces make a template: ``{*}`` one segment, ``{**}`` any number of them, at most once."""
    if "{" not in path and "}" not in path:
        return
    segments = path.removeprefix("/").split("/")
    if not path.startswith("/") or not all(_SEGMENT.fullmatch(each) for each in segments):
        yield Flaw((name, index), f"{path!r}: only {{*}} and {{**}} stand for whole segments")
    elif segments.count("{**}") > 1 or "{*}" in segments[_after(segments, "{**}") :]:
        yield Flaw((name, index), f"{path!r}: {{**}} stands once, and no {{*}} after it")
    else:
        try:
            parse_template(path.replace("{*}", "*").replace("{**}", "**"))
        except TemplateError as refused:
            yield Flaw((name, index), f"{path!r} {refused}")


def _after(segments: list[str], segment: str) -> int:
    return segments.index(segment) + 1 if segment in segments else len(segments)
