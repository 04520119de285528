"""``networking.istio.io`` VirtualService."""

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated

import msgspec

from ...xds.formats import literal
from .finding import UNSUPPORTED
from .piece import Duration, Flaw, Piece, Port, Regex, Text, not_yet
from .retry_on import unknown_conditions

Weight = Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
MESH = "mesh"


class StringMatch(Piece, frozen=True):
    exact: str | None = None
    prefix: str | None = None
    regex: Regex | None = None

    @property
    def is_empty(self) -> bool:
        return self.exact is None and self.prefix is None and self.regex is None

    def rules(self) -> Iterator[Flaw]:
        given = [name for name in ("exact", "prefix", "regex") if getattr(self, name) is not None]
        if len(given) > 1:
            yield Flaw((), f"only one of {' and '.join(given)} may be given")


class HTTPMatchRequest(Piece, frozen=True):
    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    without_headers: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    query_params: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    ignore_uri_case: bool = False
    port: Port | None = None
    source_labels: dict[str, str] = msgspec.field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    NOT_YET = frozenset({"statPrefix"})

    def rules(self) -> Iterator[Flaw]:
        for field in ("uri", "scheme", "method", "authority"):
            match = getattr(self, field)
            if match is not None and match.is_empty:
                yield Flaw((field,), "one of exact, prefix or regex is missing")
        if self.uri is not None and self.uri.prefix == "":
            yield Flaw(("uri", "prefix"), "prefix must not be empty")


class PortSelector(Piece, frozen=True):
    number: Port


class Destination(Piece, frozen=True):
    host: Text
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(Piece, frozen=True):
    set: dict[str, str] = msgspec.field(default_factory=dict)
    add: dict[str, str] = msgspec.field(default_factory=dict)
    remove: tuple[str, ...] = ()

    def rules(self) -> Iterator[Flaw]:
        for field, names in (("set", self.set), ("add", self.add), ("remove", self.remove)):
            for name in names:
                if name.startswith(":") and name != ":authority":
                    yield Flaw((field,), f"{name!r} cannot be changed")
        for field, values in (("set", self.set), ("add", self.add)):
            for name, value in values.items():
                if literal(value) is None:
                    hint = "a percent sign is written %%"
                    said = f"a format (%…%) in {value!r} is not supported yet"
                    yield Flaw((field, name), said, hint, UNSUPPORTED)


class Headers(Piece, frozen=True):
    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


class HTTPRouteDestination(Piece, frozen=True):
    destination: Destination
    weight: Weight | None = None
    headers: Headers = Headers()


class HTTPRewrite(Piece, frozen=True):
    uri: str = ""
    authority: str = ""
    NOT_YET = frozenset({"uriRegexRewrite"})


class HTTPRedirect(Piece, frozen=True):
    uri: str = ""
    authority: str = ""
    port: Port | None = None
    scheme: str = ""
    redirect_code: int = 301
    NOT_YET = frozenset({"derivePort"})

    def rules(self) -> Iterator[Flaw]:
        if self.redirect_code not in (301, 302, 303, 307, 308):
            yield Flaw(("redirectCode",), f"{self.redirect_code} is not a redirect's status")
        if "%PREFIX()%" in self.uri:
            yield Flaw(("uri",), "%PREFIX()% is not supported yet")


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


class HTTPRetry(Piece, frozen=True):
    attempts: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    retry_ignore_previous_hosts: bool = True
    backoff: Duration | None = None
    NOT_YET = frozenset({"retryRemoteLocalities"})

    def rules(self) -> Iterator[Flaw]:
        for word in unknown_conditions(self.retry_on):
            yield Flaw(("retryOn",), f"{word!r} is no retry condition")


class HTTPRoute(Piece, frozen=True):
    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    headers: Headers = Headers()
    NOT_YET = frozenset(
        {"delegate", "fault", "mirror", "mirrors", "mirrorPercent", "mirrorPercentage"}
        | {"corsPolicy"}
    )

    def rules(self) -> Iterator[Flaw]:
        ends = {
            "route": bool(self.route),
            "redirect": self.redirect is not None,
            "directResponse": self.direct_response is not None,
        }
        given = [name for name, is_given in ends.items() if is_given]
        if not given:
            yield Flaw((), "one of route, redirect or directResponse is missing")
        elif len(given) > 1:
            yield Flaw((), f"{' and '.join(given)} exclude each other")
        elif not self.route:
            for field in ("rewrite", "timeout", "retries"):
                if getattr(self, field) is not None:
                    yield Flaw((field,), f"{field} has no meaning with {given[0]}", at_key=True)
        yield from self._response_rules()
        if len(self.route) > 1 and not sum(choice.weight or 0 for choice in self.route):
            yield Flaw(("route",), "the weights sum up to 0: no destination gets any traffic")

    def _response_rules(self) -> Iterator[Flaw]:
        """Only of answers that the mesh makes itself are headers changed."""
        said = "changing the headers of a destination's response"
        if self.route and self.headers.response != HeaderOperations():
            yield not_yet("headers", "response", what=said)
        for index, choice in enumerate(self.route):
            if choice.headers.response != HeaderOperations():
                yield not_yet("route", index, "headers", "response", what=said)


class VirtualService(Piece, frozen=True):
    hosts: tuple[Text, ...]
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    export_to: tuple[str, ...] = ()
    NOT_YET = frozenset({"tls", "tcp"})

    @property
    def is_for_mesh(self) -> bool:
        return not self.gateways or MESH in self.gateways

    def rules(self) -> Iterator[Flaw]:
        if not self.hosts:
            yield Flaw(("hosts",), "at least one host is needed")
        if not self.http:
            yield Flaw((), "http is missing")
        for index, host in enumerate(self.hosts):
            if "*" in host[1:]:
                yield Flaw(("hosts", index), f"{host!r}: a wildcard may only stand first")
            elif host == "*" and self.is_for_mesh:
                yield Flaw(("hosts", index), "the mesh takes no host '*'", "name the hosts")
