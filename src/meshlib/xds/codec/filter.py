"""HTTP filters ⇄ the model's; which filters there are is the table ``FILTERS``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...model import FilterConfig, HttpFilter, Router
from .wire import Fields, Reader, packed

ROUTER_TYPE = "envoy.extensions.filters.http.router.v3.Router"


@dataclass(frozen=True, slots=True)
class FilterCodec:
    type_name: str
    encode: Callable[[Any], Fields]
    decode: Callable[[Reader], FilterConfig]


FILTERS: dict[type[FilterConfig], FilterCodec] = {
    Router: FilterCodec(ROUTER_TYPE, encode=lambda _: {}, decode=lambda _: Router()),
}
BY_TYPE_NAME = {codec.type_name: codec for codec in FILTERS.values()}


def encode_filter(http_filter: HttpFilter) -> Fields:
    codec = FILTERS[type(http_filter.config)]
    return {
        "name": http_filter.name,
        "typed_config": packed(codec.type_name, codec.encode(http_filter.config)),
        "is_optional": http_filter.is_optional,
        "disabled": http_filter.disabled,
    }


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
    type_name, config = reader.extension("typed_config")
    codec = BY_TYPE_NAME.get(type_name)
    if codec is not None and config is not None:
        decoded = codec.decode(config)
        return HttpFilter(name=name, config=decoded, is_optional=is_optional, disabled=disabled)
    if is_optional:
        reader.drop()
    elif codec is None:
        reader.problem(f"unknown filter {type_name or 'without typed_config'}", "typed_config")
    return None
