"""Filters that ask who calls, and whether they may: JWT and external authorization, as data."""

from dataclasses import dataclass

from .matcher import MetadataMatcher, RouteMatch, StringMatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtHeader:
    """The token is the value of header ``name`` after ``value_prefix``."""

    name: str
    value_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimToHeader:
    """A claim (nested with dots) goes into a request header; what the caller sent there goes."""

    header_name: str
    claim_name: str


@dataclass(frozen=True, slots=True)
class LocalJwks:
    """A JSON Web Key Set, in JSON."""

    inline_string: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJwks:
    """Keys are fetched from ``uri`` (https), kept ``cache_duration`` seconds and fetched again
    beside the calls; a fetch may take ``timeout`` seconds."""

    uri: str
    cluster: str = ""
    timeout: float = 5.0
    cache_duration: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtProvider:
    """Whose tokens are believed, and where they stand.

    Without ``from_headers``, ``from_params`` and ``from_cookies``: ``Authorization: Bearer`` and
    the parameter ``access_token``. ``audiences`` empty: any. ``clock_skew_seconds`` for exp/nbf.
    ``clear_route_cache``: a call with such a token is routed once more on its way in, for routes
    may ask for its claims.
    """

    name: str
    issuer: str
    jwks: LocalJwks | RemoteJwks
    audiences: tuple[str, ...] = ()
    forward: bool = False
    from_headers: tuple[JwtHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    forward_payload_header: str = ""
    payload_in_metadata: str = ""
    claim_to_headers: tuple[ClaimToHeader, ...] = ()
    clock_skew_seconds: int = 60
    normalize_space_delimited_claims: tuple[str, ...] = ()
    clear_route_cache: bool = False


@dataclass(frozen=True, slots=True)
class RequireProvider:
    """A valid token of this provider."""

    provider_name: str
    audiences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequireAny:
    requirements: tuple["JwtRequirement", ...]


@dataclass(frozen=True, slots=True)
class RequireAll:
    requirements: tuple["JwtRequirement", ...]


@dataclass(frozen=True, slots=True)
class AllowMissing:
    """No token at all will do; one that is there must be valid, and of a known issuer."""


@dataclass(frozen=True, slots=True)
class AllowMissingOrFailed:
    """Nothing is required; a valid token is taken note of."""


JwtRequirement = RequireProvider | RequireAny | RequireAll | AllowMissing | AllowMissingOrFailed


@dataclass(frozen=True, slots=True)
class JwtRule:
    """``requires`` ``None``: matched requests need no token. The first rule that matches holds."""

    match: RouteMatch
    requires: JwtRequirement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtAuthn:
    """``envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication``; providers by name."""

    providers: tuple[JwtProvider, ...] = ()
    rules: tuple[JwtRule, ...] = ()
    bypass_cors_preflight: bool = False
    strip_failure_response: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcAuthorization:
    """``envoy.service.auth.v3.Authorization`` at this cluster."""

    cluster: str
    authority: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAuthorization:
    """The request's head goes to ``path_prefix`` + path; status 200 lets it pass."""

    cluster: str
    uri: str = ""
    path_prefix: str = ""
    headers_to_add: tuple[tuple[str, str], ...] = ()
    allowed_upstream_headers: tuple[StringMatcher, ...] = ()
    allowed_client_headers: tuple[StringMatcher, ...] = ()
    allowed_client_headers_on_success: tuple[StringMatcher, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBody:
    """So much of the body is shown to who decides; more is 413, unless a part will do."""

    max_request_bytes: int
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtAuthz:
    """``envoy.extensions.filters.http.ext_authz.v3.ExtAuthz``: a service is asked.

    ``timeout`` in seconds. Nobody to ask, or no answer in time: ``status_on_error``, unless
    ``failure_mode_allow``. ``filter_enabled_metadata``: only requests that it matches are asked
    about. ``allowed_headers`` empty: for gRPC all are shown, for HTTP a few. Of a place of its own
    (``ExtAuthzPerRoute``) only ``enabled`` and ``context_extensions`` are looked at.
    """

    service: GrpcAuthorization | HttpAuthorization | None = None
    timeout: float = 0.2
    failure_mode_allow: bool = False
    status_on_error: int = 403
    with_request_body: RequestBody | None = None
    filter_enabled_metadata: MetadataMatcher | None = None
    allowed_headers: tuple[StringMatcher, ...] = ()
    disallowed_headers: tuple[StringMatcher, ...] = ()
    include_peer_certificate: bool = False
    stat_prefix: str = ""
    context_extensions: tuple[tuple[str, str], ...] = ()
    """Words of the configuration to the service, by name."""
    enabled: bool = True
