"""``networking.istio.io`` VirtualService."""

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from ...model.format import FormatError, is_header_name, parse_format
from ...xds.regex import why_no_substitution
from .finding import REGEX, UNSUPPORTED
from .http_match import HTTPMatchRequest, StringMatch
from .http_policies import (
    CorsPolicy,
    Destination,
    HTTPFaultInjection,
    HTTPMirrorPolicy,
    HTTPRetry,
    Percentage,
)
from .piece import Duration, Flaw, Percent, Piece, Port, Regex, Text

__all__ = ["Destination", "HTTPMatchRequest", "HTTPRetry", "StringMatch", "VirtualService"]

MOST = 4294967295
Weight = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
MESH = "mesh"
AUTHORITY = frozenset({":authority", "host"})
PREFIX = "%PREFIX()%"


class HeaderOperations(Piece, frozen=True):
    set: dict[str, str] = msgspec.field(default_factory=dict)
    add: dict[str, str] = msgspec.field(default_factory=dict)
    remove: tuple[str, ...] = ()

    def rules(self) -> Iterator[Flaw]:
        for field, names in (("set", self.set), ("add", self.add), ("remove", self.remove)):
            for name in names:
                if name.startswith(":") and name != ":authority":
                    yield Flaw((field,), f"{name!r} cannot be changed")
                elif not is_header_name(name):
                    yield Flaw((field,), f"{name!r} is no name of a header")
        for field, values in (("set", self.set), ("add", self.add)):
            for name, value in values.items():
                try:
                    parts = parse_format(value)
                except FormatError as refused:
                    hint = "a percent sign is written %%"
                    yield Flaw((field, name), str(refused), hint, UNSUPPORTED)
                    continue
                if name.lower() in AUTHORITY and not all(isinstance(part, str) for part in parts):
                    yield Flaw((field, name), f"{name!r} takes a plain text, no %…%")


class Headers(Piece, frozen=True):
    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


class HTTPRouteDestination(Piece, frozen=True):
    destination: Destination
    weight: Weight | None = None
    headers: Headers = Headers()


class RegexRewrite(Piece, frozen=True):
    match: Regex
    rewrite: str = ""

    def rules(self) -> Iterator[Flaw]:
        why = why_no_substitution(self.rewrite, self.match)
        if why:
            yield Flaw(("rewrite",), why, code=REGEX)


class HTTPRewrite(Piece, frozen=True):
    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None

    def rules(self) -> Iterator[Flaw]:
        if self.uri and self.uri_regex_rewrite is not None:
            yield Flaw((), "uri and uriRegexRewrite exclude each other")


class HTTPRedirect(Piece, frozen=True):
    uri: str = ""
    authority: str = ""
    port: Port | None = None
    scheme: str = ""
    derive_port: Literal["", "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] = ""
    redirect_code: int = 301

    def rules(self) -> Iterator[Flaw]:
        if self.redirect_code not in (301, 302, 303, 307, 308):
            yield Flaw(("redirectCode",), f"{self.redirect_code} is not a redirect's status")
        if self.port is not None and self.derive_port:
            yield Flaw((), "port and derivePort exclude each other")
        if PREFIX in self.uri[1:]:
            yield Flaw(("uri",), f"{PREFIX} may only stand first")


class HTTPBody(Piece, frozen=True):
    string: str | None = None
    encoded: str | None = msgspec.field(default=None, name="bytes")

    @property
    def content(self) -> bytes:
        if self.encoded is not None:
            return base64.b64decode(self.encoded)
        return (self.string or "").encode()

    def rules(self) -> Iterator[Flaw]:
        if self.string is not None and self.encoded is not None:
            yield Flaw((), "string and bytes exclude each other")
        try:
            base64.b64decode(self.encoded or "", validate=True)
        except binascii.Error:
            yield Flaw(("bytes",), "bytes is not base64")


class HTTPDirectResponse(Piece, frozen=True):
    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    body: HTTPBody | None = None


class Delegate(Piece, frozen=True):
    name: Text
    namespace: str = ""


class HTTPRoute(Piece, frozen=True):
    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirror_percentage: Percentage | None = None
    mirror_percent: Percent | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None

    def rules(self) -> Iterator[Flaw]:
        ends = {
            "route": bool(self.route),
            "redirect": self.redirect is not None,
            "directResponse": self.direct_response is not None,
            "delegate": self.delegate is not None,
        }
        given = [name for name, is_given in ends.items() if is_given]
        if not given:
            yield Flaw((), "one of route, redirect, directResponse or delegate is missing")
        elif len(given) > 1:
            yield Flaw((), f"{' and '.join(given)} exclude each other")
        elif not self.route and self.delegate is None:
            for field in ("rewrite", "timeout", "retries", "mirror"):
                if getattr(self, field) is not None:
                    yield Flaw((field,), f"{field} has no meaning with {given[0]}", at_key=True)
        yield from self._mirror_rules()
        total = sum(choice.weight or 0 for choice in self.route)
        if len(self.route) > 1 and not total:
            yield Flaw(("route",), "the weights sum up to 0: no destination gets any traffic")
        elif total > MOST:
            yield Flaw(("route",), f"the weights sum up to {total}, more than {MOST}")

    def _mirror_rules(self) -> Iterator[Flaw]:
        if self.mirror is not None and self.mirrors:
            yield Flaw((), "mirror and mirrors exclude each other")
        for name, given in (
            ("mirrorPercentage", self.mirror_percentage),
            ("mirrorPercent", self.mirror_percent),
        ):
            if given is not None and self.mirror is None and self.delegate is None:
                yield Flaw((name,), f"{name} has no meaning without mirror", at_key=True)


class VirtualService(Piece, frozen=True):
    """Without hosts it is a delegate: its rules stand where another's say so."""

    hosts: tuple[Text, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    export_to: tuple[str, ...] = ()
    NOT_YET = frozenset({"tls", "tcp"})

    @property
    def is_delegate(self) -> bool:
        return not self.hosts

    @property
    def is_for_mesh(self) -> bool:
        return not self.gateways or MESH in self.gateways

    def rules(self) -> Iterator[Flaw]:
        if not self.http:
            yield Flaw((), "http is missing")
        if self.is_delegate:
            yield from self._delegate_rules()
        for index, host in enumerate(self.hosts):
            if "*" in host[1:]:
                yield Flaw(("hosts", index), f"{host!r}: a wildcard may only stand first")
            elif host == "*" and self.is_for_mesh:
                yield Flaw(("hosts", index), "the mesh takes no host '*'", "name the hosts")

    def _delegate_rules(self) -> Iterator[Flaw]:
        if self.gateways:
            said = "a VirtualService without hosts is a delegate, which takes no gateways"
            yield Flaw(("gateways",), said, at_key=True)
        for index, route in enumerate(self.http):
            if route.delegate is not None:
                said = "a delegate (without hosts) cannot delegate further"
                yield Flaw(("http", index, "delegate"), said, at_key=True)
