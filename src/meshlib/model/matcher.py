"""Matchers as data (``envoy/type/matcher/v3``, ``envoy/config/route/v3``)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exact:
    value: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Prefix:
    value: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Suffix:
    value: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Contains:
    value: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class SafeRegex:
    """RE2 syntax; the whole value must match."""

    regex: str


StringMatcher = Exact | Prefix | Suffix | Contains | SafeRegex


@dataclass(frozen=True, slots=True)
class Range:
    """A decimal integer in ``[start, end)``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Present:
    """Is it there at all (``present=False``: is it absent)?"""

    present: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMatcher:
    """A missing header fails the match even when inverted, except for :class:`Present`.

    With ``treat_missing_header_as_empty`` a missing header has the value "" instead.
    """

    name: str
    match: StringMatcher | Range | Present = Present()
    invert_match: bool = False
    treat_missing_header_as_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryParameterMatcher:
    name: str
    match: StringMatcher | Present = Present()


@dataclass(frozen=True, slots=True)
class PathPrefix:
    value: str


@dataclass(frozen=True, slots=True)
class PathExact:
    value: str


@dataclass(frozen=True, slots=True)
class PathSeparatedPrefix:
    """The path itself, or anything below it: ``/a`` matches ``/a`` and ``/a/b``, not ``/ab``."""

    value: str


@dataclass(frozen=True, slots=True)
class PathRegex:
    """RE2 syntax; the whole path (without query) must match."""

    regex: str


PathMatcher = PathPrefix | PathExact | PathSeparatedPrefix | PathRegex


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFraction:
    """Matches for that share of calls; the runtime key may override it."""

    numerator: int
    denominator: int = 100
    runtime_key: str = ""


@dataclass(frozen=True, slots=True)
class ListMatch:
    """Some item of a list matches."""

    one_of: "ValueMatch"


@dataclass(frozen=True, slots=True)
class OrMatch:
    """One of these matches."""

    value_matchers: tuple["ValueMatch", ...]


ValueMatch = StringMatcher | Range | Present | ListMatch | OrMatch | bool | None
"""``envoy.type.matcher.v3.ValueMatcher``; a bool is that value, ``None`` the null value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataMatcher:
    """Dynamic metadata of a request: the value at ``path`` below ``filter`` (metadata.proto).

    ``match`` a string matcher, :class:`Range` for a number, a bool, :class:`Present`, ``None``
    for the null value, or a combination. What is missing matches nothing, so an inverted matcher
    takes it.
    """

    filter: str
    path: tuple[str, ...]
    match: ValueMatch = Present()
    invert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """``grpc``: only gRPC calls match."""

    path: PathMatcher = PathPrefix("")
    case_sensitive: bool = True
    headers: tuple[HeaderMatcher, ...] = ()
    query_parameters: tuple[QueryParameterMatcher, ...] = ()
    runtime_fraction: RuntimeFraction | None = None
    grpc: bool = False
    dynamic_metadata: tuple[MetadataMatcher, ...] = ()
