"""HTTP filters ⇄ the model's: in the listener, and per table, virtual host, route and weight."""

from typing import Any

from ...model import (
    AdaptiveConcurrency,
    AdmissionControl,
    Cors,
    ExtensionConfig,
    Fault,
    FilterConfig,
    FilterDiscovery,
    FilterOverride,
    GlobalRateLimit,
    HttpFilter,
    LocalRateLimit,
    Overrides,
    Router,
)
from ...model.authn import ExtAuthz, JwtAuthn
from ...model.rbac import Rbac
from ...model.telemetry import Stats
from .filter_cors import CORS, CORS_POLICY
from .filter_ext_authz import EXT_AUTHZ, EXT_AUTHZ_PER_ROUTE
from .filter_fault import FAULT
from .filter_jwt import JWT_AUTHN
from .filter_load import ADAPTIVE_CONCURRENCY, ADMISSION_CONTROL
from .filter_rate_limit import GLOBAL_RATE_LIMIT, LOCAL_RATE_LIMIT, RATE_LIMIT_PER_ROUTE
from .filter_rbac import RBAC, RBAC_PER_ROUTE
from .stats import STATS
from .typed_struct import opened_filter
from .wire import TYPE_PREFIX, Fields, FilterCodec, Reader, ads, from_ads, packed

FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"
OVERRIDES = "typed_per_filter_config"
ROUTER = FilterCodec(
    "envoy.extensions.filters.http.router.v3.Router",
    encode=lambda _: {},
    decode=lambda _: Router(),
)
IN_LISTENERS: dict[type[FilterConfig], FilterCodec] = {
    Router: ROUTER,
    Fault: FAULT,
    LocalRateLimit: LOCAL_RATE_LIMIT,
    GlobalRateLimit: GLOBAL_RATE_LIMIT,
    Cors: CORS,
    AdaptiveConcurrency: ADAPTIVE_CONCURRENCY,
    AdmissionControl: ADMISSION_CONTROL,
    Rbac: RBAC,
    JwtAuthn: JWT_AUTHN,
    ExtAuthz: EXT_AUTHZ,
    Stats: STATS,
}
PER_ROUTE: dict[type[FilterConfig], FilterCodec] = {
    **{kind: codec for kind, codec in IN_LISTENERS.items() if kind not in (JwtAuthn, Stats)},
    Cors: CORS_POLICY,
    Rbac: RBAC_PER_ROUTE,
    ExtAuthz: EXT_AUTHZ_PER_ROUTE,
}
DISCOVERED = {codec.type_name: kind for kind, codec in IN_LISTENERS.items() if kind is not Router}
LISTENER_TYPES = {codec.type_name: codec for codec in IN_LISTENERS.values()}
ROUTE_TYPES = {codec.type_name: codec for codec in (*PER_ROUTE.values(), RATE_LIMIT_PER_ROUTE)}


def encode_filter(http_filter: HttpFilter) -> Fields:
    config = http_filter.config
    return {
        "name": http_filter.name,
        **(
            {"config_discovery": _encode_discovery(config)}
            if isinstance(config, FilterDiscovery)
            else {"typed_config": _packed_in_listener(config)}
        ),
        "is_optional": http_filter.is_optional,
        "disabled": http_filter.disabled,
    }


def _encode_discovery(discovery: FilterDiscovery) -> Fields:
    default = discovery.default_config
    return {
        "config_source": ads(),
        "type_urls": [TYPE_PREFIX + IN_LISTENERS[kind].type_name for kind in discovery.types],
        "default_config": None if default is None else _packed_in_listener(default),
        "apply_default_config_without_warming": discovery.apply_default_config_without_warming,
    }


def encode_extension(extension: ExtensionConfig) -> Fields:
    return {"name": extension.name, "typed_config": _packed_in_listener(extension.config)}


def decode_extension(reader: Reader) -> ExtensionConfig:
    name = reader.text("name", required=True)
    config = _decode_config(reader, "typed_config", is_optional=False)
    if isinstance(config, Router):
        reader.problem("the router cannot be discovered", "typed_config")
    return ExtensionConfig(name=name, config=config or Router())


def _packed_in_listener(config: FilterConfig) -> Any:
    return _packed(IN_LISTENERS[type(config)], config)


def _packed(codec: FilterCodec, config: FilterConfig) -> Any:
    return packed(codec.type_name, codec.encode(config))


def decode_filters(hcm: Reader) -> tuple[HttpFilter, ...]:
    """The filters in their order; gRFC A39: distinct names, a router at the end and only there."""
    found = [_decode_filter(one) for one in hcm.children("http_filters", lambda m: m.name)]
    filters = tuple(one for one in found if one is not None)
    names = [one.name for one in filters]
    for name in sorted({name for name in names if names.count(name) > 1}):
        hcm.problem(f"two filters are called {name!r}", "http_filters")
    routers = [isinstance(one.config, Router) for one in filters]
    if not any(routers[-1:]):
        hcm.problem("the last filter must be the router", "http_filters")
    if any(routers[:-1]):
        hcm.problem("only the last filter may be a router", "http_filters")
    return filters


def _decode_filter(reader: Reader) -> HttpFilter | None:
    is_optional, disabled = reader.flag("is_optional"), reader.flag("disabled")
    name = reader.text("name", required=True)
    config = (
        _decode_discovery(reader.child("config_discovery"), is_optional=is_optional)
        if reader.has("config_discovery")
        else _decode_config(reader, "typed_config", is_optional=is_optional)
    )
    if config is not None:
        return HttpFilter(name=name, config=config, is_optional=is_optional, disabled=disabled)
    if is_optional:
        reader.drop()
    return None


def _decode_config(reader: Reader, field: str, *, is_optional: bool) -> FilterConfig | None:
    type_name, inside = opened_filter(reader, reader.taken(field), field)
    codec = LISTENER_TYPES.get(type_name)
    if codec is not None and inside is not None:
        config: FilterConfig = codec.decode(inside)
        return config
    if codec is None and not is_optional:
        reader.problem(f"unknown filter {type_name or 'without typed_config'}", field)
    return None


def _decode_discovery(reader: Reader, *, is_optional: bool) -> FilterDiscovery | None:
    from_ads(reader.child("config_source"))
    types = _decode_types(reader, is_optional=is_optional)
    at_once = reader.flag("apply_default_config_without_warming")
    default = None
    if reader.has("default_config"):
        default = _decode_config(reader, "default_config", is_optional=is_optional)
        if default is not None and not isinstance(default, types):
            reader.problem("is none of type_urls", "default_config")
    elif at_once:
        reader.problem("needs a default_config", "apply_default_config_without_warming")
    return (
        FilterDiscovery(
            types=types, default_config=default, apply_default_config_without_warming=at_once
        )
        if types
        else None
    )


def _decode_types(reader: Reader, *, is_optional: bool) -> tuple[type[FilterConfig], ...]:
    """Those that are known here; of the others no configuration is taken."""
    names = [url.rpartition("/")[2] for url in reader.texts("type_urls")]
    types = tuple(DISCOVERED[name] for name in dict.fromkeys(names) if name in DISCOVERED)
    if not types and not is_optional:
        reader.problem(f"no filter that is known here: {', '.join(names) or 'none'}", "type_urls")
        return types
    for name in (name for name in names if name not in DISCOVERED):
        reader.drop(f"type_urls[{name}]")
    return types


def encode_overrides(overrides: Overrides) -> Fields | None:
    # Older protobuf takes messages, not dicts, as values of a map.
    return {override.name: _encode_override(override) for override in overrides} or None


def _encode_override(override: FilterOverride) -> Any:
    config = None if override.config is None else _packed_for_a_route(override.config)
    if config is not None and not override.disabled and not override.is_optional:
        return config
    fields = {
        "config": config,
        "disabled": override.disabled,
        "is_optional": override.is_optional,
    }
    return packed(FILTER_CONFIG, fields)


def _packed_for_a_route(config: FilterConfig) -> Any:
    if isinstance(config, GlobalRateLimit) and not config.cluster:
        return _packed(RATE_LIMIT_PER_ROUTE, config)
    return _packed(PER_ROUTE[type(config)], config)


def decode_overrides(holder: Reader) -> Overrides:
    entries = holder.entries(OVERRIDES)
    found = (_decode_override(holder, name, entries[name]) for name in sorted(entries))
    return tuple(override for override in found if override is not None)


def _decode_override(holder: Reader, name: str, config: Any) -> FilterOverride | None:
    label = f"{OVERRIDES}[{name}]"
    is_optional = disabled = False
    type_name, inside = opened_filter(holder, config, label)
    if type_name == FILTER_CONFIG and inside is not None:
        is_optional, disabled = inside.flag("is_optional"), inside.flag("disabled")
        if not inside.has("config"):
            return FilterOverride(name=name, disabled=disabled, is_optional=is_optional)
        type_name, inside = opened_filter(inside, inside.taken("config"), "config")
    codec = ROUTE_TYPES.get(type_name)
    if codec is not None and inside is not None:
        made: FilterConfig = codec.decode(inside)
        return FilterOverride(name=name, config=made, disabled=disabled, is_optional=is_optional)
    if is_optional:
        holder.drop(label)
    elif codec is None:
        holder.problem(f"unknown filter configuration {type_name or '(none)'}", label)
    return None
