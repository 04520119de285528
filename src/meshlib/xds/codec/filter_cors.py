"""``envoy.extensions.filters.http.cors.v3``: the empty filter, and the policy of a route."""

from ...errors import ConfigError
from ...model import ALWAYS, NEVER, Cors
from .runtime import decode_runtime_percentage, encode_runtime_percentage
from .string_matcher import decode_string, encode_string
from .wire import Fields, FilterCodec, Reader, wrapped

TEXTS = ("allow_methods", "allow_headers", "expose_headers", "max_age")


def _encode_filter(cors: Cors) -> Fields:
    if cors != Cors():
        raise ConfigError("a CORS policy stands in a route or virtual host, not in a listener")
    return {}


def _encode_policy(cors: Cors) -> Fields:
    forward = cors.forward_not_matching_preflights
    return {
        "allow_origin_string_match": [encode_string(origin) for origin in cors.allow_origins],
        **{name: getattr(cors, name) for name in TEXTS},
        "allow_credentials": wrapped(cors.allow_credentials),
        "filter_enabled": encode_runtime_percentage(cors.filter_enabled),
        "shadow_enabled": encode_runtime_percentage(cors.shadow_enabled),
        "forward_not_matching_preflights": None if forward else wrapped(value=False),
    }


def _decode_policy(reader: Reader) -> Cors:
    credentials = reader.has("allow_credentials")
    if reader.has("shadow_enabled"):  # only statistics would tell of it
        reader.drop("shadow_enabled")
    return Cors(
        allow_origins=tuple(map(decode_string, reader.children("allow_origin_string_match"))),
        **{name: reader.text(name) for name in TEXTS},
        allow_credentials=reader.flag("allow_credentials") if credentials else None,
        filter_enabled=decode_runtime_percentage(reader, "filter_enabled", ALWAYS),
        shadow_enabled=decode_runtime_percentage(reader, "shadow_enabled", NEVER),
        forward_not_matching_preflights=reader.flag("forward_not_matching_preflights", True),
    )


CORS = FilterCodec("envoy.extensions.filters.http.cors.v3.Cors", _encode_filter, lambda _: Cors())
CORS_POLICY = FilterCodec(
    "envoy.extensions.filters.http.cors.v3.CorsPolicy", _encode_policy, _decode_policy
)
