"""What a rule of a VirtualService matches."""

from collections.abc import Iterator

import msgspec

from .claims import claim_path, is_claim
from .piece import Flaw, Piece, Port, Regex


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
    stat_prefix: str = ""

    def rules(self) -> Iterator[Flaw]:
        for field in ("uri", "scheme", "method", "authority"):
            match = getattr(self, field)
            if match is not None and match.is_empty:
                yield Flaw((field,), "one of exact, prefix or regex is missing")
        if self.uri is not None and self.uri.prefix == "":
            yield Flaw(("uri", "prefix"), "prefix must not be empty")
        for field, names in (("headers", self.headers), ("withoutHeaders", self.without_headers)):
            for name in names:
                if is_claim(name) and claim_path(name) is None:
                    said = f"{name!r} is neither a header nor a claim"
                    hint = "@request.auth.claims.<name>, or @request.auth.claims[a][b]"
                    yield Flaw((field, name), said, hint, at_key=True)
