"""``envoy.extensions.filters.http.jwt_authn.v3`` ⇄ :class:`JwtAuthn`.

A requirement that is not understood is an error: to leave it out would let somebody in.
"""

from ...model.authn import (
    AllowMissing,
    AllowMissingOrFailed,
    ClaimToHeader,
    JwtAuthn,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRule,
    LocalJwks,
    RemoteJwks,
    RequireAll,
    RequireAny,
    RequireProvider,
)
from ..protos import message_class
from .matcher import decode_match, encode_match
from .wire import Fields, FilterCodec, Reader, duration

PROVIDER = "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider"
REQUIREMENTS = ("provider_name", "provider_and_audiences", "requires_any", "requires_all")
WITHOUT = ("allow_missing_or_failed", "allow_missing")
REFUSED = ("subjects", "max_lifetime", "header_in_metadata", "failed_status_in_metadata")
CACHE_DURATION = 600.0


def _encode(config: JwtAuthn) -> Fields:
    # Older protobuf takes messages, not dicts, as values of a map.
    made = {one.name: message_class(PROVIDER)(**_encode_provider(one)) for one in config.providers}
    return {
        "providers": made or None,
        "rules": [
            {
                "match": encode_match(rule.match),
                "requires": None if rule.requires is None else _encode_requirement(rule.requires),
            }
            for rule in config.rules
        ],
        "bypass_cors_preflight": config.bypass_cors_preflight,
        "strip_failure_response": config.strip_failure_response,
    }


def _decode(reader: Reader) -> JwtAuthn:
    before = len(reader.report.readers)
    entries = reader.entries("providers")
    providers = tuple(
        _decode_provider(name, reader.item("providers", name, entries[name]))
        for name in sorted(entries)
    )
    named = {
        name: _decode_requirement(reader.item("requirement_map", name, message))
        for name, message in sorted(reader.entries("requirement_map").items())
    }
    rules = tuple(_decode_rule(rule, named) for rule in reader.children("rules"))
    known = {provider.name for provider in providers}
    for rule in rules:
        for name in _names(rule.requires):
            if name not in known:
                reader.problem(f"no provider {name!r}", "rules")
    made = JwtAuthn(
        providers=providers,
        rules=rules,
        bypass_cors_preflight=reader.flag("bypass_cors_preflight"),
        strip_failure_response=reader.flag("strip_failure_response"),
    )
    reader.skip("stat_prefix")
    for inner in (reader, *reader.report.readers[before:]):
        inner.refuse_unread()
    return made


def _names(requirement: JwtRequirement | None) -> tuple[str, ...]:
    match requirement:
        case RequireProvider(name):
            return (name,)
        case RequireAny(inner) | RequireAll(inner):
            return tuple(name for one in inner for name in _names(one))
        case _:
            return ()


def _decode_rule(reader: Reader, named: dict[str, JwtRequirement]) -> JwtRule:
    match = decode_match(reader.child("match"))
    if reader.has("requirement_name"):
        name = reader.text("requirement_name")
        if name not in named:
            reader.problem(f"no requirement {name!r}", "requirement_name")
        return JwtRule(match, named.get(name, RequireAny(())))
    inside = reader.optional_child("requires")
    return JwtRule(match, None if inside is None else _decode_requirement(inside))


def _encode_requirement(requirement: JwtRequirement) -> Fields:
    match requirement:
        case RequireProvider(name, ()):
            return {"provider_name": name}
        case RequireProvider(name, audiences):
            return {"provider_and_audiences": {"provider_name": name, "audiences": audiences}}
        case RequireAny(inner):
            return {"requires_any": {"requirements": [_encode_requirement(one) for one in inner]}}
        case RequireAll(inner):
            return {"requires_all": {"requirements": [_encode_requirement(one) for one in inner]}}
        case AllowMissing():
            return {"allow_missing": {}}
        case AllowMissingOrFailed():
            return {"allow_missing_or_failed": {}}


def _decode_requirement(reader: Reader) -> JwtRequirement:
    match reader.which(*REQUIREMENTS, *WITHOUT):
        case "provider_name":
            return RequireProvider(reader.text("provider_name", required=True))
        case "provider_and_audiences":
            inside = reader.child("provider_and_audiences")
            name = inside.text("provider_name", required=True)
            return RequireProvider(name, inside.texts("audiences"))
        case "requires_any":
            return RequireAny(_decode_list(reader.child("requires_any")))
        case "requires_all":
            return RequireAll(_decode_list(reader.child("requires_all")))
        case "allow_missing":
            reader.skip("allow_missing")
            return AllowMissing()
        case "allow_missing_or_failed":
            reader.skip("allow_missing_or_failed")
            return AllowMissingOrFailed()
        case _:
            reader.problem("requires nothing that is known here")
            return RequireAny(())


def _decode_list(reader: Reader) -> tuple[JwtRequirement, ...]:
    found = reader.children("requirements")
    if len(found) < 2:
        reader.problem("needs two or more", "requirements")
    return tuple(map(_decode_requirement, found))


def _encode_provider(provider: JwtProvider) -> Fields:
    return {
        "issuer": provider.issuer,
        "audiences": provider.audiences,
        "require_expiration": True,
        **_encode_keys(provider.jwks),
        "forward": provider.forward,
        "from_headers": [
            {"name": one.name, "value_prefix": one.value_prefix} for one in provider.from_headers
        ],
        "from_params": provider.from_params,
        "from_cookies": provider.from_cookies,
        "forward_payload_header": provider.forward_payload_header,
        "payload_in_metadata": provider.payload_in_metadata,
        "claim_to_headers": [
            {"header_name": one.header_name, "claim_name": one.claim_name}
            for one in provider.claim_to_headers
        ],
        "clock_skew_seconds": provider.clock_skew_seconds,
        "normalize_payload_in_metadata": _encode_normalized(provider),
        "clear_route_cache": provider.clear_route_cache,
    }


def _encode_normalized(provider: JwtProvider) -> Fields | None:
    claims = provider.normalize_space_delimited_claims
    return {"space_delimited_claims": claims} if claims else None


def _decode_provider(name: str, reader: Reader) -> JwtProvider:
    reader.refuse_set(*REFUSED)
    reader.skip("require_expiration")  # here every token must have one
    for field in ("jwt_cache_config", "pad_forward_payload_header"):
        if reader.has(field):
            reader.drop(field)
    return JwtProvider(
        name=name,
        issuer=reader.text("issuer"),
        jwks=_decode_keys(reader),
        audiences=reader.texts("audiences"),
        forward=reader.flag("forward"),
        from_headers=tuple(
            JwtHeader(
                name=one.text("name", required=True).lower(), value_prefix=one.text("value_prefix")
            )
            for one in reader.children("from_headers")
        ),
        from_params=reader.texts("from_params"),
        from_cookies=reader.texts("from_cookies"),
        forward_payload_header=reader.text("forward_payload_header").lower(),
        payload_in_metadata=reader.text("payload_in_metadata"),
        claim_to_headers=tuple(
            ClaimToHeader(
                header_name=one.text("header_name", required=True).lower(),
                claim_name=one.text("claim_name", required=True),
            )
            for one in reader.children("claim_to_headers")
        ),
        clock_skew_seconds=reader.number("clock_skew_seconds") or 60,
        normalize_space_delimited_claims=reader.child("normalize_payload_in_metadata").texts(
            "space_delimited_claims"
        ),
        clear_route_cache=reader.flag("clear_route_cache"),
    )


def _encode_keys(keys: LocalJwks | RemoteJwks) -> Fields:
    if isinstance(keys, LocalJwks):
        return {"local_jwks": {"inline_string": keys.inline_string}}
    where = {"uri": keys.uri, "cluster": keys.cluster, "timeout": duration(keys.timeout)}
    cached = duration(keys.cache_duration)
    return {"remote_jwks": {"http_uri": where, "cache_duration": cached}}


def _decode_keys(reader: Reader) -> LocalJwks | RemoteJwks:
    match reader.which("local_jwks", "remote_jwks"):
        case "local_jwks":
            return LocalJwks(_decode_inline(reader.child("local_jwks")))
        case "remote_jwks":
            return _decode_remote(reader.child("remote_jwks"))
        case _:
            reader.problem("neither local_jwks nor remote_jwks")
            return LocalJwks("")


def _decode_inline(source: Reader) -> str:
    match source.which("inline_string", "inline_bytes"):
        case "inline_string":
            return source.text("inline_string", required=True)
        case "inline_bytes":
            return source.octets("inline_bytes").decode("utf-8", "replace")
        case _:
            source.problem("only inline keys are supported")
            return ""


def _decode_remote(reader: Reader) -> RemoteJwks:
    for field in ("async_fetch", "retry_policy"):
        if reader.has(field):
            reader.drop(field)
    where = reader.child("http_uri")
    return RemoteJwks(
        uri=where.text("uri", required=True),
        cluster=where.text("cluster"),
        timeout=where.seconds("timeout", 5.0, positive=True),
        cache_duration=reader.seconds("cache_duration", CACHE_DURATION, positive=True),
    )


JWT_AUTHN = FilterCodec(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", _encode, _decode
)
